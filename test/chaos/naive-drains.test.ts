/** The naive model knows drains, items that are made anew, and evictions: it agrees with the core, and with nothing else. */
import { describe, expect, test } from "vitest";
import type { DrainItem } from "../../contracts/commands.ts";
import type { LogEvent } from "../../contracts/events.ts";
import { ShardWorld } from "../core/shard-world.ts";
import { change, judge } from "./naive-judge.ts";

function drained(drainId: string, leases: "wait" | "expire" = "wait"): ShardWorld {
  const world = new ShardWorld();
  world.seed(3);
  world.take();
  world.send("drain", { drainId, leases });
  return world;
}

const origin = { logId: "log-1", region: "local", shard: "default" };

describe("drains", () => {
  test("hold what they mark, and are over once", () => {
    const world = drained("d", "expire");
    expect(judge(world).model.drains.on).toMatchObject({ drainId: "d" });
    world.send("restore", { drainId: "d" });
    world.take();
    const { found, model } = judge(world);
    expect(found).toEqual([]);
    expect(model.drains.ended).toMatchObject([{ drainId: "d", outcome: "restored" }]);
    expect(judge(world, change("drained", { leases: "wait" })).invariants).toContain("F2");
    expect(judge(world, change("restored", { drainId: "e" })).invariants).toContain("Q7");
    expect(judge(world, change("released", { reason: undefined })).invariants).toContain("F2");
  });

  test("grant nothing", () => {
    const world = new ShardWorld();
    world.seed(2);
    world.send("pause", {});
    world.send("resume", {});
    world.take();
    // Instead of the pause that was over in time, a drain that is not.
    const drain = (event: LogEvent): LogEvent =>
      event.type === "resumed" ? { type: "drained", actor: 0, drainId: "d", leases: "wait" } : event;
    expect(judge(world, drain).found.join()).toMatch(/Q5 .*granted while d drains/);
  });

  test("end their items for good, which are then made anew, once", () => {
    const world = drained("d", "expire");
    const items = world.send("list", { drainId: "d" })["drained"] as DrainItem[];
    world.send("discard", { drainId: "d" });
    world.send("restore", { drainId: "d", origin, items });
    const { found, model } = judge(world);
    expect(found).toEqual([]);
    expect([model.count("discarded"), model.count("pending")]).toEqual([3, 3]);
    const isLast = (itemIds: readonly string[]) => itemIds.slice(0, -1);
    const shorter = (event: LogEvent): LogEvent =>
      event.type === "discarded" ? { ...event, itemIds: isLast(event.itemIds) } : event;
    expect(judge(world, shorter).invariants).toContain("R1");
    const twice = (event: LogEvent): LogEvent =>
      event.type === "restored" && event.entry !== undefined
        ? { ...event, entry: { ...event.entry, origin: { logId: "log-0", itemId: "3" } } }
        : event;
    expect(judge(world, twice).invariants).toContain("R1");
  });
});

test("an eviction ends a lease of whoever has it", () => {
  const world = new ShardWorld();
  world.seed(1);
  world.take();
  world.send("evict", { peerId: "worker" }, { principal: "operator" });
  expect(judge(world).found).toEqual([]);
  expect(judge(world, change("released", { reason: undefined })).invariants).toContain("F2");
  expect(judge(world, change("released", { reason: "drained" })).invariants).toContain("F2");
});
