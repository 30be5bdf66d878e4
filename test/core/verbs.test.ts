/** What each verb answers and writes, beyond the single decision. */
import { describe, expect, test } from "vitest";
import { FRAME_BYTES_MAX } from "../../contracts/limits.ts";
import { assertInvariants } from "../../services/core/canonical.ts";
import { expiryReasonOf } from "../../services/core/state.ts";
import { ShardWorld } from "./shard-world.ts";

const named = ({ itemId, token }: { itemId: string; token: number }) => ({ itemId, token });
const idsOf = (entries: readonly { itemId: string }[]) => entries.map((entry) => entry.itemId);

describe("enqueue", () => {
  test("the reply cites the state after it", () => {
    const world = new ShardWorld();
    const reply = world.send("enqueue", { items: [{ resourceType: "t", resourceId: "r" }] });
    expect(reply).toMatchObject({ term: 1, sequence: 3, pending: 1, active: 0 });
  });

  test("entries succeed and fail alone", () => {
    const world = new ShardWorld({ options: { pendingHigh: 1 } });
    const item = { resourceType: "t", resourceId: "r" };
    const { results } = world.send("enqueue", { items: [item, item] }) as unknown as { results: { error?: object }[] };
    expect(results[0]).toMatchObject({ duplicate: false });
    expect(results[1]).toMatchObject({ error: { code: "backpressure", retryAfterMs: 1_000 } });
  });

  test("backpressure counts the bytes of unfinished bodies, as JSON", () => {
    const world = new ShardWorld({ options: { bodyBytesHigh: 8 } });
    world.seed(1, { body: '"\n' });
    expect(world.state.bodyBytes).toBe(6);
    world.seed(1, { body: "é" });
    expect(world.state.bodyBytes).toBe(10);
    const reply = world.send("enqueue", { items: [{ resourceType: "t", resourceId: "r" }] });
    expect(reply["results"][0].error.code).toBe("backpressure");
    world.send("complete", { leases: [world.take()] });
    expect(world.state.bodyBytes).toBe(4);
    expect(world.seed(1)).toHaveLength(1);
  });

  test("nothing is taken behind an entry that the frame has no room for, so that a repeat keeps their order", () => {
    const world = new ShardWorld();
    const entry = { resourceType: "t", resourceId: "r", partitionKey: "p", exclusivity: "partition" } as const;
    const items = [entry, { ...entry, body: "x".repeat(2_000) }, entry].map((item, index) => ({
      ...item,
      requestId: `id-${index}`,
    }));
    const results = world.send("enqueue", { items }, { frameBytesLeft: 3_000 })["results"];
    expect(results).toMatchObject([
      { duplicate: false },
      { error: { code: "unavailable" } },
      { error: { code: "unavailable" } },
    ]);
    const again = world.send("enqueue", { items })["results"];
    const sequences = again.map(({ sequence }: { sequence: number }) => sequence);
    expect(sequences).toEqual([3, 4, 5]);
  });
});

describe("lease", () => {
  test("a lease says all that a worker needs", () => {
    const world = new ShardWorld();
    const attributes = { region: "north" };
    world.seed(1, { body: "{}", attributes, requestId: "id-1", partitionKey: "k" });
    const [lease] = world.send("lease", { leaseDurationMs: 10_000 })["leases"];
    expect(lease).toEqual({
      itemId: "3",
      token: 4,
      fenceKey: "item/3",
      attempt: 1,
      expiresAt: 11_000,
      validMs: 0,
      heartbeatMs: 3_333,
      enqueuedAt: 1_000,
      item: {
        resourceType: "table",
        resourceId: "r-1",
        partitionKey: "k",
        payloadEncoding: "application/json",
        body: "{}",
        attributes,
        requestId: "id-1",
      },
    });
  });

  test("what was left out is filled in, and the last error comes along", () => {
    const world = new ShardWorld();
    world.seed(1);
    world.send(
      "fail",
      { leases: [{ ...world.take({}, { principal: "w", peerId: "w--1" }), reason: "no", code: "c.1" }] },
      { principal: "w" },
    );
    const [lease] = world.send("lease", {})["leases"];
    expect(lease.item).toMatchObject({ payloadEncoding: "application/json", body: "", attributes: {} });
    expect(lease.lastError).toEqual({ reason: "no", code: "c.1", attempt: 1, peerId: "w--1", at: 1_000 });
  });

  test("the oldest come first over all types, and among the asked ones", () => {
    const world = new ShardWorld();
    const [a = "", , c = ""] = [
      ...world.seed(1, { resourceType: "a" }),
      ...world.seed(1, { resourceType: "b" }),
      ...world.seed(1, { resourceType: "a" }),
    ];
    const [b = ""] = idsOf(world.send("lease", { resourceTypes: ["b", "none"] })["leases"]);
    expect(idsOf(world.send("lease", { maxItems: 9, resourceTypes: ["a", "a", "c"] })["leases"])).toEqual([a, c]);
    expect(world.state.items.get(b)?.status).toBe("leased");
    expect(world.state.ready.lanes.types.size).toBe(0);
  });

  test("a requeued item keeps its place", () => {
    const world = new ShardWorld();
    const [first = "", second = ""] = world.seed(2);
    const lease = world.take();
    expect(lease.itemId).toBe(first);
    world.send("fail", { leases: [{ ...lease, reason: "no" }] });
    expect(idsOf(world.send("lease", { maxItems: 2 })["leases"])).toEqual([first, second]);
  });

  test("nothing is granted while paused", () => {
    const world = new ShardWorld();
    world.seed(1);
    world.send("pause", {});
    expect(world.send("lease", {})).toMatchObject({ leases: [], reason: "paused" });
    world.send("resume", {});
    expect(world.send("lease", {})["leases"]).toHaveLength(1);
  });

  test("a duration above the maximum is refused, not clamped", () => {
    const world = new ShardWorld({ options: { leaseDurationMsMax: 40_000 } });
    world.seed(1);
    expect(world.send("lease", { leaseDurationMs: 40_001 }).error?.code).toBe("invalid_argument");
    expect(world.send("lease", { leaseDurationMs: 40_000 })["leases"]).toHaveLength(1);
  });

  test("a peer gets leases up to its cap, and again when it gave one back", () => {
    const world = new ShardWorld({ options: { leasesPerPeerMax: 2 } });
    world.seed(4);
    const { leases } = world.send("lease", { maxItems: 3 }) as unknown as {
      leases: { itemId: string; token: number }[];
    };
    expect(leases).toHaveLength(2);
    expect(world.send("lease", {}).error).toMatchObject({ code: "resource_exhausted", details: { held: 2, limit: 2 } });
    expect(world.send("lease", {}, { peerId: "worker--2" })["leases"]).toHaveLength(1);
    world.send("complete", { leases: leases.map(named) });
    expect(world.state.leasesByPeer.has("worker")).toBe(false);
    expect(world.send("lease", {})["leases"]).toHaveLength(1);
  });

  test("a reply ends before it is larger than a frame may be", () => {
    const world = new ShardWorld({ options: { itemBytesMax: 512 * 1_024 } });
    for (let index = 0; index < 4; index += 1) world.seed(1, { body: "x".repeat(300_000) });
    const reply = world.send("lease", { maxItems: 4 });
    expect(reply["leases"]).toHaveLength(2);
    expect(JSON.stringify(reply).length).toBeLessThan(FRAME_BYTES_MAX);
    expect(world.send("lease", { maxItems: 4 })["leases"]).toHaveLength(2);
  });

  test("the estimates of bytes are never below the truth", () => {
    const world = new ShardWorld();
    const ugly = '"\u0001\\'.repeat(100);
    for (let index = 0; index < 400; index += 1)
      world.seed(1, {
        resourceType: ugly,
        resourceId: ugly,
        partitionKey: ugly,
        attributes: { [ugly.slice(0, 99)]: ugly },
      });
    const reply = world.send("lease", { maxItems: 400 });
    expect(reply["leases"].length).toBeGreaterThan(20);
    expect(JSON.stringify(reply).length).toBeLessThan(FRAME_BYTES_MAX);
    expect(JSON.stringify(world.frames.at(-1)).length).toBeLessThan(FRAME_BYTES_MAX);
  });

  test("a frame that is almost full takes as many grants as fit", () => {
    const world = new ShardWorld();
    world.seed(10);
    expect(world.send("lease", { maxItems: 10 }, { frameBytesLeft: 700 })["leases"]).toHaveLength(2);
  });
});

describe("heartbeat", () => {
  test("all leases of a request are renewed in one event, and a repeated one once", () => {
    const world = new ShardWorld();
    world.seed(2);
    const leases = world.send("lease", { maxItems: 2 })["leases"].map(named);
    world.at = 15_000;
    const reply = world.send("heartbeat", { leases: [...leases, leases[0]] });
    expect(reply["results"]).toEqual([45_000, 45_000, 45_000].map((expiresAt) => ({ expiresAt, validMs: 0 })));
    expect(world.last?.validity).toHaveLength(3);
    expect(world.lastEvents()).toMatchObject([{ type: "renewed", leases: [{ token: 5 }, { token: 6 }] }]);
  });

  test("an early beat answers the present end and writes nothing", () => {
    const world = new ShardWorld();
    world.seed(1);
    const lease = world.take();
    const { length } = world.frames;
    world.at = 10_000;
    expect(world.send("heartbeat", { leases: [lease] })["results"]).toEqual([{ expiresAt: 31_000, validMs: 0 }]);
    expect(world.frames).toHaveLength(length);
  });

  test("no lease outlives its maximum age", () => {
    const world = new ShardWorld({ options: { leaseDurationMsMax: 30_000, leaseAgeMsMax: 50_000 } });
    world.seed(1);
    const lease = world.take();
    const itemOfLease = world.state.items.get(lease.itemId);
    if (itemOfLease === undefined) throw new Error("the item is there");
    expect(expiryReasonOf(world.state, itemOfLease)).toBe("duration");
    world.at = 25_000;
    world.send("heartbeat", { leases: [lease] });
    world.at = 45_000;
    expect(world.send("heartbeat", { leases: [lease] })["results"]).toEqual([{ expiresAt: 51_000, validMs: 0 }]);
    expect(world.send("heartbeat", { leases: [lease], extendMs: 30_000 })["results"]).toEqual([
      { expiresAt: 51_000, validMs: 0 },
    ]);
    expect(expiryReasonOf(world.state, itemOfLease)).toBe("age");
    world.at = 60_000;
    const { length } = world.frames;
    // Still honoured: only `expired` in the log ends it.
    expect(world.send("heartbeat", { leases: [lease] })["results"]).toEqual([{ expiresAt: 51_000, validMs: 0 }]);
    expect(world.frames).toHaveLength(length);
    expect(world.send("complete", { leases: [lease] })["results"]).toEqual([{ duplicate: false }]);
  });

  test("an extension above the maximum is refused", () => {
    const world = new ShardWorld({ options: { leaseDurationMsMax: 40_000 } });
    world.seed(1);
    expect(world.send("heartbeat", { leases: [world.take()], extendMs: 40_001 }).error?.code).toBe("invalid_argument");
  });
});

describe("a full frame", () => {
  test("takes the entries that fit; the others are refused so that the client sends them again", () => {
    const world = new ShardWorld();
    world.seed(3);
    const leases = world.send("lease", { maxItems: 3 })["leases"].map(named);
    world.at = 20_000;
    const beat = world.send("heartbeat", { leases }, { frameBytesLeft: 800 });
    expect(beat["results"].map(codeOf)).toEqual([undefined, undefined, "unavailable"]);
    const complete = world.send("complete", { leases }, { frameBytesLeft: 700 });
    expect(complete["results"].map(codeOf)).toEqual([undefined, undefined, "unavailable"]);
    expect(world.last?.confirm).toBe(false);
    expect(world.send("complete", { leases })["results"]).toEqual(
      [true, true, false].map((duplicate) => ({ duplicate })),
    );
  });
});

const codeOf = (result: { error?: { code: string } }) => result.error?.code;

describe("attempts", () => {
  test("an item is dead-lettered at its last charged attempt; a release is not charged", () => {
    const world = new ShardWorld();
    const [itemId = ""] = world.seed(1, { maxAttempts: 2 });
    const fail = () => world.send("fail", { leases: [{ ...world.take(), reason: "no" }] })["results"][0].outcome;
    world.send("release", { leases: [world.take()] });
    expect(fail()).toBe("requeued");
    world.send("release", { leases: [world.take()] });
    expect(fail()).toBe("deadLettered");
    const [record] = world.send("get", { itemIds: [itemId] })["results"];
    expect(record).toMatchObject({ status: "deadLettered", attempt: 4, charged: 2, maxAttempts: 2 });
    expect(record.deadLetter).toEqual({ reason: "no", at: 1_000 });
    expect(world.state).toMatchObject({ pending: 0, active: 0, deadLettered: 1 });
  });

  test("an expiry is charged and leaves its reason", () => {
    const world = new ShardWorld();
    const [itemId = ""] = world.seed(1, { maxAttempts: 1, body: "b" });
    world.take();
    world.expire(itemId, "age");
    expect(world.lastEvents()).toMatchObject([{ type: "expired", reason: "age", outcome: "deadLettered" }]);
    expect(world.state.items.get(itemId)?.deadLetter).toMatchObject({ code: "lease_expired" });
    expect(world.state.bodyBytes).toBe(0);
  });

  test("a raised maximum gives a waiting item more attempts", () => {
    const world = new ShardWorld({ options: { maxAttempts: 1 } });
    world.seed(1);
    const lease = world.take();
    world.send("configure", { options: { maxAttempts: 2 } });
    expect(world.send("fail", { leases: [{ ...lease, reason: "no" }] })["results"][0].outcome).toBe("requeued");
  });
});

describe("get", () => {
  test("items are shown in the order asked, ended ones by their record", () => {
    const world = new ShardWorld();
    const [a = "", b = ""] = world.seed(2);
    world.send("complete", { leases: [world.take()] });
    const results = world.send("get", { itemIds: [b, a, "none"] })["results"];
    expect(results[0]).toMatchObject({ itemId: b, status: "pending", sequence: 4 });
    expect(results[1]).toMatchObject({
      itemId: a,
      status: "completed",
      sequence: 3,
      enqueuedBy: "seeder",
      completedBy: "worker",
    });
    expect(results[2]).toMatchObject({ error: { code: "item_not_found" } });
  });

  test("a reply that is full shows the rest without payload, and says so", () => {
    const world = new ShardWorld({ options: { itemBytesMax: 512 * 1_024 } });
    const ids = [0, 1, 2].flatMap(() => world.seed(1, { body: "x".repeat(300_000) }));
    const reply = world.send("get", { itemIds: ids });
    expect(reply["results"].map((one: { truncated?: boolean }) => one.truncated)).toEqual([undefined, undefined, true]);
    expect(JSON.stringify(reply).length).toBeLessThan(FRAME_BYTES_MAX);
  });
});

describe("list", () => {
  const lists = (world: ShardWorld, request: object = {}) => {
    const ids: string[] = [];
    let cursor: string | undefined;
    for (let page = 0; page < 50; page += 1) {
      const reply = world.send("list", { ...request, ...(cursor === undefined ? {} : { cursor }) });
      ids.push(...idsOf(reply["items"]));
      cursor = reply["cursor"];
      if (cursor === undefined) return ids;
    }
    throw new Error("the pages do not end");
  };
  const seeded = () => {
    const world = new ShardWorld();
    const ids = world.seed(6, { body: "secret", partitionKey: "k" }).concat(world.seed(1, { resourceType: "view" }));
    const [one, two] = world.send("lease", { maxItems: 2 })["leases"].map(named);
    world.send("fail", { leases: [{ ...one, reason: "no", requeue: false }] });
    return { world, ids, leased: two.itemId as string };
  };

  test("pages follow each other in order of enqueue, over all statuses", () => {
    const { world, ids } = seeded();
    expect(lists(world, { limit: 2 })).toEqual(ids);
    expect(lists(world)).toEqual(ids);
  });

  test("filters narrow by status, resource and partition", () => {
    const { world, ids, leased } = seeded();
    expect(lists(world, { status: "deadLettered" })).toEqual([ids[0]]);
    expect(lists(world, { status: "leased" })).toEqual([leased]);
    expect(lists(world, { status: "pending", limit: 1 })).toEqual(ids.slice(2));
    expect(lists(world, { resourceType: "view" })).toEqual([ids[6]]);
    expect(lists(world, { resourceId: "r-2" })).toEqual([ids[1]]);
    expect(lists(world, { partitionKey: "k", status: "pending" })).toEqual(ids.slice(2, 6));
  });

  test("bodies are left out", () => {
    expect(JSON.stringify(seeded().world.send("list", {}))).not.toContain("secret");
  });

  test("a page ends after so many items looked at, and goes on from there", () => {
    const world = new ShardWorld({ options: { pendingHigh: 100_000 } });
    for (let batch = 0; batch < 21; batch += 1) world.seed(1_000);
    world.seed(1, { resourceType: "view" });
    const page = world.send("list", { resourceType: "view" });
    expect(page["items"]).toEqual([]);
    expect(page["cursor"]).toBeDefined();
    expect(lists(world, { resourceType: "view" })).toHaveLength(1);
  });
});

describe("stats", () => {
  test("the counts, the oldest pending item and the state hash are shown", () => {
    const world = new ShardWorld();
    world.seed(2, { body: "b" });
    world.at = 2_000;
    world.seed(1);
    world.send("lease", { maxItems: 2 });
    expect(world.send("stats", {}, { region: "local", shard: "default" })).toMatchObject({
      pending: 1,
      active: 2,
      deadLettered: 0,
      leader: "dispatcher--a",
      region: "local",
      shard: "default",
      logId: "log-1",
      paused: false,
      enqueued: 3,
      completed: 0,
      bodyBytes: 6,
      oldestPendingAt: 2_000,
    });
    assertInvariants(world.state);
  });
});
