/** Ends that no worker makes: cancelled, purged; and dead letters that come back; unique keys, progress, and what explain says of it all. */
import { describe, expect, test } from "vitest";
import { canonicalState } from "../../services/core/canonical.ts";
import { SnapshotCut } from "../../services/core/snapshot-cut.ts";
import { SnapshotLoader } from "../../services/core/snapshot-load.ts";
import { CheckedWorld } from "./checked-world.ts";
import type { AnyReply, WorldOptions } from "./shard-world.ts";

const partition = { exclusivity: "partition", partitionKey: "p" } as const;

const world = (options: WorldOptions["options"] = {}): CheckedWorld => new CheckedWorld({ options });

describe("cancel", () => {
  test("ends a pending item, and a repeat is a duplicate", () => {
    const shard = world();
    const [first = "", second = ""] = shard.seed(2);
    const request = { itemIds: [first], reason: "not needed" };
    expect(shard.send("cancel", request)["results"]).toEqual([{ outcome: "ended", duplicate: false }]);
    expect(shard.lastEvents()).toMatchObject([
      { type: "cancelled", itemId: first, outcome: "ended", reason: "not needed" },
    ]);
    expect(shard.send("cancel", request)["results"]).toEqual([{ outcome: "ended", duplicate: true }]);
    expect(shard.statusOf(first)).toBe("cancelled");
    expect(shard.order()).toEqual([second]);
    expect(shard.send("stats", {})).toMatchObject({ pending: 0, active: 1, removed: 1, completed: 0 });
  });

  test("takes any item out of a partition and of a resource, and the rest goes on in order", () => {
    for (const key of [partition, { exclusivity: "resource", resourceId: "r" } as const])
      for (const gone of [0, 1, 2, 3]) {
        const shard = world();
        const ids = shard.seed(4, key);
        shard.send("cancel", { itemIds: [ids[gone] ?? ""] });
        const rest = ids.filter((_, index) => index !== gone);
        for (const itemId of rest) {
          const lease = shard.take();
          expect(lease.itemId).toBe(itemId);
          shard.send("complete", { leases: [lease] });
        }
      }
  });

  test("asks the holder of a leased item, who hears of it with its next heartbeat", () => {
    const shard = world();
    shard.seed(1);
    const lease = shard.take();
    expect(shard.send("cancel", { itemIds: [lease.itemId] })["results"]).toEqual([
      { outcome: "requested", duplicate: false },
    ]);
    expect(shard.send("cancel", { itemIds: [lease.itemId] })["results"]).toEqual([
      { outcome: "requested", duplicate: true },
    ]);
    expect(shard.send("heartbeat", { leases: [lease] })["results"]).toMatchObject([{ cancelRequested: true }]);
    expect(shard.holds(lease.itemId)).toMatchObject([{ hold: "cancelRequested" }, { hold: "leased" }]);
  });

  test("lets a completion count that comes after it", () => {
    const shard = world();
    shard.seed(1);
    const lease = shard.take();
    shard.send("cancel", { itemIds: [lease.itemId] });
    expect(shard.send("complete", { leases: [lease] })["results"]).toEqual([{ duplicate: false }]);
    expect(shard.statusOf(lease.itemId)).toBe("completed");
    expect(shard.codeOf(shard.send("cancel", { itemIds: [lease.itemId] }))).toBe("conflict");
  });

  test("ends the item with any other end of its lease, and a repeat of that end is a duplicate", () => {
    const ends = {
      fail: (shard: CheckedWorld, lease: { itemId: string; token: number }) =>
        shard.send("fail", { leases: [{ ...lease, reason: "stopped" }] })["results"],
      release: (shard: CheckedWorld, lease: { itemId: string; token: number }) =>
        shard.send("release", { leases: [lease] })["results"],
    };
    for (const [verb, end] of Object.entries(ends)) {
      const shard = world();
      shard.seed(1, partition);
      const [next] = shard.seed(1, partition);
      const lease = shard.take();
      shard.send("cancel", { itemIds: [lease.itemId] });
      const outcome = verb === "fail" ? { outcome: "cancelled" } : {};
      expect(end(shard, lease)).toEqual([{ ...outcome, duplicate: false }]);
      expect(end(shard, lease)).toEqual([{ ...outcome, duplicate: true }]);
      expect(shard.statusOf(lease.itemId)).toBe("cancelled");
      expect(shard.codeOf(shard.send("heartbeat", { leases: [lease] }))).toBe("stale_token");
      expect(shard.order()).toEqual([next]);
    }
  });

  test("ends the item when its lease runs out", () => {
    const shard = world();
    shard.seed(1);
    const { itemId } = shard.take();
    shard.send("cancel", { itemIds: [itemId] });
    shard.expire(itemId);
    expect(shard.lastEvents()).toMatchObject([{ type: "expired", outcome: "cancelled" }]);
    expect(shard.statusOf(itemId)).toBe("cancelled");
  });

  test("ends a dead letter, and a partition that stood still because of it goes on", () => {
    const shard = world();
    shard.seed(1, partition);
    const [next = ""] = shard.seed(1, partition);
    const dead = shard.bury();
    expect(shard.holds(next)).toMatchObject([{ hold: "keyHalted" }]);
    shard.send("cancel", { itemIds: [dead] });
    expect(shard.order()).toEqual([next]);
  });

  test("says of an unknown item that it is not known", () => {
    expect(world().codeOf(world().send("cancel", { itemIds: ["zz"] }))).toBe("item_not_found");
  });
});

describe("redrive", () => {
  test("brings a dead letter back to its old place with no attempt charged", () => {
    const shard = world({ maxAttempts: 2 });
    const [first = "", second = ""] = shard.seed(2);
    shard.bury();
    expect(shard.send("redrive", { itemIds: [first] })["results"]).toEqual([{ itemId: first, duplicate: false }]);
    expect(shard.send("redrive", { itemIds: [first] })["results"]).toEqual([{ itemId: first, duplicate: true }]);
    expect(shard.send("get", { itemIds: [first] })["results"][0]).toMatchObject({
      attempt: 1,
      charged: 0,
      redrives: 1,
    });
    expect(shard.order()).toEqual([first, second]);
  });

  test("lets a halted partition go on with it, before what came later", () => {
    const shard = world();
    const ids = shard.seed(3, partition);
    shard.bury();
    expect(shard.order()).toEqual([]);
    shard.send("redrive", { itemIds: [ids[0] ?? ""] });
    for (const itemId of ids) {
      const lease = shard.take();
      expect(lease.itemId).toBe(itemId);
      shard.send("complete", { leases: [lease] });
    }
  });

  test("of an old one in a partition that goes on: comes first, but not before what is leased", () => {
    const shard = world({ onDeadLetter: "continue" });
    const ids = shard.seed(4, partition);
    shard.bury();
    const running = shard.take();
    expect(running.itemId).toBe(ids[1]);
    shard.send("redrive", { itemIds: [ids[0] ?? ""] });
    expect(shard.holds(ids[0] ?? "")).toMatchObject([{ hold: "keyBusy", itemId: ids[1] }]);
    shard.send("complete", { leases: [running] });
    for (const itemId of [ids[0], ids[2], ids[3]]) {
      const lease = shard.take();
      expect(lease.itemId).toBe(itemId);
      shard.send("complete", { leases: [lease] });
    }
  });

  test("of an old one in a partition comes before the one that was leased, when that is given back", () => {
    const shard = world({ onDeadLetter: "continue" });
    const ids = shard.seed(3, partition);
    shard.bury();
    const running = shard.take();
    shard.send("redrive", { itemIds: [ids[0] ?? ""] });
    shard.send("release", { leases: [running] });
    for (const itemId of ids) {
      const lease = shard.take();
      expect(lease.itemId).toBe(itemId);
      shard.send("complete", { leases: [lease] });
    }
  });

  test("of an old one in a partition that stands still because of a younger one waits for that", () => {
    const shard = world({ onDeadLetter: "continue" });
    const ids = shard.seed(3, partition);
    shard.bury();
    const running = shard.take();
    shard.send("redrive", { itemIds: [ids[0] ?? ""] });
    shard.send("configure", { options: { onDeadLetter: "halt" } });
    shard.send("fail", { leases: [{ ...running, reason: "no", requeue: false }] });
    expect(shard.order()).toEqual([]);
    shard.send("purge", { itemIds: [running.itemId] });
    expect(shard.order()).toEqual([ids[0]]);
  });

  test("takes the place of a head that is only shown", () => {
    const shard = world({ onDeadLetter: "continue" });
    const ids = shard.seed(2, partition);
    shard.bury();
    shard.send("redrive", { itemIds: [ids[0] ?? ""] });
    expect(shard.order()).toEqual([ids[0]]);
  });

  test("spreads what it brings back, in the order asked", () => {
    const shard = world();
    shard.seed(3);
    const dead = [0, 1, 2].map((index) => shard.bury(index === 1 ? "odd" : "even"));
    const even = shard.send("list", { status: "deadLettered", code: "even" })["items"];
    expect(even.map(({ itemId }: { itemId: string }) => itemId)).toEqual([dead[0], dead[2]]);
    shard.send("redrive", { itemIds: [dead[2] ?? "", dead[0] ?? ""], everyMs: 1_000 });
    expect(shard.holds(dead[0] ?? "")).toMatchObject([{ hold: "delayed", until: shard.at + 1_000 }]);
    expect(shard.order()).toEqual([dead[2]]);
    shard.at += 1_000;
    expect(shard.order()).toEqual([dead[0]]);
  });

  test("does not bury again what came too late", () => {
    const shard = world();
    const [itemId = ""] = shard.seed(1, { notAfter: shard.at + 100 });
    shard.at += 200;
    expect(shard.order()).toEqual([]);
    expect(shard.statusOf(itemId)).toBe("deadLettered");
    shard.send("redrive", { itemIds: [itemId] });
    expect(shard.order()).toEqual([itemId]);
  });

  test("refuses what is no dead letter, and what another unfinished item has the unique key of", () => {
    const shard = world();
    const [first = ""] = shard.seed(1, { uniqueKey: "u" });
    shard.bury();
    const [second = ""] = shard.seed(1, { uniqueKey: "u" });
    expect(second).not.toBe(first);
    expect(shard.codeOf(shard.send("redrive", { itemIds: [first] }))).toBe("conflict");
    expect(shard.codeOf(shard.send("redrive", { itemIds: [second] }))).toBe("conflict");
    expect(shard.codeOf(shard.send("redrive", { itemIds: ["zz"] }))).toBe("item_not_found");
  });
});

describe("purge", () => {
  test("ends dead letters; a repeat is a duplicate, and others are refused", () => {
    const shard = world();
    const [, pending = ""] = shard.seed(2);
    const dead = shard.bury();
    expect(shard.send("purge", { itemIds: [dead] })["results"]).toEqual([{ itemId: dead, duplicate: false }]);
    expect(shard.send("purge", { itemIds: [dead] })["results"]).toEqual([{ itemId: dead, duplicate: true }]);
    expect(shard.codeOf(shard.send("purge", { itemIds: [pending] }))).toBe("conflict");
    expect(shard.codeOf(shard.send("cancel", { itemIds: [dead] }))).toBe("conflict");
    expect(shard.statusOf(dead)).toBe("purged");
    expect(shard.send("stats", {})).toMatchObject({ deadLettered: 0, removed: 1 });
  });

  test("lets a halted partition go on, also one with nothing in it", () => {
    const shard = world();
    shard.seed(1, partition);
    const dead = shard.bury();
    expect(shard.state.ready.keys.size).toBe(1);
    shard.send("purge", { itemIds: [dead] });
    expect(shard.state.ready.keys.size).toBe(0);
    const [itemId] = shard.seed(1, partition);
    expect(shard.order()).toEqual([itemId]);
  });
});

describe("a unique key", () => {
  test("answers the unfinished item that has it, after the log has confirmed that", () => {
    const shard = world();
    const [first = ""] = shard.seed(1, { uniqueKey: "u" });
    const again = shard.send("enqueue", { items: [{ resourceType: "t", resourceId: "r", uniqueKey: "u" }] });
    expect(again["results"]).toMatchObject([{ itemId: first, duplicate: true }]);
    expect(shard.last?.confirm).toBe(true);
    const lease = shard.take();
    expect(shard.seed(1, { uniqueKey: "u" })).toEqual([first]);
    shard.send("complete", { leases: [lease] });
    expect(shard.seed(1, { uniqueKey: "u" })).not.toEqual([first]);
  });

  test("is free again after a cancel and a dead letter", () => {
    const shard = world();
    const [first = ""] = shard.seed(1, { uniqueKey: "u" });
    shard.send("cancel", { itemIds: [first] });
    const [second = ""] = shard.seed(1, { uniqueKey: "u" });
    shard.bury();
    const [third = ""] = shard.seed(1, { uniqueKey: "u" });
    expect(new Set([first, second, third]).size).toBe(3);
  });

  test("within one request makes one item", () => {
    const ids = world().seed(3, { uniqueKey: "u" });
    expect(new Set(ids).size).toBe(1);
  });
});

test("progress is written with the heartbeat that tells it, and shown", () => {
  const shard = world();
  shard.seed(1);
  const lease = shard.take();
  shard.send("heartbeat", { leases: [{ ...lease, progress: "3 of 7" }] });
  expect(shard.lastEvents()).toMatchObject([{ type: "renewed", leases: [{ progress: "3 of 7" }] }]);
  expect(shard.send("get", { itemIds: [lease.itemId] })["results"][0]).toMatchObject({
    progress: { text: "3 of 7", at: shard.at },
  });
});

test("a log of state version 1 holds no progress", () => {
  const shard = world();
  shard.seed(1);
  const lease = shard.take();
  shard.state.logVersion = 1;
  shard.isChecked = false;
  expect(shard.codeOf(shard.send("heartbeat", { leases: [{ ...lease, progress: "half" }] }))).toBe(
    "unsupported_version",
  );
});

test("explain says why an item is not running", () => {
  const shard = world();
  const [first = "", second = ""] = shard.seed(2);
  expect(shard.holds(first)).toMatchObject([{ hold: "next" }]);
  expect(shard.holds(second)).toMatchObject([{ hold: "behind", itemId: first }]);
  const [delayed = ""] = shard.seed(1, { delayMs: 500 });
  shard.send("pause", {});
  expect(shard.holds(delayed)).toMatchObject([{ hold: "paused" }, { hold: "delayed", until: shard.at + 500 }]);
  shard.send("resume", {});
  const later = shard.send("explain", { itemId: delayed }, { now: shard.at + 500 })["holds"];
  expect(later).toMatchObject([{ hold: "behind" }]);
  const [lapsing = ""] = shard.seed(1, { notAfter: shard.at + 10 });
  expect(shard.send("explain", { itemId: lapsing }, { now: shard.at + 10 })["holds"]).toMatchObject([
    { hold: "lapsed" },
  ]);
  const [head = "", next = ""] = shard.seed(2, { ...partition, resourceType: "other" });
  expect(shard.holds(next)).toMatchObject([{ hold: "keyQueued", itemId: head }]);
  shard.take({ resourceTypes: ["other"] });
  expect(shard.holds(next)).toMatchObject([{ hold: "keyBusy", itemId: head, peerId: "worker" }]);
  expect(shard.codeOf(shard.send("explain", { itemId: "zz" }))).toBe("item_not_found");
});

describe("results", () => {
  const finish = (shard: CheckedWorld, result?: string): string => {
    shard.seed(1);
    const lease = shard.take();
    shard.send("complete", { leases: [{ ...lease, result }] });
    return lease.itemId;
  };
  const resultOf = (shard: CheckedWorld, itemId: string): string | undefined =>
    shard.send("get", { itemIds: [itemId] })["results"][0]?.result;

  test("the newest ones are shown, as many as the shard keeps", () => {
    const shard = world({ resultsMax: 2 });
    const [first, none, second, third] = [finish(shard, "a"), finish(shard), finish(shard, "b"), finish(shard, "")];
    expect([first, none, second, third].map((itemId) => resultOf(shard, itemId))).toEqual([
      undefined,
      undefined,
      "b",
      "",
    ]);
    shard.send("configure", { options: { resultsMax: 1 } });
    expect([second, third].map((itemId) => resultOf(shard, itemId))).toEqual([undefined, ""]);
    shard.send("configure", { options: { resultsMax: 0 } });
    expect(resultOf(shard, third)).toBeUndefined();
    expect(resultOf(shard, finish(shard, "c"))).toBeUndefined();
  });

  test("are forgotten with their items", () => {
    const shard = world({ recordsMax: 1 });
    const first = finish(shard, "a");
    const second = finish(shard, "b");
    expect(shard.codeOf(shard.send("get", { itemIds: [first] }))).toBe("item_not_found");
    expect(resultOf(shard, second)).toBe("b");
  });

  test("that do not fit one reply are left out, and it says so", () => {
    const shard = world();
    shard.isChecked = false;
    const ids = Array.from({ length: 110 }, () => finish(shard, "x".repeat(8_000)));
    const results: AnyReply["results"] = shard.send("get", { itemIds: ids })["results"];
    expect(results[0].result).toHaveLength(8_000);
    expect(results.at(-1)).toMatchObject({ truncated: true });
  });

  test("of the moment of a cut are in its text, whatever is forgotten meanwhile", () => {
    const shard = world({ resultsMax: 1, recordsMax: 2 });
    finish(shard, "a");
    const lines = [...canonicalState(shard.state)];
    const cut = new SnapshotCut(shard.state);
    const loader = new SnapshotLoader();
    loader.add(cut.next(1) ?? "");
    shard.isChecked = false;
    for (const result of ["b", "c", "d"]) finish(shard, result);
    for (let text = cut.next(1); text !== undefined; text = cut.next(1)) loader.add(text);
    expect([...canonicalState(loader.finish())]).toEqual(lines);
  });
});
