/** The naive model knows every end of an item, dead letters that come back, unique keys, progress and results: it agrees with the core, and with nothing else. */
import { describe, expect, test } from "vitest";
import type { LogEvent } from "../../contracts/events.ts";
import { ShardWorld } from "../core/shard-world.ts";
import { change, judge } from "./naive-judge.ts";

const partition = { exclusivity: "partition", partitionKey: "p" } as const;
function bury(world: ShardWorld): string {
  const lease = world.take();
  world.send("fail", { leases: [{ ...lease, reason: "no", requeue: false }] });
  return lease.itemId;
}

describe("cancel", () => {
  test("ends what nobody has, and any end but a completion of what somebody has", () => {
    const world = new ShardWorld();
    const ids = world.seed(6);
    world.send("cancel", { itemIds: [ids[0] ?? ""] });
    const leases = [world.take(), world.take(), world.take(), world.take()];
    world.send("cancel", { itemIds: leases.map(({ itemId }) => itemId) });
    world.send("fail", { leases: [{ ...(leases[0] ?? { itemId: "", token: 0 }), reason: "stopped" }] });
    world.send("release", { leases: leases.slice(1, 2) });
    world.expire(leases[2]?.itemId ?? "");
    world.send("complete", { leases: leases.slice(3) });
    world.send("cancel", { itemIds: [bury(world)] });
    const { model, found } = judge(world);
    expect(found).toEqual([]);
    expect([model.count("cancelled"), model.count("completed"), model.count("deadLettered")]).toEqual([5, 1, 0]);
    expect(judge(world, change("failed", { outcome: "requeued" })).invariants).toContain("Q4");
    expect(judge(world, change("cancelled", { outcome: "ended" })).invariants).toContain("Q4");
  });

  test("that nobody asked for ends no lease", () => {
    const world = new ShardWorld();
    world.seed(1);
    world.send("release", { leases: [world.take()] });
    expect(judge(world).found).toEqual([]);
    expect(judge(world, change("released", { outcome: "cancelled" })).invariants).toContain("Q4");
  });
});

describe("redrive and purge", () => {
  test("bring a dead letter back to its place without charge and end of its time, and let its partition go on", () => {
    const world = new ShardWorld({ options: { maxAttempts: 2 } });
    const [first = ""] = world.seed(1, { ...partition, notAfter: world.at + 500 });
    world.seed(2, partition);
    bury(world);
    world.at += 1_000;
    expect(judge(world).model.next(undefined)).toBeUndefined();
    world.send("redrive", { itemIds: [first] });
    expect(judge(world).model.next(undefined)?.itemId).toBe(first);
    const lease = world.take();
    world.send("fail", { leases: [{ ...lease, reason: "again" }] });
    const { found, model } = judge(world);
    expect(found).toEqual([]);
    expect(model.byId.get(first)).toMatchObject({ status: "pending", charged: 1, attempt: 2 });
    world.send("purge", { itemIds: [bury(world)] });
    const rest = world.take();
    expect(judge(world).found).toEqual([]);
    expect(rest.itemId).not.toBe(first);
    expect(judge(world, change("redriven", { notBefore: world.at + 1 })).invariants).toContain("Q5");
  });

  test("take dead letters alone, and hold none back into the past", () => {
    const world = new ShardWorld();
    world.seed(2);
    const dead = [bury(world), bury(world)];
    world.send("redrive", { itemIds: dead, everyMs: 100 });
    expect(judge(world).found).toEqual([]);
    expect(judge(world, change("redriven", { notBefore: 1 })).invariants).toContain("Q6");
    expect(judge(world, change("redriven", { itemId: dead[0] })).invariants).toContain("Q4");
    expect(
      judge(world, (event) => (event.type === "failed" ? { ...event, outcome: "requeued" } : event)).invariants,
    ).toContain("Q4");
  });
});

test("a unique key has one unfinished item at most", () => {
  const world = new ShardWorld();
  world.seed(2, { uniqueKey: "u" });
  const dead = bury(world);
  const [second = ""] = world.seed(1, { uniqueKey: "u" });
  world.send("cancel", { itemIds: [second] });
  world.send("redrive", { itemIds: [dead] });
  expect(judge(world).found).toEqual([]);
  const isCancel = (event: LogEvent) => event.type === "cancelled";
  const uncancelled = judge(world, (event) => (isCancel(event) ? { type: "stateHash", hash: "0".repeat(16) } : event));
  expect(uncancelled.invariants).toContain("R1");
});

test("progress stays with its item, and as many results are kept as the shard keeps", () => {
  const world = new ShardWorld({ options: { resultsMax: 2 } });
  const ids = world.seed(4);
  for (const result of ["a", "b", undefined, "c"]) {
    const lease = world.take();
    world.send("heartbeat", { leases: [{ ...lease, progress: `half of ${result}` }] });
    world.send("complete", { leases: [{ ...lease, result }] });
  }
  const results = () => ids.map((itemId) => judge(world).model.byId.get(itemId)?.result);
  expect(results()).toEqual([undefined, "b", undefined, "c"]);
  expect(
    judge(world)
      .model.byId.get(ids[0] ?? "")
      ?.progress.map(({ text }) => text),
  ).toEqual(["half of a"]);
  world.send("configure", { options: { recordsMax: 0 } });
  expect(results()).toEqual([undefined, undefined, undefined, undefined]);
  expect(judge(world).found).toEqual([]);
});
