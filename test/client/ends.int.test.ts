/** What the SDK promises about items that are cancelled, delayed or dead: who hears of it, and what becomes of them. */
import { once } from "node:events";
import { describe, expect, test } from "vitest";
import { CancelledError, type Lease, type LeaseClient, RefusedError, unwrap } from "../../services/client/mod.ts";
import { FakeClock } from "../../services/testing/fake-clock.ts";
import { suiteServer } from "../support/suite-nats.ts";
import { eventually, firstLease, item, signal, startWorker, worldOf } from "./client-world.ts";

/** A beat of a lease of three seconds is due by then. ms. */
const BEAT_MS = 1_125;
const duration = { leaseDurationMsDefault: 3_000 };

const world = worldOf(suiteServer());

/** Dead-letters so many new items; their ids in order of enqueue. */
async function bury(client: LeaseClient, count: number, more: object = {}): Promise<string[]> {
  await client.enqueueMany(Array.from({ length: count }, (_, index) => item(`r${index}`, more)));
  const { leases } = await client.lease({ maxItems: count });
  await client.failMany(
    leases.map((lease, index) => ({ ...lease, reason: "no", code: index % 2 ? "odd" : "even", requeue: false })),
  );
  return leases.map(({ itemId }) => itemId);
}

describe("a cancel", () => {
  test("ends what nobody has, and a repeat after a lost answer is a duplicate", async ({ onTestFinished }) => {
    const { client, shard } = await world(onTestFinished, { client: { attemptTimeoutMs: 50 } });
    const { itemId } = await client.enqueue(item("a"));
    let answers = 0;
    shard.judge = ({ verb }) => (verb === "cancel" && answers++ === 0 ? "silent" : "serve");
    expect(await client.cancel(itemId, { reason: "ordered twice" })).toEqual({ outcome: "ended", duplicate: true });
    expect(new Set(shard.of("cancel").map(({ text }) => text)).size).toBe(1);
    expect(await client.get(itemId)).toMatchObject({ status: "cancelled" });
  });

  test("of what is over or unknown is refused, each by itself", async ({ onTestFinished }) => {
    const { client } = await world(onTestFinished);
    const { itemId: done } = await client.enqueue(item("a"));
    await client.complete(await firstLease(client));
    const { itemId: open } = await client.enqueue(item("b"));
    expect(await client.cancelMany([done, "nobody", open])).toMatchObject([
      { kind: "refused", error: { code: "conflict" } },
      { kind: "refused", error: { code: "item_not_found" } },
      { kind: "ok", value: { outcome: "ended", duplicate: false } },
    ]);
    await expect(client.cancel("nobody")).rejects.toMatchObject({ code: "item_not_found" });
    await expect(client.cancel("")).rejects.toMatchObject({ code: "invalid_argument" });
  });

  test("fires the handler's signal with the next heartbeat, and what the handler throws ends the item", async ({
    onTestFinished,
  }) => {
    const clock = new FakeClock();
    const { client, shard } = await world(onTestFinished, { clock, shard: duration });
    const { itemId } = await client.enqueue(item("a"));
    const reason = signal<unknown>();
    const { told } = startWorker(client, onTestFinished, {
      handler: async (_lease, { signal: fired }) => {
        await once(fired, "abort");
        reason.resolve(fired.reason);
        throw fired.reason;
      },
    });
    await eventually(() => told).toEqual(["leased a"]);
    expect(await client.cancel(itemId)).toEqual({ outcome: "requested", duplicate: false });
    clock.advance(BEAT_MS);
    expect(await reason.promise).toBeInstanceOf(CancelledError);
    await eventually(() => told).toEqual(["leased a", "failed a cancelled"]);
    expect(await client.get(itemId)).toMatchObject({ status: "cancelled" });
    expect(shard.of("fail")[0]?.body).toMatchObject({ leases: [{ code: "CancelledError" }] });
    expect(await client.stats()).toMatchObject({ pending: 0, active: 0, completed: 0, removed: 1 });
  });

  test("does not count when the handler finishes all the same", async ({ onTestFinished }) => {
    const { client } = await world(onTestFinished);
    const { itemId } = await client.enqueue(item("a"));
    const { told } = startWorker(client, onTestFinished, {
      handler: async (lease, { heartbeat, signal: fired }) => {
        expect((await heartbeat()).cancelRequested).toBe(false);
        await client.cancel(lease.itemId);
        expect((await heartbeat()).cancelRequested).toBe(true);
        return String(fired.reason instanceof CancelledError);
      },
    });
    await eventually(() => told).toEqual(["leased a", "completed a"]);
    expect(await client.get(itemId)).toMatchObject({ status: "completed" });
  });

  test("of what waits for a free handler ends it without starting it", async ({ onTestFinished }) => {
    const clock = new FakeClock();
    const { client } = await world(onTestFinished, { clock, shard: duration });
    await client.enqueueMany([item("a"), item("b")]);
    const end = signal();
    const started: string[] = [];
    const ids: string[] = [];
    const { worker, told } = startWorker(client, onTestFinished, {
      prefetch: 1,
      handler: async (lease: Lease) => {
        started.push(lease.item.resourceId);
        await end.promise;
      },
    });
    worker.on("leased", ({ lease }) => ids.push(lease.itemId));
    await eventually(() => told).toEqual(["leased a", "leased b"]);
    await client.cancel(ids[1] ?? "");
    clock.advance(BEAT_MS);
    await eventually(() => client.traffic.inFlight).toBe(0);
    end.resolve();
    await eventually(() => client.get(ids[1] ?? "").then(({ status }) => status)).toBe("cancelled");
    expect(started).toEqual(["a"]);
    expect(told.filter((line) => line.endsWith(" b"))).toEqual(["leased b"]);
  });
});

describe("a failure", () => {
  test("with a delay holds the item back until then, and explain says so", async ({ onTestFinished }) => {
    const { client, shard } = await world(onTestFinished);
    await client.enqueue(item("a"));
    const lease = await firstLease(client);
    expect(await client.fail(lease, { reason: "later", delayMs: 5_000 })).toMatchObject({ outcome: "requeued" });
    expect(await client.lease()).toMatchObject({ leases: [] });
    const { status, holds } = await client.explain(lease.itemId);
    expect({ status, holds }).toMatchObject({ status: "pending", holds: [{ hold: "delayed" }] });
    expect(await client.get(lease.itemId)).toMatchObject({ notBefore: holds[0]?.until, charged: 1 });
    shard.advance(5_000);
    expect(await firstLease(client)).toMatchObject({ itemId: lease.itemId, attempt: 2 });
  });

  test("without a penalty may come as often as it likes", async ({ onTestFinished }) => {
    const { client } = await world(onTestFinished, { shard: { maxAttempts: 1 } });
    await client.enqueue(item("a"));
    for (let attempt = 1; attempt <= 3; attempt += 1) {
      const lease = await firstLease(client);
      expect(lease.attempt).toBe(attempt);
      expect(await client.fail(lease, { reason: "not now", penalty: false })).toMatchObject({ outcome: "requeued" });
    }
    expect(await client.fail(await firstLease(client), { reason: "no" })).toMatchObject({ outcome: "deadLettered" });
  });
});

test("progress is told with a heartbeat and read with the item", async ({ onTestFinished }) => {
  const { client, shard } = await world(onTestFinished);
  const { itemId } = await client.enqueue(item("a"));
  const [told, end] = [signal(), signal()];
  const worker = startWorker(client, onTestFinished, {
    handler: async (_lease, { heartbeat }) => {
      await heartbeat(undefined, "3 of 7");
      told.resolve();
      await end.promise;
    },
  });
  await told.promise;
  expect(await client.get(itemId)).toMatchObject({ status: "leased", progress: { text: "3 of 7" } });
  expect(shard.of("heartbeat")[0]?.body["leases"]).toMatchObject([{ itemId, progress: "3 of 7" }]);
  end.resolve();
  await eventually(() => worker.told).toContain("completed a");
});

describe("dead letters", () => {
  test("come back page by page, in their order and spread in time", async ({ onTestFinished }) => {
    const { client, shard } = await world(onTestFinished);
    const dead = await bury(client, 5);
    const first = await client.redrive({ code: "even", limit: 2, everyMs: 1_000 });
    expect(first.results.map(unwrap)).toEqual([
      { itemId: dead[0], duplicate: false },
      { itemId: dead[2], duplicate: false },
    ]);
    const { cursor } = first;
    expect(cursor).toBeDefined();
    const second = await client.redrive({ code: "even", cursor });
    expect(second.results.map(unwrap)).toEqual([{ itemId: dead[4], duplicate: false }]);
    expect(second.cursor).toBeUndefined();
    const ids = async (): Promise<string[]> => (await client.lease({ maxItems: 9 })).leases.map((one) => one.itemId);
    expect(await ids()).toEqual([dead[0], dead[4]]);
    shard.advance(1_000);
    expect(await ids()).toEqual([dead[2]]);
    expect(await client.get(dead[0] ?? "")).toMatchObject({ redrives: 1, attempt: 2, charged: 0 });
  });

  test("that are named come back once, whatever is lost, and others are refused as values", async ({
    onTestFinished,
  }) => {
    const { client, shard } = await world(onTestFinished, { client: { attemptTimeoutMs: 50 } });
    const [dead = ""] = await bury(client, 1);
    const { itemId: pending } = await client.enqueue(item("pending"));
    let answers = 0;
    shard.judge = ({ verb }) => (verb === "redrive" && answers++ === 0 ? "silent" : "serve");
    expect((await client.redrive({ itemIds: [dead, pending, "nobody"] })).results).toMatchObject([
      { kind: "ok", value: { itemId: dead, duplicate: true } },
      { kind: "refused", error: { code: "conflict" } },
      { kind: "refused", error: { code: "item_not_found" } },
    ]);
    expect(await client.stats()).toMatchObject({ pending: 2, deadLettered: 0 });
    await expect(client.redrive({ itemIds: [dead], code: "even" })).rejects.toMatchObject({ code: "invalid_argument" });
  });

  test("are purged for good", async ({ onTestFinished }) => {
    const { client } = await world(onTestFinished);
    const [even = "", odd = ""] = await bury(client, 2);
    expect((await client.purge({ code: "odd" })).results.map(unwrap)).toEqual([{ itemId: odd, duplicate: false }]);
    expect((await client.purge({ itemIds: [odd] })).results.map(unwrap)).toEqual([{ itemId: odd, duplicate: true }]);
    expect(await client.get(odd)).toMatchObject({ status: "purged" });
    expect((await client.list({ status: "deadLettered" })).items).toMatchObject([{ itemId: even }]);
  });

  test("do not come back beside an unfinished item with their unique key", async ({ onTestFinished }) => {
    const { client } = await world(onTestFinished);
    const [dead = ""] = await bury(client, 1, { uniqueKey: "daily" });
    const { itemId, duplicate } = await client.enqueue(item("next", { uniqueKey: "daily" }));
    expect(duplicate).toBe(false);
    expect(await client.enqueue(item("again", { uniqueKey: "daily" }))).toMatchObject({ itemId, duplicate: true });
    expect((await client.redrive({ itemIds: [dead] })).results).toMatchObject([
      { kind: "refused", error: { code: "conflict", details: { itemId } } },
    ]);
  });
});

describe("explain", () => {
  test("names what holds an item back", async ({ onTestFinished }) => {
    const { client } = await world(onTestFinished);
    const key = { exclusivity: "partition", partitionKey: "p" };
    const { itemId: head } = await client.enqueue(item("a", key));
    const { itemId: next } = await client.enqueue(item("b", key));
    await client.lease();
    expect((await client.explain(next)).holds).toMatchObject([{ hold: "keyBusy", itemId: head, peerId: "alice" }]);
    const failure = await client.explain("nobody").catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(RefusedError);
    expect(failure).toMatchObject({ code: "item_not_found" });
  });

  test("that nobody answers is unavailable: it has no outcome that could be unknown", async ({ onTestFinished }) => {
    const { client, shard } = await world(onTestFinished);
    shard.judge = () => "drop";
    await expect(client.explain("3", { timeoutMs: 100 })).rejects.toMatchObject({
      code: "unavailable",
      definite: true,
    });
  });
});

test("items take the order and the times that they name", async ({ onTestFinished }) => {
  const { client, shard } = await world(onTestFinished);
  await client.enqueueMany([
    item("low"),
    item("delayed", { delayMs: 1_000, priority: 9 }),
    item("high", { priority: 5, leaseDurationMs: 60_000, retry: { kind: "fixed", delayMs: 500 } }),
  ]);
  const { leases } = await client.lease({ maxItems: 9 });
  expect(leases.map((lease) => [lease.item.resourceId, lease.validMs])).toEqual([
    ["high", 60_000],
    ["low", 30_000],
  ]);
  shard.advance(1_000);
  expect((await firstLease(client)).item.resourceId).toBe("delayed");
});

test("the state version of a log is raised with configure, and never lowered", async ({ onTestFinished }) => {
  const { client, shard } = await world(onTestFinished);
  shard.state.logVersion = 1;
  await expect(client.enqueue(item("a", { priority: 1 }))).rejects.toMatchObject({
    code: "unsupported_version",
    details: { logVersion: 1, wanted: 2 },
  });
  await client.configure({}, { logVersion: 2 });
  expect(await client.enqueue(item("a", { priority: 1 }))).toMatchObject({ duplicate: false });
  await expect(client.configure({}, { logVersion: 1 })).rejects.toMatchObject({ code: "invalid_argument" });
});
