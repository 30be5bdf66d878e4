/** Cuts of a state that goes on changing: what is loaded is the state of the moment of the cut, and goes on as the other one does. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Exclusivity } from "../../contracts/options.ts";
import { applyFrame } from "../../services/core/apply.ts";
import { assertInvariants, canonicalState } from "../../services/core/canonical.ts";
import { stateHash } from "../../services/core/hash.ts";
import { SnapshotCut } from "../../services/core/snapshot-cut.ts";
import { SnapshotLoader } from "../../services/core/snapshot-load.ts";
import type { ShardState } from "../../services/core/state.ts";
import { startTerm } from "../../services/core/term.ts";
import { anyText } from "../support/any-text.ts";
import { ShardWorld } from "./shard-world.ts";

const small = fc.nat({ max: 5 });
const maybe = <Value>(arbitrary: fc.Arbitrary<Value>) => fc.option(arbitrary, { nil: undefined });

const step = fc.oneof(
  fc.record({
    verb: fc.constant("enqueue" as const),
    count: fc.integer({ min: 1, max: 4 }),
    type: small,
    key: maybe(small),
    exclusivity: maybe(fc.constantFrom<Exclusivity>("none", "resource", "partition")),
    requestId: maybe(small),
    principal: fc.constantFrom("seeder", "s2"),
    body: maybe(anyText(4)),
    attributes: maybe(fc.constantFrom({ b: "2", a: "1" }, { 2: "x", 1: "y" }, {})),
    maxAttempts: maybe(fc.integer({ min: 1, max: 3 })),
  }),
  fc.record({
    verb: fc.constant("lease" as const),
    principal: fc.constantFrom("w1", "w2"),
    maxItems: fc.integer({ min: 1, max: 4 }),
    requestId: maybe(small),
    types: maybe(fc.uniqueArray(small, { minLength: 1, maxLength: 3 })),
  }),
  // Settles what is leased, in any order; `pick` names a place in the list of leases.
  fc.record({
    verb: fc.constantFrom("complete", "complete", "fail", "release", "heartbeat", "expire", "repeat"),
    pick: fc.nat(),
    requeue: fc.boolean(),
  }),
  fc.record({ verb: fc.constant("wait" as const), ms: fc.nat({ max: 20_000 }) }),
  fc.record({ verb: fc.constantFrom("pause", "resume", "term") }),
  fc.record({
    verb: fc.constant("configure" as const),
    options: fc.record(
      {
        onDeadLetter: fc.constantFrom("halt" as const, "continue" as const),
        recordsMax: fc.nat({ max: 5 }),
        maxAttempts: fc.integer({ min: 1, max: 3 }),
      },
      { requiredKeys: [] },
    ),
  }),
);
type Step = typeof step extends fc.Arbitrary<infer Value> ? Value : never;

const worldOf = () => new ShardWorld({ at: 1_700_000_000_000, options: { recordsMax: 4, maxAttempts: 2 } });

function take(world: ShardWorld, next: Step): void {
  if ("count" in next) enqueue(world, next);
  else if ("types" in next) lease(world, next);
  else if ("pick" in next) settle(world, next);
  else if ("ms" in next) world.at += next.ms;
  else if ("options" in next) world.send("configure", { options: next.options });
  else if (next.verb === "term")
    world.frame((sink) => {
      const { term, tokenEpoch } = world.state;
      const terms = { term: term + 1, leader: "d", tokenEpoch: tokenEpoch + (term % 2) };
      startTerm(world.state, terms, { at: world.at }, sink);
    });
  else world.send(next.verb as "pause" | "resume", {});
}

function enqueue(world: ShardWorld, next: Extract<Step, { readonly count: number }>): void {
  const item = {
    resourceType: `t${next.type % 3}`,
    resourceId: `r${next.type}`,
    ...(next.key === undefined ? {} : { partitionKey: `k${next.key % 3}` }),
    ...(next.exclusivity === undefined ? {} : { exclusivity: next.exclusivity }),
    ...(next.body === undefined ? {} : { body: next.body.toWellFormed(), payloadEncoding: "text/plain" }),
    ...(next.attributes === undefined ? {} : { attributes: next.attributes }),
    ...(next.maxAttempts === undefined ? {} : { maxAttempts: next.maxAttempts }),
  };
  const request = next.requestId === undefined ? {} : { requestId: `q${next.requestId}` };
  const items = Array.from({ length: next.count }, () => item);
  world.send("enqueue", { items, ...request }, { principal: next.principal });
}

function lease(world: ShardWorld, next: Step & { verb: "lease" }): void {
  const request = {
    maxItems: next.maxItems,
    ...(next.requestId === undefined ? {} : { requestId: `l${next.requestId}` }),
    ...(next.types === undefined ? {} : { resourceTypes: next.types.map((type) => `t${type}`) }),
  };
  world.send("lease", request, { principal: next.principal, peerId: `${next.principal}--1` });
}

function settle(world: ShardWorld, next: Extract<Step, { readonly pick: number }>): void {
  const { state } = world;
  const item = state.leased[next.pick % Math.max(1, state.leased.length)];
  if (item?.lease === undefined) return;
  const { principal, token } = item.lease;
  const leases = [{ itemId: item.itemId, token }];
  const failed = [{ itemId: item.itemId, token, reason: "disk “full”\n", requeue: next.requeue }];
  if (next.verb === "expire") world.expire(item.itemId);
  else if (next.verb === "fail") world.send("fail", { leases: failed }, { principal });
  else if (next.verb === "release") world.send("release", { leases }, { principal });
  else if (next.verb === "heartbeat") world.send("heartbeat", { leases }, { principal });
  else world.send("complete", { leases }, { principal });
}

function restOf(cut: SnapshotCut, recordsMax: number): string {
  let text = "";
  for (let slice = cut.next(recordsMax); slice !== undefined; slice = cut.next(recordsMax)) text += slice;
  return text;
}

function load(text: string, partLength: number = text.length): ShardState {
  const loader = new SnapshotLoader();
  for (let start = 0; start < text.length; start += partLength) loader.add(text.slice(start, start + partLength));
  return loader.finish();
}

/** The canonical state, but of a lease request only the leases that are its own: principals may use the same id. */
function linesOf(state: ShardState): string[] {
  const lines = [...canonicalState(state)].filter((line) => !line.startsWith("leaseRequest "));
  const requests = [...state.leaseRequests.values()].map((request) => {
    const live = request.items.filter((item) => item.lease?.request === request).map((item) => item.itemId);
    return `leaseRequest ${JSON.stringify([request.principal, request.requestId, request.digest, live])}`;
  });
  return [...lines, ...requests.sort()];
}

describe("random commands before, during and after a cut", () => {
  const steps = (maxLength: number) => fc.array(step, { maxLength, size: "max" });

  test("the loaded state is that of the cut, whatever happened while it was written", () => {
    let changedWhileCut = 0;
    fc.assert(
      fc.property(
        steps(60),
        fc.array(fc.record({ recordsMax: fc.integer({ min: 1, max: 3 }), steps: steps(8) }), { maxLength: 12 }),
        steps(20),
        fc.integer({ min: 1, max: 50 }),
        (before, during, after, partLength) => {
          const world = worldOf();
          for (const next of before) take(world, next);
          const atCut = linesOf(world.state);
          const hash = stateHash(world.state);
          const { at } = world.state;
          const whole = restOf(new SnapshotCut(world.state), 7);
          const framesAtCut = world.frames.length;

          const cut = new SnapshotCut(world.state);
          expect([cut.sequence, cut.hash]).toEqual([world.state.sequence, hash]);
          let text = "";
          for (const { recordsMax, steps: between } of during) {
            text += cut.next(recordsMax) ?? "";
            for (const next of between) take(world, next);
          }
          if (world.state.cut !== undefined && stateHash(world.state) !== hash) changedWhileCut += 1;
          text += restOf(cut, 1);
          // What happens meanwhile leaves no trace at all.
          expect(text).toBe(whole);
          expect(world.state.cut).toBeUndefined();
          assertInvariants(world.state);

          const loaded = load(text, partLength);
          assertInvariants(loaded);
          expect(linesOf(loaded)).toEqual(atCut);
          expect([stateHash(loaded), loaded.at]).toEqual([hash, at]);
          for (const next of after) take(world, next);
          for (const frame of world.frames.slice(framesAtCut)) applyFrame(loaded, frame);
          assertInvariants(loaded);
          expect(linesOf(loaded)).toEqual(linesOf(world.state));
          expect(stateHash(loaded)).toBe(stateHash(world.state));
        },
      ),
      { numRuns: 150 },
    );
    expect(changedWhileCut).toBeGreaterThan(20);
  });
});

describe("what a slow cut keeps", () => {
  /** Six items, one slice written with nothing but the first item; then everything happens to the other five. */
  test.each(["complete", "release", "expire", "discard", "heartbeat", "evict"] as const)(
    "an item before: %s",
    (event) => {
      const world = new ShardWorld({ options: { recordsMax: 2 } });
      for (let index = 0; index < 6; index += 1) world.seed(1, { requestId: `q${index}` });
      const done = world.take();
      world.send("complete", { leases: [done] });
      const leases = [1, 2, 3].map((id) => world.take({ requestId: `l${id}`, leaseDurationMs: 1_000 }));
      const atCut = linesOf(world.state);
      const cut = new SnapshotCut(world.state);
      let text = cut.next(1) ?? "";
      world.at += 900;
      for (const lease of leases) {
        if (event === "expire") world.expire(lease.itemId);
        else if (event === "heartbeat") world.send("heartbeat", { leases: [lease] });
        else if (event === "release") world.send("release", { leases: [lease] });
        else if (event === "discard") world.send("fail", { leases: [{ ...lease, reason: "no", requeue: false }] });
        else world.send("complete", { leases: [lease] });
      }
      if (event === "evict") world.send("configure", { options: { recordsMax: 0 } });
      expect(linesOf(world.state)).not.toEqual(atCut);
      text += restOf(cut, 1);
      expect(linesOf(load(text))).toEqual(atCut);
    },
  );

  test("a repeat of a lease request is answered from the loaded state in the order of the grants", () => {
    const world = new ShardWorld();
    world.seed(2, { resourceType: "b" });
    world.seed(2, { resourceType: "a" });
    const first = world.send("lease", { maxItems: 3, requestId: "l" });
    const other = new ShardWorld();
    Object.assign(other, { state: load(restOf(new SnapshotCut(world.state), 100)) });
    const repeat = other.send("lease", { maxItems: 3, requestId: "l" });
    expect(repeat["leases"]).toHaveLength(3);
    expect(repeat["leases"]).toEqual(first["leases"]);
    expect(other.frames).toHaveLength(2);
  });

  test("slices are small when bodies are large, and one record is always written", () => {
    const world = new ShardWorld({ options: { itemBytesMax: 500_000 } });
    for (let index = 0; index < 5; index += 1) world.seed(1, { body: "x".repeat(400_000) });
    const cut = new SnapshotCut(world.state);
    const slices: string[] = [];
    for (let slice = cut.next(1_000); slice !== undefined; slice = cut.next(1_000)) slices.push(slice);
    expect(slices.length).toBeGreaterThanOrEqual(5);
    expect(linesOf(load(slices.join("")))).toEqual(linesOf(world.state));
  });
});

describe("the life of a cut", () => {
  test("the state before the first event can be cut", () => {
    const world = worldOf();
    const empty = load(restOf(new SnapshotCut(load(restOf(new SnapshotCut(world.state), 1))), 1));
    expect(linesOf(empty)).toEqual(linesOf(world.state));
  });

  test("there is one at a time, and a cancelled one writes no more", () => {
    const world = worldOf();
    world.seed(3);
    const cut = new SnapshotCut(world.state);
    expect(() => new SnapshotCut(world.state)).toThrow("under way");
    cut.next(1);
    cut.cancel();
    expect(() => cut.next(1)).toThrow("cancelled");
    expect(restOf(new SnapshotCut(world.state), 1)).toContain('"end"');
  });

  test("after the last slice there is nothing, and the state forgets the cut", () => {
    const world = worldOf();
    const cut = new SnapshotCut(world.state);
    expect(cut.next(1)).toContain('"end"');
    expect(cut.next(1)).toBeUndefined();
    cut.cancel();
    expect(cut.next(1)).toBeUndefined();
  });
});
