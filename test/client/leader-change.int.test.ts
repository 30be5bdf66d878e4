/** What the client does when another leader comes, and when it asks for one: on a clock that the test moves, so that no silence ends by itself. */
import type { NatsConnection } from "@nats-io/transport-node";
import { expect, test } from "vitest";
import { LeaseClient } from "../../services/client/mod.ts";
import { FakeClock } from "../../services/testing/fake-clock.ts";
import { natsServer } from "../support/nats.ts";
import { suiteServer } from "../support/suite-nats.ts";
import { clientWorld, eventually, item, type WorldOptions } from "./client-world.ts";
import { refusal } from "./shard-double.ts";

/** Within which time a request is sent again after a beat: at most 20 ms, and a slot of the wheel. ms. */
const SPREAD_MS = 30;

const server = suiteServer();

async function frozenWorld(cleanup: WorldOptions["cleanup"]) {
  const clock = new FakeClock();
  const world = await clientWorld({ url: server.url, cleanup, clock });
  const { connection, shard } = world;
  /** The beat has been handled when this resolves: the client's connection has read everything before it. */
  const beat = async (term: number, instead?: string): Promise<void> => {
    await shard.beat(term, instead);
    await seen(connection);
  };
  await seen(world.connection);
  await beat(1);
  return { ...world, clock, beat };
}

/** Whatever the server had for the connection before now has been read. */
const seen = (connection: NatsConnection): Promise<void> => connection.flush();

test("a long poll that the old leader took along is sent again when a beat of a newer term is heard", async ({
  onTestFinished,
}) => {
  const { client, shard, clock, beat } = await frozenWorld(onTestFinished);
  shard.judge = () => "drop";
  const call = client.lease({ waitMs: 20_000 });
  await shard.arrived("lease", 1);
  shard.judge = () => "serve";
  await client.enqueue(item("a"), { timeoutMs: 500 });
  await beat(2);
  clock.advance(SPREAD_MS);
  expect((await call).leases).toHaveLength(1);
  expect(new Set(shard.of("lease").map(({ text }) => text)).size).toBe(1);
});

test("a request that rests because nobody led rests no longer once somebody does", async ({ onTestFinished }) => {
  const { client, shard, clock, connection, beat } = await frozenWorld(onTestFinished);
  await shard.leave();
  const call = client.enqueue(item("a"));
  // Until a rest is at least 200 ms long: the sixth and later ones.
  while (client.traffic.sent < 7) {
    await seen(connection);
    clock.advance(10);
  }
  await seen(connection);
  shard.serve();
  await beat(2);
  clock.advance(SPREAD_MS);
  await call;
  expect(shard.of("enqueue")).toHaveLength(1);
});

test("beats of known terms and texts that are none make nobody ask again", async ({ onTestFinished }) => {
  const { client, shard, clock, beat } = await frozenWorld(onTestFinished);
  await client.stats();
  shard.judge = () => "drop";
  const call = client.enqueue(item("a")).catch(() => "closed");
  await shard.arrived("enqueue", 1);
  await beat(1);
  await beat(0);
  for (const text of [
    "",
    "no JSON",
    "[]",
    "null",
    '{"term":"9"}',
    '{"term":1e300}',
    `{"term":9,"x":"${"x".repeat(5_000)}"}`,
  ])
    await beat(0, text);
  clock.advance(SPREAD_MS);
  expect(client.traffic.sent).toBe(2);
  await client.close();
  expect(await call).toBe("closed");
});

test("a stranger who raises the term without end makes a request be repeated only now and then", async ({
  onTestFinished,
}) => {
  const { client, shard, clock, beat } = await frozenWorld(onTestFinished);
  shard.judge = () => "drop";
  const call = client.lease({ waitMs: 20_000 }).catch(() => "closed");
  await shard.arrived("lease", 1);
  for (let term = 2; term < 52; term += 1) {
    await beat(term * 1_000);
    clock.advance(20);
  }
  expect(client.traffic.sent).toBeGreaterThan(1);
  expect(client.traffic.sent).toBeLessThanOrEqual(1 + 1_000 / 250 + 1);
  await client.close();
  expect(await call).toBe("closed");
});

test("a client that may not hear beats works without them", async ({ onTestFinished }) => {
  const own = await natsServer({
    cleanup: onTestFinished,
    extraConfig:
      'authorization { users: [{ user: u, password: p, permissions: { subscribe: { deny: "omnirelay.>" } } }, { user: d, password: d }] }',
  });
  const client = await LeaseClient.connect({ servers: own.url, nats: { user: "u", pass: "p" }, shard: "default" });
  onTestFinished(() => client.close());
  await expect(client.stats({ timeoutMs: 50 })).rejects.toMatchObject({ code: "unavailable", definite: true });
  expect(client.isClosed).toBe(false);
});

test("a handover names the sequence that was known, so that a repeat is told from a first request", async ({
  onTestFinished,
}) => {
  const { client, shard, clock } = await frozenWorld(onTestFinished);
  let refusals = 0;
  shard.judge = ({ verb }) => (verb === "handover" && refusals++ === 0 ? refusal("shutting_down") : "serve");
  const call = client.handover({ to: "b" });
  await eventually(() => {
    clock.advance(10);
    return shard.of("handover").length;
  }).toBe(2);
  expect(await call).toMatchObject({ successor: "b", term: 1, sequence: shard.state.sequence });
  expect(shard.of("handover").map(({ body }) => body)).toEqual(
    Array(2).fill({ requestId: expect.any(String), to: "b", after: shard.state.sequence }),
  );
});

test("a handover that nobody can take is refused at once, with those who could", async ({ onTestFinished }) => {
  const { client, shard } = await frozenWorld(onTestFinished);
  shard.judge = ({ verb }) =>
    verb === "handover" ? refusal("unavailable", { details: { candidates: ["c"] } }) : "serve";
  await expect(client.handover({ to: "b" })).rejects.toMatchObject({
    code: "unavailable",
    retryable: true,
    details: { candidates: ["c"] },
  });
  expect(shard.of("handover")).toHaveLength(1);
});
