/** A command costs the same at 1,000 and at 200,000 items: counted in entries moved, not in time. */
import { expect, test, vi } from "vitest";
import type { CommandOf } from "../../contracts/commands.ts";
import { type Exclusivity, SHARD_OPTIONS_DEFAULT } from "../../contracts/options.ts";
import { execute } from "../../services/core/execute.ts";
import { Meter } from "../../services/core/meters.ts";
import type { EventSink } from "../../services/core/outcome.ts";
import { createState, type ShardState } from "../../services/core/state.ts";
import { createLog } from "../../services/core/term.ts";
import { ShardWorld } from "./shard-world.ts";

const NO_FRAME: EventSink = { actor: () => 0, push: () => {} };
const CONTEXT = { at: 1, principal: "worker", peerId: "worker" };

/** Entries moved in the heaps of a shard so far. */
function movesOf(state: ShardState): number {
  const { byHead, types } = state.ready.lanes;
  let moves = byHead.moves;
  for (const { turns, byGroup } of types.values()) {
    moves += turns.moves;
    for (const { lanes, byKey } of byGroup.values()) {
      moves += lanes.moves;
      for (const lane of byKey.values()) moves += lane.items.moves;
    }
  }
  return moves;
}

/** Fills a shard without parsing and frames, which are not what is measured. */
function filled(depth: number, exclusivity: Exclusivity): { state: ShardState; fill: (count: number) => void } {
  const state = createState();
  createLog(
    state,
    { logId: "log-1", options: { ...SHARD_OPTIONS_DEFAULT, exclusivity }, tokenEpoch: 0 },
    CONTEXT,
    NO_FRAME,
  );
  const fill = (count: number): void => {
    const items = Array.from({ length: count }, (_, index) => ({
      resourceType: `t${index % 7}`,
      resourceId: `r${state.sequence}-${index}`,
      partitionKey: `k${index % 500}`,
    }));
    execute(state, { verb: "enqueue", request: { items } }, CONTEXT, NO_FRAME);
  };
  for (let count = 0; count < depth; count += 1_000) fill(1_000);
  expect(state.pending).toBe(depth);
  return { state, fill };
}

function takeOne(state: ShardState): { itemId: string; token: number } {
  const command: CommandOf<"lease"> = { verb: "lease", request: { maxItems: 1, waitMs: 0 } };
  const reply = execute(state, command, CONTEXT, NO_FRAME).reply as { leases: { itemId: string; token: number }[] };
  const [lease] = reply.leases;
  if (lease === undefined) throw new Error("nothing was leased");
  return { itemId: lease.itemId, token: lease.token };
}

/** What a round of enqueue, lease, fail, lease and complete moves. */
function costAt(depth: number, exclusivity: Exclusivity): number {
  const { state, fill } = filled(depth, exclusivity);
  const rounds = 100;
  const before = movesOf(state);
  for (let round = 0; round < rounds; round += 1) {
    fill(1);
    const failed = { ...takeOne(state), reason: "no", requeue: true };
    execute(state, { verb: "fail", request: { leases: [failed] } }, CONTEXT, NO_FRAME);
    execute(state, { verb: "complete", request: { leases: [takeOne(state)] } }, CONTEXT, NO_FRAME);
  }
  expect(state.completedTotal).toBe(rounds);
  return (movesOf(state) - before) / rounds;
}

test.each(["none", "resource", "partition"] as const)(
  "with exclusivity %s the work grows with the logarithm only",
  (exclusivity) => {
    const small = costAt(1_000, exclusivity);
    const large = costAt(200_000, exclusivity);
    // 200 times as many items are less than 8 levels more; an item goes through its lane and the heap of lanes five times.
    expect(large).toBeLessThan(small + 5 * 8);
  },
  30_000,
);

test("types and keys that are used up leave nothing behind", () => {
  const world = new ShardWorld({ options: { exclusivity: "partition", recordsMax: 0 } });
  for (let index = 0; index < 500; index += 1) {
    world.seed(1, { resourceType: `t${index}`, partitionKey: `k${index}`, requestId: `q${index}` });
    world.send("complete", { leases: [world.take({ requestId: `l${index}` })] });
  }
  const { ready, enqueueRequests, leaseRequests, leasesByPeer, records, items } = world.state;
  expect([ready.lanes.types.size, ready.keys.size, enqueueRequests.size, leaseRequests.size]).toEqual([0, 0, 0, 0]);
  expect([leasesByPeer.size, records.size, items.size]).toEqual([0, 0, 0]);
});

test("a lease of any type looks at few quotas, however many types have one", () => {
  const world = new ShardWorld();
  world.send("configure", { quotas: { "key/*": { leasesMax: 1_000 } } });
  for (let index = 0; index < 2_000; index += 1) world.seed(1, { resourceType: `t${index}`, quotaKey: "k" });
  const looks = vi.spyOn(Meter.prototype, "freeAt");
  try {
    world.take();
    expect(looks.mock.calls.length).toBeLessThan(10);
  } finally {
    looks.mockRestore();
  }
});
