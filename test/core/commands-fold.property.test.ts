/**
 * Random commands against one shard, with request ids, terms, hashes and evictions: the fold of what was written is the state, and every
 * invariant holds. What is granted to whom: queue-model.property.test.ts.
 */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { RetryPolicy } from "../../contracts/commands.ts";
import type { Exclusivity } from "../../contracts/options.ts";
import { assertInvariants, canonicalState } from "../../services/core/canonical.ts";
import { stateHash } from "../../services/core/hash.ts";
import { startTerm, writeStateHash } from "../../services/core/term.ts";
import { anyText } from "../support/any-text.ts";
import { foldFrames, ShardWorld } from "./shard-world.ts";

const PRINCIPALS = ["w1", "w2"] as const;
const small = fc.nat({ max: 5 });
const maybe = <Value>(arbitrary: fc.Arbitrary<Value>) => fc.option(arbitrary, { nil: undefined });
const principal = fc.constantFrom(...PRINCIPALS);
const delayMs = fc.nat({ max: 700 });

/** A step names items by their place in the list of all ids so far, and tokens by how far they are from the true one. */
const step = fc.oneof(
  fc.record({
    verb: fc.constant("enqueue" as const),
    count: fc.integer({ min: 1, max: 4 }),
    type: small,
    id: small,
    key: maybe(small),
    exclusivity: maybe(fc.constantFrom<Exclusivity>("none", "resource", "partition")),
    requestId: maybe(small),
    body: maybe(anyText(4)),
    attributes: maybe(fc.constantFrom({ b: "2", a: "1" }, { a: "1", b: "2" }, {})),
    maxAttempts: maybe(fc.integer({ min: 1, max: 3 })),
    priority: maybe(fc.nat({ max: 9 })),
    delay: maybe(fc.record({ field: fc.constantFrom("delayMs" as const, "notBefore" as const), ms: delayMs })),
    notAfterMs: maybe(fc.integer({ min: 1, max: 2_000 })),
    leaseDurationMs: maybe(fc.constantFrom(100, 5_000)),
    retry: maybe(
      fc.constantFrom<RetryPolicy>(
        { kind: "none" },
        { kind: "fixed", delayMs: 300 },
        { kind: "exponential", firstMs: 100, maxMs: 1_000 },
        { kind: "list", delaysMs: [0, 400] },
      ),
    ),
    after: maybe(fc.nat({ max: 60 })),
  }),
  fc.record({
    verb: fc.constant("lease" as const),
    principal,
    peer: maybe(small),
    maxItems: fc.integer({ min: 1, max: 4 }),
    requestId: maybe(small),
    types: maybe(fc.uniqueArray(small, { minLength: 1, maxLength: 3 })),
    durationMs: maybe(fc.constantFrom(100, 1_000)),
  }),
  fc.record({
    verb: fc.constantFrom("complete" as const, "fail" as const, "release" as const, "heartbeat" as const),
    principal,
    picks: fc.array(fc.record({ item: fc.nat(), skew: fc.constantFrom(0, 0, 0, 0, -1, 1) }), {
      minLength: 1,
      maxLength: 4,
    }),
    requeue: fc.boolean(),
    delayMs: maybe(delayMs),
    penalty: maybe(fc.boolean()),
    text: small,
    extendMs: maybe(fc.constantFrom(100, 500)),
  }),
  fc.record({
    verb: fc.constant("expire" as const),
    item: fc.nat(),
    reason: fc.constantFrom("duration" as const, "age" as const),
  }),
  fc.record({ verb: fc.constant("wait" as const), ms: fc.nat({ max: 700 }) }),
  fc.record({ verb: fc.constantFrom("pause" as const, "resume" as const, "term" as const, "hash" as const) }),
  fc.record({
    verb: fc.constant("configure" as const),
    options: fc.record(
      {
        exclusivity: fc.constantFrom<Exclusivity>("none", "resource", "partition"),
        onDeadLetter: fc.constantFrom("halt" as const, "continue" as const),
        recordsMax: fc.nat({ max: 4 }),
        maxAttempts: fc.integer({ min: 1, max: 3 }),
        leasesPerPeerMax: fc.integer({ min: 1, max: 6 }),
        pendingHigh: fc.integer({ min: 1, max: 12 }),
        ageingMs: fc.constantFrom(0, 500),
        retry: fc.constantFrom("none" as const, "fixed" as const, "exponential" as const),
        retryFirstMs: fc.constantFrom(50, 500),
      },
      { requiredKeys: [] },
    ),
  }),
);
type Step = typeof step extends fc.Arbitrary<infer Value> ? Value : never;

class Run {
  readonly world = new ShardWorld({
    options: { recordsMax: 3, leasesPerPeerMax: 4, maxAttempts: 2, leaseAgeMsMax: 3_600_000 },
  });
  readonly ids: string[] = [];

  take(next: Step): void {
    const { world } = this;
    if ("picks" in next) this.settle(next);
    else if (next.verb === "enqueue") this.enqueue(next);
    else if (next.verb === "lease") this.lease(next);
    else if (next.verb === "wait") world.at += next.ms;
    else if (next.verb === "expire") world.expire(this.pick(next.item), next.reason);
    else if (next.verb === "pause" || next.verb === "resume") world.send(next.verb, {});
    else if (next.verb === "configure") world.send("configure", { options: next.options });
    else if (next.verb === "term")
      world.frame((sink) => {
        const { term, tokenEpoch } = world.state;
        startTerm(
          world.state,
          { term: term + 1, leader: "d", tokenEpoch: tokenEpoch + (term % 2) },
          { at: world.at },
          sink,
        );
      });
    else if (next.verb === "hash") world.frame((sink) => writeStateHash(world.state, { at: world.at }, sink));
  }

  private pick(place: number): string {
    return this.ids[place % Math.max(1, this.ids.length)] ?? "none";
  }

  private enqueue(next: Step & { verb: "enqueue" }): void {
    const item = {
      resourceType: `t${next.type % 3}`,
      resourceId: `r${next.id}`,
      ...(next.key === undefined ? {} : { partitionKey: `k${next.key % 3}` }),
      ...(next.exclusivity === undefined ? {} : { exclusivity: next.exclusivity }),
      ...(next.body === undefined ? {} : { body: next.body.toWellFormed() }),
      ...(next.attributes === undefined ? {} : { attributes: next.attributes }),
      ...(next.maxAttempts === undefined ? {} : { maxAttempts: next.maxAttempts }),
      ...this.terms(next),
    };
    const reply = this.world.send(
      "enqueue",
      {
        items: Array.from({ length: next.count }, () => item),
        ...(next.requestId === undefined ? {} : { requestId: `q${next.requestId}` }),
        ...(next.after === undefined ? {} : { after: next.after }),
      },
      { principal: "seeder" },
    );
    for (const result of reply["results"]) if (result.duplicate === false) this.ids.push(result.itemId);
  }

  private terms({ priority, delay, notAfterMs, leaseDurationMs, retry }: Step & { verb: "enqueue" }) {
    const { at } = this.world;
    const isByTime = delay?.field === "notBefore";
    return {
      ...(priority === undefined ? {} : { priority }),
      ...(delay === undefined ? {} : { [delay.field]: isByTime ? at + delay.ms : delay.ms }),
      // An end before the delay is no request; one before `delayMs` is over is refused.
      ...(notAfterMs === undefined ? {} : { notAfter: at + notAfterMs + (isByTime ? delay.ms : 0) }),
      ...(leaseDurationMs === undefined ? {} : { leaseDurationMs }),
      ...(retry === undefined ? {} : { retry }),
    };
  }

  private lease(next: Step & { verb: "lease" }): void {
    const peerId = next.peer === undefined ? next.principal : `${next.principal}--p${next.peer % 2}`;
    this.world.send(
      "lease",
      {
        maxItems: next.maxItems,
        ...(next.requestId === undefined ? {} : { requestId: `l${next.requestId}` }),
        ...(next.types === undefined ? {} : { resourceTypes: next.types.map((type) => `t${type}`) }),
        ...(next.durationMs === undefined ? {} : { leaseDurationMs: next.durationMs }),
      },
      { principal: next.principal, peerId },
    );
  }

  private settle(next: Extract<Step, { readonly picks: unknown }>): void {
    const { world } = this;
    const leases = next.picks.map(({ item, skew }) => {
      // Half of them of what is leased: most ids are not.
      const { leased } = world.state;
      const itemId = item % 2 === 0 ? (leased[(item / 2) % leased.length]?.itemId ?? "none") : this.pick(item);
      const found = world.state.items.get(itemId);
      const token = found?.lease?.token ?? found?.lastEnd?.token ?? world.state.records.get(itemId)?.token ?? 1;
      return { itemId, token: Math.max(1, token + skew) };
    });
    const context = { principal: next.principal };
    const reason = `reason ${next.text % 2}`;
    if (next.verb === "complete")
      world.send("complete", { leases: leases.map((ref) => ({ ...ref, result: reason })) }, context);
    else if (next.verb === "release") world.send("release", { leases }, context);
    else if (next.verb === "heartbeat")
      world.send("heartbeat", { leases, ...(next.extendMs === undefined ? {} : { extendMs: next.extendMs }) }, context);
    else {
      const { requeue, delayMs, penalty } = next;
      const failure = {
        ...{ reason, requeue },
        ...(delayMs === undefined ? {} : { delayMs }),
        ...(penalty === undefined ? {} : { penalty }),
      };
      world.send("fail", { leases: leases.map((ref) => ({ ...ref, ...failure })) }, context);
    }
  }
}

describe("random commands", () => {
  test("the fold of the log is the live state, and every invariant holds", () => {
    const seen = new Set<string>();
    fc.assert(
      fc.property(fc.array(step, { minLength: 1, maxLength: 80, size: "max" }), (steps) => {
        const run = new Run();
        for (const next of steps) {
          run.take(next);
          assertInvariants(run.world.state);
        }
        const fold = run.world.fold();
        assertInvariants(fold);
        expect([...canonicalState(fold)]).toEqual([...canonicalState(run.world.state)]);
        expect(stateHash(fold)).toBe(stateHash(run.world.state));
        for (const event of run.world.events())
          seen.add("outcome" in event ? `${event.type} ${event.outcome}` : event.type);
      }),
      { numRuns: 300 },
    );
    // A property that never gets to a dead letter proves little.
    for (const kind of [
      "failed requeued",
      "failed deadLettered",
      "expired requeued",
      "expired deadLettered",
      "completed",
    ])
      expect(seen).toContain(kind);
    for (const kind of ["released", "renewed", "paused", "resumed", "configured", "stateHash", "deadLettered"])
      expect(seen).toContain(kind);
  });

  test("two logs that differ in one field have different state hashes", () => {
    const one = new ShardWorld();
    const other = new ShardWorld();
    one.seed(1, { body: "a" });
    other.seed(1, { body: "b" });
    expect(stateHash(one.state)).not.toBe(stateHash(other.state));
    expect(stateHash(foldFrames(one.frames))).toBe(stateHash(one.state));
  });
});
