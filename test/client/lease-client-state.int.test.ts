/** What the client knows beside its answers: how far it has seen, what never leaves, when it gives up, and what becomes of its connection. */
import { describe, expect, test } from "vitest";
import { LeaseClient } from "../../services/client/mod.ts";
import { natsServer } from "../support/nats.ts";
import { suiteServer } from "../support/suite-nats.ts";
import {
  type ClientWorld,
  clientWorld,
  codeOf,
  eventually,
  firstLease,
  item,
  signal,
  worldOf,
} from "./client-world.ts";
import { SHARD } from "./shard-double.ts";

const server = suiteServer();
const world = worldOf(server);

describe("the sequence that was seen", () => {
  test("goes along with request ids that outlive their request", async ({ onTestFinished }) => {
    const { client, shard } = await world(onTestFinished);
    await client.enqueue(item("a"));
    expect(client.sequenceSeen).toBe(shard.state.sequence);
    await client.enqueue(item("b"));
    await client.lease();
    expect(shard.of("enqueue").map(({ body }) => body.after)).toEqual([0, 3]);
    expect(shard.of("lease")[0]?.body.after).toBe(4);
  });

  test("is renewed when a first attempt is refused as expired", async ({ onTestFinished }) => {
    const { client, shard } = await world(onTestFinished, { shard: { recordsMax: 0 } });
    await forget(client, shard);
    const fresh = await LeaseClient.connect({ servers: server.url, shard: client.shard, principal: "bob" });
    onTestFinished(() => fresh.close());
    expect(await fresh.enqueue(item("b"))).toMatchObject({ duplicate: false });
    const afters = shard.of("enqueue").map(({ body }) => body.after);
    expect(afters.slice(-2)).toEqual([0, shard.state.sequence - 1]);
  });

  test("is not renewed once an attempt may have been carried out", async ({ onTestFinished }) => {
    const { client, shard } = await world(onTestFinished, {
      shard: { recordsMax: 0 },
      client: { attemptTimeoutMs: 50 },
    });
    await forget(client, shard);
    const fresh = await LeaseClient.connect({
      servers: server.url,
      shard: client.shard,
      principal: "bob",
      attemptTimeoutMs: 50,
    });
    onTestFinished(() => fresh.close());
    const before = shard.of("enqueue").length;
    shard.judge = () => (shard.of("enqueue").length === before + 1 ? "drop" : "serve");
    await expect(fresh.enqueue(item("b"))).rejects.toMatchObject({ code: "request_expired" });
  });

  test("given by the caller is never renewed", async ({ onTestFinished }) => {
    const { client, shard } = await world(onTestFinished, { shard: { recordsMax: 0 } });
    await forget(client, shard);
    await expect(client.enqueue(item("b", { requestId: "old" }), { after: 0 })).rejects.toMatchObject({
      code: "request_expired",
    });
  });

  /** Ends an item under a request id in a shard that remembers nothing. */
  async function forget(client: LeaseClient, shard: ClientWorld["shard"]): Promise<void> {
    await client.enqueue(item("a"));
    await client.complete(await firstLease(client));
    expect(shard.state.horizon).toBeGreaterThan(0);
  }
});

describe("before sending", () => {
  test.for([
    ["an empty resource id", () => ({ ...item("") })],
    ["an unknown field", () => item("a", { prioritee: 1 })],
    ["a lone surrogate", () => item("\ud800")],
    ["a body that is too long", () => item("a", { body: "x".repeat(600_000) })],
  ] as const)("%s is refused as the server would", async ([, make], { onTestFinished }) => {
    const { client, shard } = await world(onTestFinished);
    const results = await client.enqueueMany([make(), item("good")]);
    expect(results).toMatchObject([
      { kind: "refused", error: { code: "invalid_argument", definite: true } },
      { kind: "ok" },
    ]);
    await expect(client.enqueue(make())).rejects.toMatchObject({ code: "invalid_argument", details: { issues: [{}] } });
    expect(shard.of("enqueue")).toHaveLength(1);
  });

  test("texts over their limit of encoded bytes are refused as too large", async ({ onTestFinished }) => {
    const { client, shard } = await world(onTestFinished);
    await expect(client.enqueue(item("a", { body: "\u0001".repeat(100_000) }))).rejects.toMatchObject({
      code: "payload_too_large",
    });
    await expect(client.complete({ itemId: "x", token: 1 }, "ü".repeat(5_000))).rejects.toMatchObject({
      code: "payload_too_large",
    });
    expect(shard.received).toEqual([]);
  });

  test("options of a call are checked", async ({ onTestFinished }) => {
    const { client, shard } = await world(onTestFinished);
    expect(await codeOf(client.lease({ maxItems: 0 }))).toBe("invalid_argument");
    expect(await codeOf(client.heartbeat({ itemId: "x", token: 1 }, { extendMs: 1 }))).toBe("invalid_argument");
    expect(await codeOf(client.enqueueMany([item("a", { requestId: "x" })], { requestId: "y" }))).toBe(
      "invalid_argument",
    );
    expect(await codeOf(client.list({ limit: 100_000 }))).toBe("invalid_argument");
    expect(shard.received).toEqual([]);
  });

  test("an empty batch is an empty answer", async ({ onTestFinished }) => {
    const { client, shard } = await world(onTestFinished);
    expect(await client.completeMany([])).toEqual([]);
    expect(shard.received).toEqual([]);
  });

  test.each([
    [{ shard: "No Name" }, /shard/],
    [{ shard: "s", principal: "a--b" }, /principal/],
    [{ shard: "s", timeoutMs: 0 }, /timeoutMs/],
    [{ shard: "s", timeout: 5 }, /timeout/],
    [{ shard: "s", servers: undefined }, /connection or servers/],
  ])("a client with %j is not made", async (options, message) => {
    const client = LeaseClient.connect({ servers: "127.0.0.1:1", ...options });
    await expect(client).rejects.toMatchObject({ code: "invalid_options", message: expect.stringMatching(message) });
  });
});

describe("giving up", () => {
  test("an aborted signal rejects with its reason and leaves the others alone", async ({ onTestFinished }) => {
    const { client, shard } = await world(onTestFinished);
    const held = signal<() => void>();
    shard.judge = () => held.resolve;
    const controller = new AbortController();
    const [first, second] = [client.enqueue(item("a"), { signal: controller.signal }), client.enqueue(item("b"))];
    const answer = await held.promise;
    controller.abort(new Error("enough"));
    await expect(first).rejects.toThrow("enough");
    answer();
    expect(await second).toMatchObject({ duplicate: false });
    await expect(client.enqueue(item("c"), { signal: controller.signal })).rejects.toThrow("enough");
    await expect(client.stats({ signal: controller.signal })).rejects.toThrow("enough");
  });

  test("leases that come after the call was aborted are given back", async ({ onTestFinished }) => {
    const { client, shard } = await world(onTestFinished);
    const controller = new AbortController();
    const call = client.lease({ waitMs: 5_000, signal: controller.signal });
    await shard.arrived("lease", 1);
    controller.abort(new Error("enough"));
    await expect(call).rejects.toThrow("enough");
    await client.enqueue(item("a"));
    await shard.arrived("release", 1);
    expect(shard.state.pending).toBe(1);
    await eventually(() => client.traffic.inFlight).toBe(0);
  });

  test("close rejects what is under way and what comes after", async ({ onTestFinished }) => {
    const { client, shard } = await world(onTestFinished, { client: { requestsInFlightMax: 1 } });
    shard.judge = () => "drop";
    const sent = codeOf(client.enqueue(item("a")));
    await shard.arrived("enqueue", 1);
    const gathered = client.enqueue(item("b")).catch((error: unknown) => error);
    const read = codeOf(client.stats());
    await client.close();
    await client.close();
    expect(await sent).toBe("closed");
    expect(await gathered).toMatchObject({ code: "closed", definite: true });
    expect(await read).toBe("closed");
    expect(await codeOf(client.enqueue(item("c")))).toBe("closed");
  });
});

describe("the connection", () => {
  test("may break: what is under way is sent again after it is back", async ({ onTestFinished }) => {
    const { client, shard, connection } = await world(onTestFinished);
    shard.judge = () => (shard.of("enqueue").length === 1 ? "silent" : "serve");
    const call = client.enqueue(item("a"));
    await shard.arrived("enqueue", 1);
    await connection.reconnect();
    expect(await call).toMatchObject({ duplicate: true });
    expect(new Set(shard.of("enqueue").map(({ text }) => text)).size).toBe(1);
  });

  test("may be away for a while: calls wait for it", async ({ onTestFinished }) => {
    const own = await natsServer({ cleanup: onTestFinished });
    const { client } = await clientWorld({ url: own.url, cleanup: onTestFinished });
    await client.enqueue(item("a"));
    await own.kill();
    const call = client.enqueue(item("b"));
    await own.restart();
    expect(await call).toMatchObject({ duplicate: false });
  });

  test("moves to another server when nobody of the mesh is heard over this one", async ({ onTestFinished }) => {
    const alone = await natsServer({ cleanup: onTestFinished });
    const own = await natsServer({ cleanup: onTestFinished });
    const { shard } = await clientWorld({ url: own.url, cleanup: onTestFinished });
    await own.kill();
    const client = await LeaseClient.connect({ servers: [alone.url, own.url], shard: SHARD, principal: "bob" });
    onTestFinished(() => client.close());
    await own.restart();
    await client.enqueue(item("a"));
    expect(shard.of("enqueue")).toHaveLength(1);
  });

  test("that is closed for good ends what is under way", async ({ onTestFinished }) => {
    const { client, shard, connection } = await world(onTestFinished);
    shard.judge = () => "drop";
    const call = client.enqueue(item("a")).catch((error: unknown) => error);
    await shard.arrived("enqueue", 1);
    await connection.close();
    expect(await call).toMatchObject({ code: "disconnected", definite: false });
  });

  test("that may not publish tells so at once", async ({ onTestFinished }) => {
    const own = await natsServer({
      cleanup: onTestFinished,
      extraConfig:
        'authorization { users: [{ user: u, password: p, permissions: { publish: { deny: "resourcelease.>" } } }] }',
    });
    const client = await LeaseClient.connect({ servers: own.url, nats: { user: "u", pass: "p" }, shard: "default" });
    onTestFinished(() => client.close());
    await expect(client.enqueue(item("a"))).rejects.toMatchObject({ code: "permission_denied", definite: true });
  });
});
