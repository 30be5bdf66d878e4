/** Who holds back whom: no one, the items of a resource, the items of a partition. */
import { describe, expect, test } from "vitest";
import { assertInvariants } from "../../services/core/canonical.ts";
import { fenceKey } from "../../services/core/fence-key.ts";
import { ShardWorld } from "./shard-world.ts";

const leaseAll = (world: ShardWorld): string[] => {
  const reply = world.send("lease", { maxItems: 100 });
  assertInvariants(world.state);
  return reply["leases"].map((lease: { itemId: string }) => lease.itemId);
};
const settle = (world: ShardWorld, itemId: string, verb: "complete" | "fail", requeue = true): void => {
  const token = world.state.items.get(itemId)?.lease?.token ?? 1;
  if (verb === "complete") world.send("complete", { leases: [{ itemId, token }] });
  else world.send("fail", { leases: [{ itemId, token, reason: "no", requeue }] });
  assertInvariants(world.state);
};

describe("resource", () => {
  const world = () => new ShardWorld({ options: { exclusivity: "resource" } });

  test("one live lease per resource, in order of enqueue; other resources go on", () => {
    const shard = world();
    const [a1 = "", b1 = ""] = shard.seed(2);
    const [a2 = "", b2 = ""] = shard.seed(2);
    expect(leaseAll(shard)).toEqual([a1, b1]);
    settle(shard, b1, "complete");
    expect(leaseAll(shard)).toEqual([b2]);
    settle(shard, a1, "fail");
    expect(leaseAll(shard)).toEqual([a1]);
    settle(shard, a1, "fail", false);
    expect(leaseAll(shard)).toEqual([a2]);
  });

  test("the same id under another type is another resource", () => {
    const shard = world();
    const ids = [...shard.seed(1, { resourceType: "a" }), ...shard.seed(1, { resourceType: "b" })];
    expect(leaseAll(shard)).toEqual(ids);
  });

  test("keys leave nothing behind", () => {
    const shard = world();
    for (const itemId of shard.seed(5)) {
      leaseAll(shard);
      settle(shard, itemId, "complete");
    }
    expect(shard.state.ready.keys.size).toBe(0);
    expect(shard.state.ready.lanes.types.size).toBe(0);
  });
});

describe("partition", () => {
  const world = (onDeadLetter: "halt" | "continue" = "halt") =>
    new ShardWorld({ options: { exclusivity: "partition", onDeadLetter } });

  test("a partition goes one at a time in order of enqueue, whatever the types", () => {
    const shard = world();
    const [first = ""] = shard.seed(1, { partitionKey: "k", resourceType: "a" });
    const [second = ""] = shard.seed(1, { partitionKey: "k", resourceType: "b" });
    expect(shard.send("lease", { resourceTypes: ["b"] })["reason"]).toBe("none");
    expect(leaseAll(shard)).toEqual([first]);
    settle(shard, first, "fail");
    expect(leaseAll(shard)).toEqual([first]);
    settle(shard, first, "complete");
    expect(leaseAll(shard)).toEqual([second]);
  });

  test("a dead letter halts its partition, also for what comes later; others go on", () => {
    const shard = world();
    const [first = ""] = shard.seed(2, { partitionKey: "k" });
    leaseAll(shard);
    settle(shard, first, "fail", false);
    expect(leaseAll(shard)).toEqual([]);
    shard.seed(1, { partitionKey: "k" });
    const other = shard.seed(1, { partitionKey: "other" });
    expect(leaseAll(shard)).toEqual(other);
    // What the option says later changes nothing for the partition that stands.
    shard.send("configure", { options: { onDeadLetter: "continue" } });
    expect(leaseAll(shard)).toEqual([]);
  });

  test("with continue the next of the partition follows the dead letter", () => {
    const shard = world("continue");
    const [first = "", second = ""] = shard.seed(2, { partitionKey: "k" });
    leaseAll(shard);
    settle(shard, first, "fail", false);
    expect(leaseAll(shard)).toEqual([second]);
  });

  test("an item without a partition key is in the partition of its resource", () => {
    const shard = world();
    const ids = [...shard.seed(2), ...shard.seed(1)];
    expect(leaseAll(shard)).toEqual(ids.slice(0, 2));
  });
});

describe("an item keeps the exclusivity that it was enqueued with", () => {
  test("configure changes only what comes later", () => {
    const shard = new ShardWorld();
    const ids = [...shard.seed(1), ...shard.seed(1)];
    shard.send("configure", { options: { exclusivity: "resource" } });
    const later = [...shard.seed(1), ...shard.seed(1)];
    expect(leaseAll(shard)).toEqual([...ids, later[0]]);
  });

  test("an item may name its own", () => {
    const shard = new ShardWorld();
    const ids = [
      ...shard.seed(1, { exclusivity: "resource" }),
      ...shard.seed(1, { exclusivity: "resource" }),
      ...shard.seed(1),
    ];
    expect(leaseAll(shard)).toEqual([ids[0], ids[2]]);
  });
});

describe("fence keys", () => {
  const base = { itemId: "3", resourceType: "t", resourceId: "r", partitionKey: undefined };
  test("name the item, the resource or the partition", () => {
    expect(fenceKey({ ...base, exclusivity: "none" })).toBe("item/3");
    expect(fenceKey({ ...base, exclusivity: "resource" })).toBe("resource/t/r");
    expect(fenceKey({ ...base, exclusivity: "partition" })).toBe("partition/t/r");
    expect(fenceKey({ ...base, exclusivity: "partition", partitionKey: "k" })).toBe("partition/k");
  });

  test("are different for what does not exclude each other, whatever the names hold", () => {
    const keys = [
      { ...base, exclusivity: "resource" as const, resourceType: "a/b", resourceId: "c" },
      { ...base, exclusivity: "resource" as const, resourceType: "a", resourceId: "b/c" },
      { ...base, exclusivity: "resource" as const, resourceType: "a%2Fb", resourceId: "c" },
      { ...base, exclusivity: "partition" as const, resourceType: "a", resourceId: "b" },
      { ...base, exclusivity: "partition" as const, partitionKey: "a/b" },
      { ...base, exclusivity: "partition" as const, partitionKey: "a%2Fb" },
    ].map(fenceKey);
    expect(new Set(keys).size).toBe(keys.length);
  });
});
