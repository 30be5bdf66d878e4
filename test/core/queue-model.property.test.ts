/** Random commands against a shard and a naive model in lockstep: what is granted and in which order, attempts, delays, dead letters, counts. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { EnqueueItem } from "../../contracts/commands.ts";
import type { LogEvent } from "../../contracts/events.ts";
import type { Frame } from "../../contracts/frame.ts";
import { applyFrame } from "../../services/core/apply.ts";
import { assertInvariants, canonicalState } from "../../services/core/canonical.ts";
import { stateHash } from "../../services/core/hash.ts";
import { SnapshotCut } from "../../services/core/snapshot-cut.ts";
import { SnapshotLoader } from "../../services/core/snapshot-load.ts";
import { createState, type ShardState } from "../../services/core/state.ts";
import { type ModelItem, QueueModel, type Settled } from "./queue-model.ts";
import { type Step, step } from "./queue-steps.ts";
import { type AnyReply, ShardWorld } from "./shard-world.ts";

const principalOf = (peerId: string): string => peerId.slice(0, 2);

interface Cut {
  readonly cut: SnapshotCut;
  /** Frames that the cut holds. */
  readonly frameCount: number;
}

class Run {
  readonly world = new ShardWorld({
    at: 1_700_000_000_000,
    options: {
      maxAttempts: 3,
      leasesPerPeerMax: 4,
      leaseDurationMsDefault: 1_000,
      leaseDurationMsMax: 5_000,
      leaseAgeMsMax: 8_000,
      retryFirstMs: 100,
      retryMaxMs: 300,
    },
  });
  readonly model = new QueueModel(this.world.state.options, this.world.state.sequence);
  /** Sees the frames alone, one by one. */
  readonly follower: ShardState = createState();
  readonly seen: Set<string>;
  private framesSeen = 0;
  private cut: Cut | undefined;

  constructor(seen: Set<string>) {
    this.seen = seen;
    this.follow();
  }

  take(next: Step): void {
    const { world, model } = this;
    model.at = world.at;
    if ("type" in next) this.enqueue(next);
    else if ("enqueued" in next)
      this.sendItems(model.items.slice(next.enqueued, next.enqueued + 1).map((item) => item.payload));
    else if ("maxItems" in next) this.lease(next.peer, next);
    else if ("picks" in next) this.settle(next);
    else if ("ms" in next) world.at += next.ms;
    else if ("options" in next) {
      world.send("configure", { options: next.options });
      model.configure(next.options);
    } else if (next.verb === "cut") this.cut ??= this.newCut();
    else if (next.verb === "load the cut") this.lead(loaded(this.cut ?? this.newCut(), world.frames));
    else if (next.verb === "take the fold") this.lead(world.fold());
    else {
      world.send(next.verb as "pause" | "resume", {});
      model.setPaused(next.verb === "pause");
    }
    this.compare();
  }

  /** Lets time pass until everything that nothing holds back for ever was granted and completed. */
  finish(): void {
    this.take({ verb: "resume" });
    this.take({ verb: "configure", options: { leasesPerPeerMax: 1_000 } });
    this.model.at = this.world.at;
    for (const { itemId } of this.model.items) this.expire(itemId, "duration");
    for (let round = 0; round < 3; round += 1) {
      this.take({ verb: "wait", ms: 700 });
      for (let count = 1; count > 0; ) {
        const granted = this.lease("w1--a", { maxItems: 3, types: undefined, durationMs: undefined });
        for (const { itemId, lease } of granted) this.complete(itemId, lease?.token ?? 0);
        this.compare();
        count = granted.length;
      }
    }
    // What is left stands behind a dead letter.
    for (const item of this.model.items) if (item.status === "pending") expect(item.exclusivity).toBe("partition");
  }

  private newCut(): Cut {
    return { cut: new SnapshotCut(this.world.state), frameCount: this.world.frames.length };
  }

  /** Another state takes over, as with a new leader. */
  private lead(state: ShardState): void {
    Object.assign(this.world, { state });
    this.cut = undefined;
  }

  private complete(itemId: string, token: number): void {
    this.world.send("complete", { leases: [{ itemId, token, result: "" }] }, { principal: "w1" });
    this.model.complete({ itemId, token }, "w1", "");
  }

  private enqueue(next: Extract<Step, { readonly type: number }>): void {
    const { world } = this;
    const { delay, key, requestId } = next;
    const delayMs = delay?.from === "now" && delay.ms >= 0 ? delay.ms : undefined;
    const notBefore = delay?.from === "time" ? world.at + delay.ms : undefined;
    const notAfter = next.notAfter === undefined ? undefined : world.at + next.notAfter;
    const isOrdered = notBefore === undefined || notAfter === undefined || notBefore < notAfter;
    const fields = {
      resourceType: `t${next.type}`,
      resourceId: `r${next.id}`,
      partitionKey: key === undefined ? undefined : `k${key}`,
      exclusivity: next.exclusivity,
      priority: next.priority,
      delayMs,
      notBefore,
      notAfter: isOrdered ? notAfter : undefined,
      leaseDurationMs: next.leaseDurationMs,
      maxAttempts: next.maxAttempts,
      retry: next.retry,
      requestId,
    };
    const item = present(fields) as EnqueueItem;
    // A request id stands for one item: only the first of several has it.
    const { requestId: _requestId, ...others } = item;
    this.sendItems(Array.from({ length: next.count }, (_, index) => (index === 0 ? item : others)));
  }

  private sendItems(items: readonly EnqueueItem[]): void {
    const { world, model } = this;
    const before = model.items.length;
    const expected = items.map((item) => model.enqueue(item));
    if (items.length === 0) return;
    const reply = world.send("enqueue", { items: [...items] }, { principal: "seeder" });
    const results = reply["results"] as { itemId?: string; duplicate?: boolean; error?: { code: string } }[];
    expect(results.map(({ itemId, error }) => itemId ?? error?.code)).toEqual(expected);
    expect(results.filter(({ duplicate }) => duplicate === false)).toHaveLength(model.items.length - before);
    for (const { error, duplicate } of results) this.seen.add(`enqueue ${error?.code ?? `duplicate ${duplicate}`}`);
  }

  private lease(
    peerId: string,
    next: Pick<Extract<Step, { readonly maxItems: number }>, "maxItems" | "types" | "durationMs">,
  ): readonly ModelItem[] {
    const { world, model } = this;
    model.at = world.at;
    const context = { principal: principalOf(peerId), peerId };
    const types = next.types?.map((type) => `t${type}`);
    const request = {
      maxItems: next.maxItems,
      ...(types === undefined ? {} : { resourceTypes: types }),
      ...(next.durationMs === undefined ? {} : { leaseDurationMs: next.durationMs }),
    };
    const expected = model.lease(context, request);
    const reply = world.send("lease", request, context);
    if (typeof expected === "string") {
      expect(reply.error?.code).toBe(expected);
      this.seen.add(`lease ${expected}`);
      return [];
    }
    const granted = (reply["leases"] as { itemId: string; attempt: number; expiresAt: number }[]).map(
      ({ itemId, attempt, expiresAt }) => ({ itemId, attempt, expiresAt }),
    );
    expect(granted).toEqual(
      expected.map(({ itemId, attempt, lease }) => ({ itemId, attempt, expiresAt: lease?.expiresAt })),
    );
    const youngest = Math.max(0, ...expected.map(({ sequence }) => sequence));
    const isOvertaken = (item: ModelItem) => item.status === "pending" && item.notBefore === 0;
    if (model.items.some((item) => item.sequence < youngest && isOvertaken(item))) this.seen.add("overtaken");
    return expected;
  }

  private settle(next: Extract<Step, { readonly picks: unknown }>): void {
    const { world, model } = this;
    model.chance = next.chance;
    const leased = model.items.filter((item) => item.status === "leased");
    const refs = next.picks.map(({ place, skew }) => {
      // Mostly what is leased; of the others the last token that they had.
      const from = place % 4 > 0 && leased.length > 0 ? leased : model.items;
      const item = from[place % Math.max(1, from.length)];
      const token = item?.lease?.token ?? item?.lastEnd?.token ?? 1;
      return { itemId: item?.itemId ?? "none", token: Math.max(1, token + skew) };
    });
    const owner = model.items.find(({ itemId }) => itemId === refs[0]?.itemId);
    const principal = next.principal ?? owner?.lease?.principal ?? owner?.lastEnd?.principal ?? "w1";
    const context = { principal, random: () => next.chance };
    if (next.verb === "expire") for (const { itemId } of refs) this.expire(itemId, next.requeue ? "duration" : "age");
    else if (next.verb === "heartbeat") {
      const { extendMs } = next;
      const expected = model.heartbeat(refs, principal, extendMs);
      const reply = world.send("heartbeat", { leases: refs, ...(extendMs === undefined ? {} : { extendMs }) }, context);
      expect(reply["results"].map((one: { expiresAt?: number }) => one.expiresAt)).toEqual(expected);
    } else if (next.verb === "complete") {
      const expected = refs.map((ref) => model.complete(ref, principal, "done"));
      const leases = refs.map((ref) => ({ ...ref, result: "done" }));
      this.expectResults("complete", world.send("complete", { leases }, context), expected);
    } else if (next.verb === "release") {
      const expected = refs.map((ref) => model.release(ref, principal));
      this.expectResults("release", world.send("release", { leases: refs }, context), expected);
    } else {
      const { code, requeue, delayMs, penalty } = next;
      const failure = { reason: "no", requeue, ...present({ code, delayMs, penalty }) };
      const expected = refs.map((ref) => model.fail(ref, principal, failure));
      const leases = refs.map((ref) => ({ ...ref, ...failure }));
      this.expectResults("fail", world.send("fail", { leases }, context), expected);
    }
  }

  private expectResults(verb: string, reply: AnyReply, expected: readonly Settled[]): void {
    const results = reply["results"] as { duplicate?: boolean; outcome?: string }[];
    expect(results.map(({ duplicate }) => duplicate)).toEqual(expected.map((settled) => settled?.duplicate));
    if (verb === "fail")
      expect(results.map(({ outcome }) => outcome)).toEqual(expected.map((settled) => settled?.outcome));
    for (const { duplicate } of results) this.seen.add(`${verb} duplicate ${duplicate}`);
  }

  private expire(itemId: string, reason: "duration" | "age"): void {
    const isExpired = this.world.expire(itemId, reason, () => this.model.chance);
    expect(isExpired).toBe(this.model.expire(itemId, reason));
  }

  /** Answers the events that are new. */
  private follow(): readonly LogEvent[] {
    const frames = this.world.frames.slice(this.framesSeen);
    this.framesSeen += frames.length;
    for (const frame of frames) applyFrame(this.follower, frame);
    const events = frames.flatMap((frame) => frame.events);
    for (const event of events) {
      if ("notBefore" in event && event.notBefore !== undefined) this.seen.add(`${event.type} delayed`);
      if (event.type === "failed" && event.charged === false) this.seen.add("failed free");
      this.seen.add("outcome" in event ? `${event.type} ${event.outcome}` : event.type);
    }
    return events;
  }

  private compare(): void {
    const { world, model } = this;
    const events = this.follow();
    expect(events.map((event) => `${event.type} ${"itemId" in event ? event.itemId : ""}`)).toEqual(
      model.events.splice(0),
    );
    for (const state of [world.state, this.follower]) {
      assertInvariants(state);
      expect(itemsOf(state)).toEqual(model.items.filter(({ status }) => status !== "completed").map(viewOf));
      const { pending, active, deadLettered, completedTotal, sequence } = state;
      expect({ pending, active, deadLettered, completedTotal, sequence }).toEqual({
        pending: model.count("pending"),
        active: model.count("leased"),
        deadLettered: model.count("deadLettered"),
        completedTotal: model.count("completed"),
        sequence: model.sequence,
      });
    }
    expect(stateHash(this.follower)).toBe(stateHash(world.state));
  }
}

/** Without what is undefined. */
const present = <Fields extends object>(fields: Fields): Partial<Fields> => JSON.parse(JSON.stringify(fields));

const itemsOf = (state: ShardState) =>
  [...state.items.values()]
    .sort((left, right) => left.sequence - right.sequence)
    .map(({ itemId, status, attempt, charged, delayedTo, lease, deadLetter: letter }) => ({
      ...{ itemId, status, attempt, charged, notBefore: delayedTo },
      lease: lease && [lease.token, lease.peerId, lease.expiresAt],
      deadLetter: letter && [letter.reason, letter.code, letter.at, letter.halts],
    }));

const viewOf = ({ itemId, status, attempt, charged, notBefore, lease, deadLetter: letter }: ModelItem) => ({
  ...{ itemId, status, attempt, charged, notBefore },
  lease: lease && [lease.token, lease.peerId, lease.expiresAt],
  deadLetter: letter && [letter.reason, letter.code, letter.at, letter.halts],
});

/** The state of a cut, and what was written since it. */
function loaded({ cut, frameCount }: Cut, frames: readonly Frame[]): ShardState {
  const loader = new SnapshotLoader();
  for (let slice = cut.next(3); slice !== undefined; slice = cut.next(3)) loader.add(slice);
  const state = loader.finish();
  for (const frame of frames.slice(frameCount)) applyFrame(state, frame);
  return state;
}

describe("random commands", () => {
  test("are answered as the naive model answers them, by whichever state: live, folded, or loaded", {
    timeout: 30_000,
  }, () => {
    const seen = new Set<string>();
    fc.assert(
      fc.property(fc.array(step, { minLength: 10, maxLength: 80, size: "max" }), (steps) => {
        const run = new Run(seen);
        for (const next of steps) run.take(next);
        run.finish();
        expect([...canonicalState(run.follower)]).toEqual([...canonicalState(run.world.state)]);
      }),
      { numRuns: 120 },
    );
    // A property that never gets there proves nothing of it.
    expect([...seen]).toEqual(
      expect.arrayContaining([
        ...["enqueue duplicate true", "enqueue conflict", "enqueue invalid_argument"],
        ...["lease invalid_argument", "lease resource_exhausted", "overtaken", "deadLettered", "renewed", "configured"],
        ...["failed requeued", "failed deadLettered", "failed delayed", "failed free"],
        ...["expired requeued", "expired deadLettered", "expired delayed"],
        ...["complete duplicate true", "fail duplicate true", "release duplicate true"],
      ]),
    );
  });
});
