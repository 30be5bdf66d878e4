/** Flows: items that wait for other items, what they are told of them, and what becomes of them when one of those fails. */
import { describe, expect, test } from "vitest";
import { DEPENDENCY_RESULTS_BYTES_MAX } from "../../contracts/limits.ts";
import { canonicalState } from "../../services/core/canonical.ts";
import { DumpLines } from "../../services/core/dump-lines.ts";
import { dumpText } from "../../services/core/dump-text.ts";
import { stateHash } from "../../services/core/hash.ts";
import { SnapshotLoader } from "../../services/core/snapshot-load.ts";
import { buryLapsed } from "../../services/core/term.ts";
import { FlowWorld } from "./flow-world.ts";
import { ShardWorld, type WorldOptions } from "./shard-world.ts";

const world = (options: WorldOptions["options"] = {}): FlowWorld => new FlowWorld({ options });
const first = { index: 0 };

describe("an item that depends on others", () => {
  test("is granted only when all of them are completed, with what they left, in the order of its enqueue", () => {
    const shard = world();
    const [one = "", two = "", last = ""] = shard.enqueue({}, {}, { dependsOn: [{ index: 1 }, first] });
    expect(shard.holds(last)).toMatchObject([{ hold: "dependsOn", itemId: two }]);
    expect(shard.finish("1")).toBe(one);
    expect(shard.take().itemId).toBe(two);
    expect(shard.order()).toEqual([]);
    const token = shard.state.items.get(two)?.lease?.token ?? 0;
    shard.send("complete", { leases: [{ itemId: two, token }] });
    const [lease] = shard.send("lease", {})["leases"];
    expect(lease).toMatchObject({ itemId: last });
    expect(lease.dependencies).toEqual([
      { itemId: two, outcome: "completed" },
      { itemId: one, outcome: "completed", result: "1" },
    ]);
    expect(shard.record(last)["dependencies"]).toEqual(lease.dependencies);
    expect(shard.send("list", {})["items"][0].dependencies).toEqual([
      { itemId: two, outcome: "completed" },
      { itemId: one, outcome: "completed" },
    ]);
  });

  test("takes its place by the moment at which the last of them ended", () => {
    const shard = world();
    const [, last = ""] = shard.enqueue({}, { dependsOn: [first] });
    const held = shard.take();
    shard.at += 10;
    const [younger = ""] = shard.enqueue({});
    shard.at += 10;
    shard.send("complete", { leases: [held] });
    expect(shard.order()).toEqual([younger, last]);
  });

  test("is granted at once where they have ended before, with a result that is still kept", () => {
    const shard = world({ resultsMax: 1 });
    const ids = shard.enqueue({}, {}, {});
    for (const result of ["a", "b"]) shard.finish(result);
    shard.finish();
    const named = ids.map((itemId) => ({ itemId }));
    shard.enqueue({ dependsOn: named });
    expect(shard.send("lease", {})["leases"][0].dependencies).toEqual([
      { itemId: ids[0], outcome: "completed", truncated: true },
      { itemId: ids[1], outcome: "completed", result: "b" },
      { itemId: ids[2], outcome: "completed" },
    ]);
  });

  test("keeps what they left although the records of their ends are forgotten", () => {
    const shard = world({ recordsMax: 1, resultsMax: 0 });
    const [one = "", , last = ""] = shard.enqueue({}, {}, { dependsOn: [first, { index: 1 }] });
    shard.finish("first");
    shard.finish("second");
    expect(shard.send("get", { itemIds: [one] })["results"][0].error.code).toBe("item_not_found");
    const [lease] = shard.send("lease", {})["leases"];
    expect(lease.itemId).toBe(last);
    expect(lease.dependencies.map(({ result }: { result: string }) => result)).toEqual(["first", "second"]);
  });

  test("is told as much of results as there is room for, and that others are left out", () => {
    const shard = new ShardWorld();
    const count = 20;
    const ids = shard.seed(count);
    shard.seed(1, { dependsOn: ids.map((itemId) => ({ itemId })) });
    const result = "x".repeat(8_000);
    const leases = shard.send("lease", { maxItems: count })["leases"];
    for (const { itemId, token } of leases) shard.send("complete", { leases: [{ itemId, token, result }] });
    const { dependencies } = shard.send("lease", {})["leases"][0];
    const kept = Math.floor(DEPENDENCY_RESULTS_BYTES_MAX / (result.length + 2));
    expect(dependencies.filter((one: { result?: string }) => one.result === result)).toHaveLength(kept);
    expect(dependencies.slice(kept)).toEqual(
      ids.slice(kept).map((itemId) => ({ itemId, outcome: "completed", truncated: true })),
    );
  });

  test("goes on waiting for a dead letter, and runs when a redrive completes it", () => {
    const shard = world();
    const [one = "", last = ""] = shard.enqueue({}, { dependsOn: [first] });
    expect(shard.bury()).toBe(one);
    shard.turn();
    expect(shard.statusOf(last)).toBe("pending");
    shard.send("redrive", { itemIds: [one] });
    expect(shard.finish()).toBe(one);
    expect(shard.order()).toEqual([last]);
  });

  test("blocks its partition while it is the first of it, and is held back like any other", () => {
    const shard = world();
    const partition = { exclusivity: "partition", partitionKey: "p" } as const;
    const [free = "", head = "", next = "", last = ""] = shard.enqueue(
      {},
      { ...partition, dependsOn: [first] },
      partition,
      { ...partition, dependsOn: [first] },
    );
    expect(shard.order()).toEqual([free]);
    const token = shard.state.items.get(free)?.lease?.token ?? 0;
    shard.send("complete", { leases: [{ itemId: free, token }] });
    expect([shard.finish(), shard.finish(), shard.finish()]).toEqual([head, next, last]);
  });

  test("leaves its resource to others while it waits", () => {
    const shard = world();
    const resource = { exclusivity: "resource", resourceId: "r" } as const;
    const [, last = "", other = ""] = shard.enqueue({}, { ...resource, dependsOn: [first] }, resource);
    const [held] = shard.send("lease", { maxItems: 1 })["leases"];
    expect(shard.finish()).toBe(other);
    shard.send("complete", { leases: [{ itemId: held.itemId, token: held.token }] });
    expect(shard.order()).toEqual([last]);
  });

  test("waits for its delay as well, and lapses while it waits", () => {
    const shard = world();
    const [, late = "", lapsing = ""] = shard.enqueue(
      {},
      { dependsOn: [first], delayMs: 50 },
      { dependsOn: [first], notAfter: shard.at + 20 },
    );
    const held = shard.take();
    shard.at += 20;
    shard.frame((sink) => buryLapsed(shard.state, { at: shard.at }, 10_000, sink));
    expect(shard.record(lapsing)).toMatchObject({ status: "deadLettered", deadLetter: { code: "not_after" } });
    shard.send("complete", { leases: [held] });
    expect(shard.order()).toEqual([]);
    shard.at += 30;
    expect(shard.order()).toEqual([late]);
    expect(shard.record(lapsing)["dependencies"]).toEqual([{ itemId: held.itemId, outcome: "completed" }]);
  });

  test("ends by a cancel while it waits, and frees its unique key", () => {
    const shard = world();
    const [one = "", last = ""] = shard.enqueue({}, { dependsOn: [first], uniqueKey: "k" });
    expect(shard.enqueue({ uniqueKey: "k" })).toEqual([last]);
    shard.send("cancel", { itemIds: [last] });
    expect(shard.statusOf(last)).toBe("cancelled");
    expect(shard.state.dependents.size).toBe(0);
    expect(shard.enqueue({ uniqueKey: "k" })).not.toEqual([last]);
    expect(shard.finish()).toBe(one);
  });
});

describe("an item of which a dependency ends without being completed", () => {
  test("is dead-lettered by the leader, with the reason, although others still run", () => {
    const shard = world();
    const [one = "", , last = ""] = shard.enqueue({}, {}, { dependsOn: [first, { index: 1 }] });
    shard.send("cancel", { itemIds: [one] });
    expect(shard.statusOf(last)).toBe("pending");
    expect(shard.holds(last)).toMatchObject([{ hold: "dependencyFailed", itemId: one }]);
    shard.turn(10);
    expect(shard.statusOf(last)).toBe("pending");
    shard.turn();
    expect(shard.record(last)).toMatchObject({
      status: "deadLettered",
      deadLetter: { code: "dependency_failed", reason: `${one}, which it depends on, was not completed: cancelled` },
    });
    expect(shard.send("list", { code: "dependency_failed" })["items"]).toHaveLength(1);
  });

  test("runs after a redrive whatever its dependencies do, and is told what they did", () => {
    const shard = world();
    const [one = "", two = "", last = ""] = shard.enqueue({}, {}, { dependsOn: [first, { index: 1 }] });
    shard.send("cancel", { itemIds: [one] });
    shard.turn();
    shard.send("redrive", { itemIds: [last] });
    const taken = shard.send("lease", { maxItems: 2 })["leases"];
    expect(taken.find(({ itemId }: { itemId: string }) => itemId === last).dependencies).toEqual([
      { itemId: one, outcome: "cancelled" },
      { itemId: two, outcome: "pending" },
    ]);
    shard.send("complete", { leases: [{ itemId: two, token: shard.state.items.get(two)?.lease?.token ?? 0 }] });
    expect(shard.record(last)["dependencies"]).toMatchObject([{ outcome: "cancelled" }, { outcome: "completed" }]);
    shard.send("release", { leases: [{ itemId: last, token: shard.state.items.get(last)?.lease?.token ?? 0 }] });
    expect(shard.finish()).toBe(last);
  });

  test("is cancelled where it says so, and takes those with it that depend on it", () => {
    const shard = world();
    const cancel = { onDependencyFailure: "cancel" } as const;
    const [one = "", two = "", three = ""] = shard.enqueue(
      {},
      { dependsOn: [first], ...cancel },
      { dependsOn: [{ index: 1 }], ...cancel },
    );
    shard.bury();
    shard.send("purge", { itemIds: [one] });
    shard.turn();
    expect(shard.kinds()).toEqual(["cancelled", "cancelled"]);
    expect([shard.statusOf(two), shard.statusOf(three)]).toEqual(["cancelled", "cancelled"]);
    expect(shard.record(two)).not.toHaveProperty("endedBy");
    expect(shard.send("stats", {})).toMatchObject({ pending: 0, removed: 3 });
  });

  test("runs where it says so, and sees the failure", () => {
    const shard = world();
    const [one = "", , last = ""] = shard.enqueue(
      {},
      {},
      { dependsOn: [first, { index: 1 }], onDependencyFailure: "run" },
    );
    shard.send("cancel", { itemIds: [one] });
    shard.turn();
    const two = shard.finish("2");
    expect(shard.send("lease", {})["leases"][0]).toMatchObject({
      itemId: last,
      dependencies: [
        { itemId: one, outcome: "cancelled" },
        { itemId: two, outcome: "completed", result: "2" },
      ],
    });
  });

  test("is told of it too where that happened before its enqueue", () => {
    const shard = world();
    const [one = ""] = shard.enqueue({});
    shard.send("cancel", { itemIds: [one] });
    const [last = "", run = ""] = shard.enqueue(
      { dependsOn: [{ itemId: one }] },
      { dependsOn: [{ itemId: one }], onDependencyFailure: "run" },
    );
    expect(shard.order()).toEqual([run]);
    shard.turn();
    expect(shard.statusOf(last)).toBe("deadLettered");
  });

  test("of a partition ends when its turn has come, so that it halts no lease and no partition twice", () => {
    const shard = world();
    const partition = { exclusivity: "partition", partitionKey: "p" } as const;
    const [one = "", , behind = ""] = shard.enqueue({}, partition, { ...partition, dependsOn: [first] }, partition);
    shard.send("cancel", { itemIds: [one] });
    const held = shard.take();
    shard.turn();
    expect(shard.statusOf(behind)).toBe("pending");
    shard.send("fail", { leases: [{ ...held, reason: "no", requeue: false }] });
    shard.turn();
    expect(shard.statusOf(behind)).toBe("pending");
    shard.send("purge", { itemIds: [held.itemId] });
    shard.turn();
    expect(shard.statusOf(behind)).toBe("deadLettered");
    shard.send("redrive", { itemIds: [behind] });
    expect(shard.take().itemId).toBe(behind);
  });

  test("halts its partition as a dead letter", () => {
    const shard = world();
    const partition = { exclusivity: "partition", partitionKey: "p" } as const;
    const [one = "", head = "", next = ""] = shard.enqueue({}, { ...partition, dependsOn: [first] }, partition);
    shard.send("cancel", { itemIds: [one] });
    shard.turn();
    expect(shard.holds(next)).toMatchObject([{ hold: "keyHalted" }]);
    shard.send("purge", { itemIds: [head] });
    expect(shard.order()).toEqual([next]);
  });
});

test("a dump tells what an item depends on", () => {
  const shard = world();
  shard.enqueue({}, {}, { dependsOn: [first, { index: 1 }], onDependencyFailure: "run" });
  shard.finish("1");
  const reader = new DumpLines();
  const lines = [...dumpText(shard.state)].flatMap((text) => [...reader.add(text)]);
  reader.finish();
  expect(lines).toEqual([...canonicalState(shard.state)]);
});

test("a snapshot in which an item waits for what is not there is damaged", () => {
  const shard = world();
  const [itemId = ""] = shard.enqueue({}, { dependsOn: [first] });
  const text = [...dumpText(shard.state)].join("");
  const waits = JSON.stringify([itemId, 0, 0, 0]);
  expect(text.split(waits)).toHaveLength(2);
  const load = (instead: unknown) => () => {
    const loader = new SnapshotLoader();
    loader.add(text.replace(waits, JSON.stringify(instead)));
    return loader.finish();
  };
  expect(stateHash(load([itemId, 0, 0, 0])())).toBe(stateHash(shard.state));
  const damaged = expect.objectContaining({ code: "snapshot_damaged" });
  for (const row of [
    ["zz", 0, 0, 0],
    [itemId, 9, 0, 0],
    [itemId, 0, 0],
    [itemId, 1, 0, 0],
  ])
    expect(load(row)).toThrow(damaged);
});
