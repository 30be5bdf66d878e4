/** Drains: what they mark and hold, how they end, what their pages tell, items that are made anew from them, and leases that are evicted. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { DrainItem } from "../../contracts/commands.ts";
import { ENDED_DRAINS_MAX } from "../../contracts/drain.ts";
import { endDrainedLeases } from "../../services/core/drain.ts";
import { CheckedWorld } from "./checked-world.ts";
import { type AnyReply, ShardWorld, type WorldOptions } from "./shard-world.ts";

const partition = { exclusivity: "partition", partitionKey: "p" } as const;
const foreign = { logId: "log-0", region: "local", shard: "other" } as const;
const own = { logId: "log-1", region: "local", shard: "default" } as const;

const world = (options: WorldOptions["options"] = {}): CheckedWorld => new CheckedWorld({ options });

function pages(shard: ShardWorld, drainId: string, limit?: number): DrainItem[] {
  const all: DrainItem[] = [];
  let cursor: string | undefined;
  do {
    const page: AnyReply = shard.send("list", { drainId, limit, cursor });
    all.push(...(page["drained"] as DrainItem[]));
    cursor = page["cursor"];
  } while (cursor !== undefined);
  return all;
}

const idsOf = (items: readonly { readonly itemId: string }[]): string[] => items.map(({ itemId }) => itemId);
const discardAll = (shard: ShardWorld, drainId: string): void => {
  while (shard.send("discard", { drainId })["left"] > 0);
};

describe("drain", () => {
  test("holds what is unfinished, grants nothing, and says so", () => {
    const shard = world();
    const ids = shard.seed(3);
    const reply = shard.send("drain", { drainId: "d" });
    expect(reply).toMatchObject({ drainId: "d", marked: 3, active: 0, duplicate: false });
    expect(shard.send("lease", {})).toMatchObject({ leases: [], reason: "draining" });
    expect(shard.send("stats", {})).toMatchObject({ drain: { drainId: "d", marked: 3, principal: "worker" } });
    expect(shard.holds(ids[0] ?? "")).toMatchObject([{ hold: "draining" }]);
    shard.send("pause", {});
    expect(shard.send("lease", {})["reason"]).toBe("paused");
    expect(shard.holds(ids[0] ?? "")).toMatchObject([{ hold: "paused" }, { hold: "draining" }]);
  });

  test("answers a repeat, and refuses another drain while one is on", () => {
    const shard = world();
    shard.seed(2);
    shard.send("drain", { drainId: "d" });
    const { length } = shard.frames;
    expect(shard.send("drain", { drainId: "d" })).toMatchObject({ marked: 2, duplicate: true });
    expect(shard.frames).toHaveLength(length);
    expect(shard.send("drain", { drainId: "e" }).error).toMatchObject({ code: "conflict", details: { drainId: "d" } });
    expect(shard.send("drain", { drainId: "d", leases: "expire" }).error?.code).toBe("conflict");
    shard.send("restore", { drainId: "d" });
    expect(shard.send("drain", { drainId: "d" }).error).toMatchObject({
      code: "conflict",
      details: { outcome: "restored" },
    });
    expect(shard.send("drain", { drainId: "e" })["duplicate"]).toBe(false);
  });

  test("never marks what comes later, by an enqueue or by a redrive", () => {
    const shard = world();
    shard.seed(1);
    const early = shard.bury();
    const [first = "", second = ""] = shard.seed(2);
    const held = shard.take();
    expect(held.itemId).toBe(first);
    shard.send("drain", { drainId: "d" });
    shard.seed(1);
    shard.send("fail", { leases: [{ ...held, reason: "no", requeue: false }] });
    expect(shard.send("stats", {})["drain"].marked).toBe(1);
    shard.send("redrive", { itemIds: [early, first] });
    expect(idsOf(pages(shard, "d"))).toEqual([second]);
    discardAll(shard, "d");
    expect(shard.order()).toHaveLength(3);
  });

  test("lets leases end as always unless it is told to end them", () => {
    const shard = world();
    shard.seed(2);
    const lease = shard.take();
    expect(shard.send("drain", { drainId: "d" })).toMatchObject({ marked: 2, active: 1 });
    expect(shard.send("heartbeat", { leases: [lease], extendMs: 20_000 })["results"]).toMatchObject([
      { expiresAt: shard.at + 20_000 },
    ]);
    expect(shard.send("complete", { leases: [lease] })["results"]).toEqual([{ duplicate: false }]);
    expect(shard.send("stats", {})["drain"].marked).toBe(1);
  });

  test("ends every lease when it is told to, uncharged, and their tokens are stale from then on", () => {
    const shard = world();
    shard.seed(3);
    const leases = [shard.take(), shard.take(), shard.take()];
    shard.send("cancel", { itemIds: [leases[2]?.itemId ?? ""] });
    expect(shard.send("drain", { drainId: "d", leases: "expire" })).toMatchObject({ marked: 2, active: 0 });
    for (const verb of ["heartbeat", "complete", "release"] as const)
      expect(shard.send(verb, { leases: leases.slice(0, 1) })["results"]).toMatchObject([
        { error: { code: "stale_token", details: { reason: "drained" } } },
      ]);
    expect(shard.statusOf(leases[2]?.itemId ?? "")).toBe("cancelled");
    expect(pages(shard, "d")).toMatchObject([
      { attempt: 1, charged: 0 },
      { attempt: 1, charged: 0 },
    ]);
  });

  test("ends leases frame by frame where one has no room for all", () => {
    const shard = world();
    shard.seed(40);
    shard.send("lease", { maxItems: 40 });
    expect(
      shard.send("drain", { drainId: "d", leases: "expire" }, { frameBytesLeft: 4_000 })["active"],
    ).toBeGreaterThan(0);
    while (shard.state.active > 0) {
      const before = shard.state.active;
      shard.frame((sink) => endDrainedLeases(shard.state, shard.at, 2_000, sink));
      expect(shard.state.active).toBeLessThan(before);
    }
    expect(shard.send("stats", {})["drain"].marked).toBe(40);
  });
});

describe("the pages of a drain", () => {
  test("tell the marked items with all that was asked, in order of enqueue", () => {
    const shard = world();
    const terms = { priority: 3, notBefore: 9_000, notAfter: 99_000, leaseDurationMs: 1_000, uniqueKey: "u" } as const;
    const [first = ""] = shard.seed(1, { body: "b", attributes: { a: "1" }, retry: { kind: "none" }, ...terms });
    shard.seed(1, { ...partition, maxAttempts: 2 });
    const lease = shard.take();
    shard.send("fail", { leases: [{ ...lease, reason: "no", code: "c" }] });
    shard.send("drain", { drainId: "d" });
    expect(pages(shard, "d", 1)).toEqual([
      {
        ...{ itemId: first, sequence: 3, enqueuedAt: 1_000, enqueuedBy: "seeder", attempt: 0, charged: 0 },
        item: {
          ...{ resourceType: "table", resourceId: "r-1", body: "b", attributes: { a: "1" }, exclusivity: "none" },
          ...{ ...terms, retry: { kind: "none" } },
        },
      },
      {
        ...{ itemId: lease.itemId, sequence: 4, enqueuedAt: 1_000, enqueuedBy: "seeder", attempt: 1, charged: 1 },
        lastError: { reason: "no", code: "c", attempt: 1, peerId: "worker", at: 1_000 },
        item: { resourceType: "table", resourceId: "r-1", ...partition, maxAttempts: 2 },
      },
    ]);
  });

  test("end before a reply is full", () => {
    const shard = world();
    shard.isChecked = false;
    for (let index = 0; index < 30; index += 1) shard.seed(1, { body: "x".repeat(60_000) });
    shard.send("drain", { drainId: "d" });
    const page = shard.send("list", { drainId: "d", limit: 1_000 });
    expect(page["drained"].length).toBeLessThan(15);
    expect(pages(shard, "d")).toHaveLength(30);
  });

  test("are refused for a drain that is not on, and together with a filter", () => {
    const shard = world();
    expect(shard.send("list", { drainId: "d" }).error?.code).toBe("drain_not_found");
    expect(() => shard.send("list", { drainId: "d", status: "pending" })).toThrow(/excludes every filter/);
  });
});

describe("restore", () => {
  test("lets every item go on where it was", () => {
    const shard = world();
    const ids = [...shard.seed(2), ...shard.seed(2, partition)];
    shard.send("drain", { drainId: "d" });
    expect(shard.send("restore", { drainId: "d" })).toMatchObject({ duplicate: false });
    expect(shard.send("restore", { drainId: "d" })).toMatchObject({ duplicate: true });
    expect(shard.order()).toEqual(ids.slice(0, 3));
    expect(shard.send("stats", {})["drain"]).toBeUndefined();
  });

  test("is refused for a drain that nobody knows", () => {
    expect(world().send("restore", { drainId: "d" }).error?.code).toBe("drain_not_found");
    expect(world().send("discard", { drainId: "d" }).error?.code).toBe("drain_not_found");
  });

  test("remembers the newest drains alone", () => {
    const shard = world();
    shard.isChecked = false;
    for (let index = 0; index <= ENDED_DRAINS_MAX; index += 1) {
      shard.send("drain", { drainId: `d${index}` });
      shard.send("restore", { drainId: `d${index}` });
    }
    expect(shard.send("restore", { drainId: "d0" }).error?.code).toBe("drain_not_found");
    expect(shard.send("restore", { drainId: "d1" })["duplicate"]).toBe(true);
  });
});

describe("discard", () => {
  test("ends the marked items, as many at a time as a frame holds, and then the drain is over", () => {
    const shard = world();
    const ids = shard.seed(7);
    shard.send("drain", { drainId: "d" });
    const later = shard.seed(1);
    const small = { frameBytesLeft: 256 + 3 + 4 * 4 };
    expect(shard.send("discard", { drainId: "d" }, small)).toMatchObject({ discarded: 4, left: 3, duplicate: false });
    expect(shard.send("restore", { drainId: "d" }).error?.message).toMatch(/partly discarded/);
    expect(shard.send("discard", { drainId: "d" }, { frameBytesLeft: 100 }).error?.code).toBe("unavailable");
    expect(shard.send("discard", { drainId: "d" })).toMatchObject({ discarded: 3, left: 0, duplicate: false });
    expect(shard.send("discard", { drainId: "d" })).toMatchObject({ discarded: 0, left: 0, duplicate: true });
    expect(shard.send("restore", { drainId: "d" }).error?.code).toBe("conflict");
    for (const itemId of ids) expect(shard.statusOf(itemId)).toBe("discarded");
    expect(shard.codeOf(shard.send("cancel", { itemIds: ids }))).toBe("conflict");
    expect(shard.send("stats", {})).toMatchObject({ pending: 1, removed: 7 });
    expect(shard.order()).toEqual(later);
  });

  test("is refused while an item is leased, and after a restore", () => {
    const shard = world();
    shard.seed(1);
    const lease = shard.take();
    shard.send("drain", { drainId: "d" });
    expect(shard.send("discard", { drainId: "d" }).error).toMatchObject({ code: "conflict", details: { active: 1 } });
    shard.send("release", { leases: [lease] });
    shard.send("restore", { drainId: "d" });
    expect(shard.send("discard", { drainId: "d" }).error?.code).toBe("conflict");
  });

  test("ends a drain that holds nothing any more", () => {
    const shard = world();
    const ids = shard.seed(1);
    shard.send("drain", { drainId: "d" });
    shard.send("cancel", { itemIds: ids });
    expect(shard.send("discard", { drainId: "d" })).toMatchObject({ discarded: 0, left: 0, duplicate: false });
    expect(shard.send("stats", {})["drain"]).toBeUndefined();
  });
});

describe("restore of exported items", () => {
  test("makes each once under a new id, with its past and where it is from", () => {
    const source = world();
    source.seed(1, { body: "b", requestId: "once" });
    const lease = source.take();
    source.send("fail", { leases: [{ ...lease, reason: "no" }] });
    source.send("drain", { drainId: "d" });
    const items = pages(source, "d");

    const target = world();
    target.seed(1);
    const request = { drainId: "d", origin: foreign, items };
    const [made] = target.send("restore", request)["results"];
    expect(made).toEqual({ itemId: expect.any(String), duplicate: false });
    expect(target.send("restore", request)["results"]).toEqual([{ itemId: made.itemId, duplicate: true }]);
    const [record] = target.send("get", { itemIds: [made.itemId] })["results"];
    expect(record).toMatchObject({
      ...{ attempt: 1, charged: 1, enqueuedBy: "seeder", lastError: { reason: "no", attempt: 1 } },
      origin: { logId: "log-0", itemId: lease.itemId },
    });
    expect(record.item).not.toHaveProperty("requestId");
    target.send("cancel", { itemIds: [made.itemId] });
    expect(target.send("restore", request)["results"]).toEqual([
      { itemId: made.itemId, duplicate: true, status: "cancelled" },
    ]);
    // The id of its enqueue means nothing here.
    expect(target.seed(1, { requestId: "once" })).not.toEqual([made.itemId]);
  });

  test("makes items of its own log anew only if they were discarded", () => {
    const shard = world({ recordsMax: 3 });
    const ids = shard.seed(4);
    const [done, pending, gone, dead] = ids;
    shard.send("drain", { drainId: "d" });
    const items = pages(shard, "d");
    shard.send("restore", { drainId: "d" });
    shard.send("complete", { leases: [shard.take()] });
    shard.send("cancel", { itemIds: [pending ?? ""] });
    const restore = () => shard.send("restore", { drainId: "d", origin: own, items })["results"];
    expect(restore()).toEqual([
      { itemId: done, duplicate: true, status: "completed" },
      { itemId: pending, duplicate: true, status: "cancelled" },
      { itemId: gone, duplicate: true },
      { itemId: dead, duplicate: true },
    ]);
    shard.send("drain", { drainId: "e" });
    shard.send("discard", { drainId: "e" });
    const [first, second, third, fourth] = restore();
    expect(first.error.code).toBe("request_expired");
    expect(second).toMatchObject({ itemId: pending, duplicate: true });
    expect([third.duplicate, fourth.duplicate]).toEqual([false, false]);
    expect(restore().slice(2)).toEqual([
      { itemId: third.itemId, duplicate: true },
      { itemId: fourth.itemId, duplicate: true },
    ]);
    const unknown = { ...items[0], itemId: "zzz" } as DrainItem;
    const [refused] = shard.send("restore", { drainId: "d", origin: own, items: [unknown] })["results"];
    expect(refused.error.code).toBe("item_not_found");
  });

  test("refuses what does not fit: a unique key that is taken, a body above the limit, a frame that is full", () => {
    const source = world();
    source.seed(1, { uniqueKey: "u" });
    source.seed(1, { body: "x".repeat(3_000) });
    source.seed(1);
    source.send("drain", { drainId: "d" });
    const items = pages(source, "d");
    const target = world({ itemBytesMax: 2_000, pendingHigh: 1 });
    const [holder = ""] = target.seed(1, { uniqueKey: "u" });
    const request = { drainId: "d", origin: foreign, items };
    expect(target.send("restore", request, { frameBytesLeft: 500 })["results"]).toMatchObject([
      { error: { code: "conflict", details: { itemId: holder } } },
      { error: { code: "payload_too_large" } },
      { error: { code: "unavailable" } },
    ]);
    // Backpressure refuses no restore.
    expect(target.send("restore", request)["results"][2]).toMatchObject({ duplicate: false });
    expect(target.send("restore", request, { logPressure: "full" }).error?.code).toBe("backpressure");
  });

  test("needs both an origin and items, and attempts that can be", () => {
    const shard = world();
    expect(() => shard.send("restore", { drainId: "d", origin: own })).toThrow(/belong together/);
    const item = { resourceType: "t", resourceId: "r" };
    const wrong = { itemId: "3", sequence: 3, enqueuedAt: 1, enqueuedBy: "a", attempt: 1, charged: 2, item };
    expect(() => shard.send("restore", { drainId: "d", origin: own, items: [wrong] })).toThrow(/at most attempt/);
  });

  test("gives back in the same order, with the same payloads and attempts, what was drained, exported and discarded", () => {
    const item = fc.record({
      key: fc.constantFrom({}, partition, { exclusivity: "resource", resourceId: "r" } as const),
      terms: fc.record(
        { priority: fc.nat(9), body: fc.string(), uniqueKey: fc.uuid(), notBefore: fc.nat(5_000) },
        { requiredKeys: [] },
      ),
      ends: fc.constantFrom("none", "fail", "release", "expire", "redrive"),
    });
    fc.assert(
      fc.property(fc.array(item, { maxLength: 12 }), fc.boolean(), (steps, isSameLog) => {
        const shard = new ShardWorld();
        for (const { key, terms, ends } of steps) {
          shard.seed(1, { ...key, ...terms });
          shard.at += 10;
          if (ends !== "none") endOne(shard, ends);
        }
        shard.send("drain", { drainId: "d", leases: "expire" });
        const before = pages(shard, "d");
        discardAll(shard, "d");
        const target = isSameLog ? shard : new CheckedWorld({ at: shard.at });
        const origin = isSameLog ? own : foreign;
        if (before.length > 0) target.send("restore", { drainId: "d", origin, items: before });
        target.send("drain", { drainId: "again" });
        const after = pages(target, "again");
        expect(after.map(withoutIds)).toEqual(before.map(withoutIds));
      }),
      { numRuns: 60 },
    );
  });
});

describe("evict", () => {
  test("ends the leases of a peer, uncharged, and leaves those of others", () => {
    const shard = world();
    shard.seed(5);
    const peer = { principal: "worker", peerId: "worker--1" };
    const lease = shard.take({}, peer);
    shard.send("lease", { maxItems: 3 }, peer);
    const other = shard.take();
    const small = { frameBytesLeft: 3 * 300 };
    expect(shard.send("evict", { peerId: "worker--1" }, small)).toMatchObject({ evicted: 3, left: 1 });
    expect(shard.send("evict", { peerId: "worker--1" }, { frameBytesLeft: 10 }).error?.code).toBe("unavailable");
    expect(shard.send("evict", { peerId: "worker--1" })).toMatchObject({ evicted: 1, left: 0 });
    expect(shard.send("evict", { peerId: "worker--1" })).toMatchObject({ evicted: 0, left: 0 });
    expect(shard.send("evict", { peerId: "nobody" })).toMatchObject({ evicted: 0, left: 0 });
    expect(shard.send("complete", { leases: [lease] })["results"]).toMatchObject([
      { error: { code: "stale_token", details: { reason: "evicted" } } },
    ]);
    expect(shard.send("complete", { leases: [other] })["results"]).toEqual([{ duplicate: false }]);
    expect(shard.send("get", { itemIds: [lease.itemId] })["results"]).toMatchObject([{ attempt: 1, charged: 0 }]);
  });
});

test("every verb of drains needs state version 2", () => {
  const shard = new ShardWorld();
  shard.state.logVersion = 1;
  for (const verb of ["drain", "restore", "discard"] as const)
    expect(shard.send(verb, { drainId: "d" }).error?.code).toBe("unsupported_version");
  expect(shard.send("evict", { peerId: "worker" }).error?.code).toBe("unsupported_version");
});

function endOne(shard: ShardWorld, ends: "fail" | "release" | "expire" | "redrive"): void {
  const [lease] = shard.send("lease", {})["leases"];
  if (lease === undefined) return;
  const { itemId, token } = lease;
  if (ends === "expire") shard.expire(itemId);
  else if (ends === "release") shard.send("release", { leases: [{ itemId, token }] });
  else shard.send("fail", { leases: [{ itemId, token, reason: "no", requeue: ends === "fail" }] });
  if (ends === "redrive") shard.send("redrive", { itemIds: [itemId] });
}

const withoutIds = ({ itemId: _itemId, sequence: _sequence, ...rest }: DrainItem): object => rest;
