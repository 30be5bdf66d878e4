/** What the client promises on the wire: every verb, how calls share requests, schedules and backpressure. */
import { describe, expect, test } from "vitest";
import { BackpressureError, bytes, decodeBody, json, RefusedError } from "../../services/client/mod.ts";
import { suiteServer } from "../support/suite-nats.ts";
import { codeOf, firstLease, item, only, signal, worldOf } from "./client-world.ts";
import { refusal } from "./shard-double.ts";

const world = worldOf(suiteServer());

describe("every verb", () => {
  test("goes through a shard and back", async ({ onTestFinished }) => {
    const { client } = await world(onTestFinished, { client: { peerName: "one" } });
    const { itemId, duplicate } = await client.enqueue({ ...item("orders"), ...json({ n: 1 }) });
    expect(duplicate).toBe(false);
    expect(await client.get(itemId)).toMatchObject({ status: "pending", item: { body: '{"n":1}' } });
    const { leases } = await client.lease({ maxItems: 5, leaseDurationMs: 60_000 });
    expect(leases).toMatchObject([{ itemId, attempt: 1, item: { resourceId: "orders" } }]);
    const lease = only(leases);
    expect(decodeBody(lease.item)).toEqual({ n: 1 });
    expect(lease.validUntilMs - client.clock.monotonicMs()).toBeGreaterThan(59_000);
    expect(await client.get(itemId)).toMatchObject({ lease: { principal: "alice", peerId: "alice--one" } });
    expect((await client.heartbeat(lease)).validMs).toBe(60_000);
    expect((await client.heartbeat(lease, { extendMs: 90_000 })).validMs).toBe(90_000);
    expect(await client.release(lease)).toEqual({ duplicate: false });
    const again = await firstLease(client);
    expect(await client.fail(again, { reason: "no luck", code: "luck" })).toEqual({
      outcome: "requeued",
      duplicate: false,
    });
    const third = await firstLease(client);
    expect(third).toMatchObject({ attempt: 3, lastError: { reason: "no luck", code: "luck" } });
    expect(await client.complete(third, "fine")).toEqual({ duplicate: false });
    expect(await client.stats()).toMatchObject({ pending: 0, active: 0, completed: 1 });
  });

  test("pauses, resumes and configures the shard", async ({ onTestFinished }) => {
    const { client } = await world(onTestFinished);
    await client.enqueue(item("a"));
    expect(await client.pause()).toMatchObject({ paused: true });
    expect(await client.lease()).toEqual({ leases: [], reason: "paused" });
    expect(await client.resume()).toMatchObject({ paused: false });
    expect(await client.configure({ maxAttempts: 2 })).toMatchObject({ options: { maxAttempts: 2 } });
    expect((await client.lease()).leases).toHaveLength(1);
  });

  test("lists every item over its pages", async ({ onTestFinished }) => {
    const { client, shard } = await world(onTestFinished);
    await client.enqueueMany(Array.from({ length: 25 }, (_, index) => item(`r${index}`)));
    const ids: (string | undefined)[] = [];
    for await (const record of client.listAll({ limit: 10 })) ids.push(record.item?.resourceId);
    expect(ids).toEqual(Array.from({ length: 25 }, (_, index) => `r${index}`));
    expect(shard.of("list").length).toBeGreaterThanOrEqual(3);
  });

  test("carries bytes and plain text as bodies", async ({ onTestFinished }) => {
    const { client } = await world(onTestFinished);
    const data = new Uint8Array([0, 255, 10]);
    await client.enqueueMany([
      { ...item("a"), ...bytes(data, "image/png") },
      { ...item("b"), body: data },
      { ...item("c"), payloadEncoding: "text/plain", body: "grüße" },
      item("d"),
    ]);
    const { leases } = await client.lease({ maxItems: 4 });
    expect(leases.map(({ item: { payloadEncoding } }) => payloadEncoding)).toEqual([
      "image/png;base64",
      "application/octet-stream;base64",
      "text/plain",
      "application/json",
    ]);
    expect(leases.map((lease) => decodeBody(lease.item))).toEqual([data, data, "grüße", undefined]);
  });
});

describe("calls side by side", () => {
  test("share one request", async ({ onTestFinished }) => {
    const { client, shard } = await world(onTestFinished);
    const all = await Promise.all(Array.from({ length: 300 }, (_, index) => client.enqueue(item(`r${index}`))));
    expect(shard.of("enqueue")).toHaveLength(1);
    expect(new Set(all.map(({ itemId }) => itemId)).size).toBe(300);
  });

  test("gather while the window is full and leave together when a request comes back", async ({ onTestFinished }) => {
    const { client, shard } = await world(onTestFinished, { client: { requestsInFlightMax: 1 } });
    const first = signal<() => void>();
    shard.judge = () => (shard.of("enqueue").length === 1 ? first.resolve : "serve");
    const calls = [client.enqueue(item("first"))];
    const answerFirst = await first.promise;
    for (let index = 0; index < 50; index += 1) calls.push(client.enqueue(item(`later${index}`)));
    await Promise.resolve();
    expect(client.traffic).toEqual({ inFlight: 1, sent: 1 });
    answerFirst();
    await Promise.all(calls);
    expect(shard.of("enqueue").map(({ body }) => (body["items"] as unknown[]).length)).toEqual([1, 50]);
  });

  test("keep at most the window's requests under way", async ({ onTestFinished }) => {
    const { client, shard } = await world(onTestFinished, { client: { requestsInFlightMax: 2, entriesMax: 10 } });
    const served: (() => void)[] = [];
    shard.judge = () => (serve) => served.push(serve);
    const all = Promise.all(Array.from({ length: 50 }, (_, index) => client.enqueue(item(`r${index}`))));
    await shard.arrived("enqueue", 2);
    expect(client.traffic.inFlight).toBe(2);
    for (let count = 3; count <= 5; count += 1) {
      served.shift()?.();
      await shard.arrived("enqueue", count);
      expect(client.traffic.inFlight).toBe(2);
    }
    for (const serve of served) serve();
    await all;
    expect(shard.of("enqueue")).toHaveLength(5);
  });

  test("are cut by bytes before a request is too large", async ({ onTestFinished }) => {
    const { client, shard } = await world(onTestFinished);
    const body = "x".repeat(60_000);
    await client.enqueueMany(Array.from({ length: 20 }, (_, index) => ({ ...item(`r${index}`), body })));
    expect(shard.of("enqueue").map(({ body: { items } }) => (items as unknown[]).length)).toEqual([9, 9, 2]);
  });

  test("keep their own request ids among those that have none", async ({ onTestFinished }) => {
    const { client, shard } = await world(onTestFinished);
    const [own, other] = await Promise.all([
      client.enqueue(item("a", { requestId: "mine" })),
      client.enqueue(item("b")),
    ]);
    const [request] = shard.of("enqueue");
    expect(request?.body.requestId).toBeUndefined();
    expect((request?.body["items"] as { requestId: string }[] | undefined)?.map(({ requestId }) => requestId)).toEqual([
      "mine",
      expect.stringMatching(/^.{20,}\/1$/),
    ]);
    expect(await client.enqueue(item("a", { requestId: "mine" }))).toEqual({ ...own, duplicate: true });
    expect(other.itemId).not.toBe(own.itemId);
  });

  test("get each its own refusal", async ({ onTestFinished }) => {
    const { client } = await world(onTestFinished);
    await client.enqueue(item("a"));
    const lease = await firstLease(client);
    const stale = { itemId: lease.itemId, token: lease.token + 1 };
    const [good, bad] = await Promise.allSettled([client.complete(lease), client.complete(stale)]);
    expect(good).toMatchObject({ status: "fulfilled" });
    expect((bad as PromiseRejectedResult).reason).toBeInstanceOf(RefusedError);
    expect((bad as PromiseRejectedResult).reason).toMatchObject({
      code: "stale_token",
      definite: true,
      retryable: false,
    });
    expect(await client.completeMany([lease, stale])).toMatchObject([
      { kind: "ok", value: { duplicate: true } },
      { kind: "refused", error: { code: "stale_token" } },
    ]);
  });
});

describe("schedules", () => {
  test("are put, listed page by page and deleted; a body of bytes travels as base64", async ({ onTestFinished }) => {
    const { client, shard } = await world(onTestFinished);
    const { schedules } = client;
    const spec = { cron: "0 3 * * *", timeZone: "Europe/Berlin", item: { ...item("a"), body: new Uint8Array([1, 2]) } };
    for (const name of ["b", "a", "c"])
      expect(await schedules.put({ ...spec, name })).toMatchObject({ duplicate: false });
    expect(await schedules.put({ ...spec, name: "a" })).toMatchObject({ name: "a", duplicate: true });
    const first = await schedules.list({ limit: 2 });
    expect(first.schedules).toMatchObject([
      { name: "a", catchUp: "last", paused: false, putBy: "alice" },
      { name: "b", item: { body: "AQI=", payloadEncoding: "application/octet-stream;base64" } },
    ]);
    expect((await schedules.list({ cursor: first.cursor })).schedules).toMatchObject([{ name: "c" }]);
    expect(await schedules.delete("b")).toMatchObject({ deleted: true });
    expect([...shard.state.schedules.byName.keys()].sort()).toEqual(["a", "c"]);
  });

  test("take an item of a class with what its getters say", async ({ onTestFinished }) => {
    const { client } = await world(onTestFinished);
    class Report {
      readonly resourceType = "report";
      get resourceId(): string {
        return "daily";
      }
    }
    await client.schedules.put({ name: "r", cron: "0 3 * * *", item: new Report() });
    const { schedules } = await client.schedules.list();
    expect(schedules[0]?.item).toEqual({ resourceType: "report", resourceId: "daily" });
  });

  test("that never tick are refused by name, and what is malformed is not even sent", async ({ onTestFinished }) => {
    const { client, shard } = await world(onTestFinished);
    const never = client.schedules.put({ name: "x", cron: "0 0 30 2 *", item: item("a") });
    await expect(never).rejects.toMatchObject({ code: "invalid_argument", details: { issues: [{ path: "cron" }] } });
    expect(await codeOf(client.schedules.put({ name: "x", cron: "a;b", item: item("a") }))).toBe("invalid_argument");
    expect(shard.of("schedule-put")).toHaveLength(1);
  });
});

describe("backpressure", () => {
  const full = { pendingHigh: 1, backpressureCooldownMs: 0 };

  test("is waited for by default", async ({ onTestFinished }) => {
    const { client, shard } = await world(onTestFinished, { shard: full });
    await client.enqueue(item("a"));
    const waiting = client.enqueue(item("b"));
    await shard.arrived("enqueue", 2);
    const lease = await firstLease(client);
    expect(shard.state.pending).toBe(0);
    expect(await waiting).toMatchObject({ duplicate: false });
    await client.complete(lease);
  });

  test("is thrown where the caller wants that", async ({ onTestFinished }) => {
    const { client } = await world(onTestFinished, { shard: full, client: { onBackpressure: "throw" } });
    const results = await client.enqueueMany([item("a"), item("b")]);
    expect(results).toMatchObject([
      { kind: "ok" },
      { kind: "refused", error: { code: "backpressure", retryAfterMs: expect.any(Number) } },
    ]);
    await expect(client.enqueue(item("c"))).rejects.toMatchObject({
      code: "backpressure",
      retryable: true,
      definite: true,
    });
    await expect(client.enqueue(item("d"))).rejects.toBeInstanceOf(BackpressureError);
  });

  test("is the last word when the time is over", async ({ onTestFinished }) => {
    const { client } = await world(onTestFinished, { shard: full });
    await client.enqueue(item("a"));
    await expect(client.enqueue(item("b"), { timeoutMs: 50 })).rejects.toBeInstanceOf(BackpressureError);
    await expect(client.enqueue(item("b"), { timeoutMs: 50 })).rejects.toMatchObject({ code: "backpressure" });
  });

  test("of the whole request is waited for with the same bytes", async ({ onTestFinished }) => {
    const { client, shard } = await world(onTestFinished);
    shard.judge = () => (shard.of("enqueue").length === 1 ? refusal("backpressure", { retryAfterMs: 10 }) : "serve");
    await client.enqueue(item("a"));
    expect(new Set(shard.of("enqueue").map(({ text }) => text)).size).toBe(1);
  });
});
