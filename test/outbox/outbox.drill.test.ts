/** The outbox on each database, before the real core: in order, once, whatever is refused, lost or done twice. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { errorBody } from "../../contracts/errors.ts";
import type { EnqueueInput } from "../../services/client/mod.ts";
import {
  enqueueInTransaction,
  OutboxRelay,
  type OutboxRelayOptions,
  outboxTable,
  type ParkedRow,
} from "../../services/outbox/mod.ts";
import { type ClientWorld, clientWorld, eventually, type WorldOptions } from "../client/client-world.ts";
import { SHARD } from "../client/shard-double.ts";
import { failOnLeakedServers } from "../support/nats.ts";
import { suiteServer } from "../support/suite-nats.ts";
import { type OutboxSubject, SUBJECTS } from "./outbox-subjects.ts";

const server = suiteServer();
afterEach(failOnLeakedServers);

const row = (resourceId: string, more: object = {}): EnqueueInput => ({ resourceType: "mail", resourceId, ...more });
const rows = (from: number, to: number): EnqueueInput[] =>
  Array.from({ length: to - from }, (_, index) => row(`r${from + index}`));
const names = (from: number, to: number): string[] => rows(from, to).map(({ resourceId }) => resourceId);

interface World extends ClientWorld {
  readonly outbox: OutboxSubject;
  readonly told: { readonly errors: string[]; readonly parked: ParkedRow[] };
  relay(options?: Partial<OutboxRelayOptions>): Promise<OutboxRelay>;
  /** Resource ids of the shard's items, in order. */
  enqueued(): readonly string[];
}

describe.each(SUBJECTS)("on $name", (subject) => {
  beforeEach(({ skip }) => {
    if (subject.note !== undefined) skip(subject.note);
  });

  async function world(cleanup: WorldOptions["cleanup"], shard: WorldOptions["shard"] = {}): Promise<World> {
    const known = await clientWorld({ url: server.url, cleanup, shard });
    const outbox = await subject.open(cleanup);
    const told: World["told"] = { errors: [], parked: [] };
    return {
      ...known,
      outbox,
      told,
      relay: async (options = {}) => {
        const relay = await OutboxRelay.connect(outbox.db, {
          client: {
            servers: server.url,
            shard: SHARD,
            principal: "service",
            attemptTimeoutMs: 100,
            timeoutMs: 150,
          },
          ...{ pollMs: 5, turnMs: 300 },
          onError: (error) => told.errors.push((error as { code?: string }).code ?? error.message),
          onParked: (parked) => told.parked.push(parked),
          ...options,
        });
        cleanup(() => relay.stop());
        relay.start();
        return relay;
      },
      enqueued: () => [...known.shard.state.unfinished.after(0)].map((item) => item.resourceId),
    };
  }

  test("what is committed is enqueued in order, and what is rolled back never", async ({ onTestFinished }) => {
    const { outbox, relay, enqueued, shard } = await world(onTestFinished);
    await outbox.write(rows(0, 3));
    await outbox.write(rows(90, 93), "ROLLBACK");
    const running = await relay();
    await outbox.write([row("r3", { body: new Uint8Array([1, 2]), priority: 4 })]);
    running.wake();
    await eventually(enqueued).toEqual(names(0, 4));
    await expect.poll(() => running.stats()).toEqual({ waiting: 0, parked: 0, lagMs: 0 });
    const sent = shard.of("enqueue").flatMap(({ body }) => body["items"] as object[]);
    expect(sent.at(-1)).toMatchObject({
      ...{ resourceId: "r3", body: "AQI=", payloadEncoding: "application/octet-stream;base64", priority: 4 },
    });
  });

  test("an item that no shard takes is refused within the transaction", async ({ onTestFinished }) => {
    const { outbox } = await world(onTestFinished);
    await expect(outbox.write([row("a", { priority: 10 })])).rejects.toMatchObject({ code: "invalid_argument" });
  });

  test("an enqueue whose answer is lost is one", async ({ onTestFinished }) => {
    const { outbox, relay, enqueued, shard, told } = await world(onTestFinished);
    await outbox.write(rows(0, 50));
    shard.judge = ({ verb }) => (verb === "enqueue" && shard.of("enqueue").length <= 3 ? "silent" : "serve");
    const running = await relay();
    await expect.poll(async () => (await running.stats()).waiting, { timeout: 10_000 }).toBe(0);
    expect(enqueued()).toEqual(names(0, 50));
    expect(told.errors).toContain("unknown_outcome");
  });

  test("backpressure holds the rows back in their order", async ({ onTestFinished }) => {
    const { outbox, relay, enqueued, client } = await world(onTestFinished, {
      pendingHigh: 4,
      backpressureCooldownMs: 0,
    });
    await outbox.write(rows(0, 10));
    const running = await relay({ batchSize: 3 });
    await eventually(enqueued).toEqual(names(0, 4));
    // A row goes once its item is acknowledged.
    await expect.poll(() => running.stats()).toMatchObject({ waiting: 6, parked: 0 });
    const seen: string[] = [];
    while (seen.length < 10) {
      const { leases } = await client.lease({ maxItems: 10, waitMs: 2_000 });
      seen.push(...leases.map(({ item }) => item.resourceId));
      await client.completeMany(leases);
    }
    expect(seen).toEqual(names(0, 10));
  });

  test("a row that is refused for good is parked with its reason, and the others go on", async ({ onTestFinished }) => {
    const { outbox, relay, enqueued, told, shard } = await world(onTestFinished, { itemBytesMax: 1_024 });
    await outbox.write([row("r0"), row("large", { body: "x".repeat(2_000) }), row("r1")]);
    await outbox.rows("INSERT INTO omnirelay_outbox (request_id, item) VALUES ('by-hand', '{') RETURNING sequence");
    await outbox.write([row("r2"), row("strange")]);
    // As a shard of an older release does that does not know a field of one item.
    shard.judge = ({ verb, text }) =>
      verb === "enqueue" && text.includes("strange") ? errorBody("invalid_argument", "what is that?") : "serve";
    const running = await relay();
    await expect.poll(async () => (await running.stats()).waiting).toBe(0);
    expect(enqueued()).toEqual(names(0, 3));
    expect(told.parked.map(({ sequence, code }) => [sequence, code]).toSorted()).toEqual([
      [2, "payload_too_large"],
      [4, "invalid_argument"],
      [6, "invalid_argument"],
    ]);
    expect(await running.stats()).toMatchObject({ parked: 3 });
    const [parked] = await outbox.rows("SELECT parked_reason FROM omnirelay_outbox WHERE parked_code LIKE 'payload%'");
    expect(parked?.["parked_reason"]).toMatch(/the limit is 1024/);
  });

  test("missing rights park nothing", async ({ onTestFinished }) => {
    const { outbox, relay, enqueued, told, shard } = await world(onTestFinished);
    await outbox.write(rows(0, 2));
    shard.judge = ({ verb }) => (verb === "enqueue" ? errorBody("permission_denied", "no") : "serve");
    const running = await relay();
    await eventually(() => told.errors).toContain("permission_denied");
    const { lagMs, ...stats } = await running.stats();
    expect(stats).toEqual({ waiting: 2, parked: 0 });
    expect(lagMs).toBeGreaterThan(0);
    shard.judge = () => "serve";
    await eventually(enqueued).toEqual(names(0, 2));
  });

  test("two relays at once send each row once and in order", async ({ onTestFinished }) => {
    const { outbox, relay, enqueued } = await world(onTestFinished);
    const [first] = await Promise.all([relay({ batchSize: 7 }), relay({ batchSize: 7 })]);
    for (let from = 0; from < 200; from += 20) await outbox.write(rows(from, from + 20));
    await expect.poll(async () => (await first.stats()).waiting, { timeout: 10_000 }).toBe(0);
    expect(enqueued()).toEqual(names(0, 200));
  });

  test("a relay that stood still for its whole turn does no harm when it goes on", async ({ onTestFinished }) => {
    const { outbox, relay, enqueued, shard } = await world(onTestFinished);
    await outbox.write(rows(0, 4));
    const held: (() => void)[] = [];
    shard.judge = ({ verb }) => (verb === "enqueue" ? (serve) => void held.push(serve) : "serve");
    const still = await relay({
      batchSize: 2,
      client: { servers: server.url, shard: SHARD, principal: "service" },
    });
    await shard.arrived("enqueue", 1);
    shard.judge = () => "serve";
    await relay({ batchSize: 2 });
    await eventually(enqueued).toEqual(names(0, 4));
    for (const serve of held) serve();
    await expect.poll(async () => (await still.stats()).waiting).toBe(0);
    await outbox.write(rows(4, 8));
    await eventually(enqueued).toEqual(names(0, 8));
  });

  test("a row that may have been sent before what the shard remembers is parked, not doubled", async ({
    onTestFinished,
  }) => {
    const { outbox, relay, client, shard, told, enqueued } = await world(onTestFinished, { recordsMax: 1_000 });
    await outbox.write(rows(0, 1));
    shard.judge = ({ verb }) => (verb === "enqueue" ? "silent" : "serve");
    const first = await relay();
    await shard.arrived("enqueue", 1);
    await first.stop();
    shard.judge = () => "serve";
    for (let ended = 0; ended <= 1_000; ) {
      if (ended > 0) await client.enqueueMany(rows(1, 1_001));
      const { leases } = await client.lease({ maxItems: 1_000 });
      await client.completeMany(leases);
      ended += leases.length;
    }
    await relay();
    await eventually(() => told.parked.map(({ code }) => code)).toEqual(["request_expired"]);
    expect(enqueued()).not.toContain("r0");
  });
});

test("a table of another name is its own, and a name that is none is refused", async () => {
  expect(outboxTable("sqlite", "orders_outbox")).toContain("CREATE TABLE IF NOT EXISTS orders_outbox (");
  for (const table of ["x; DROP TABLE y", "", "X", "a".repeat(41)])
    expect(() => outboxTable("postgres", table)).toThrow(expect.objectContaining({ code: "invalid_options" }));
  const db = { prepare: () => ({ all: () => [] }) };
  expect(enqueueInTransaction(db, row("a", { requestId: "mine" }), "orders_outbox")).toBe("mine");
  await expect(OutboxRelay.connect(db, { client: { shard: "a" }, pollMs: 0 })).rejects.toMatchObject({
    code: "invalid_options",
  });
});
