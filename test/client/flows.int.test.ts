/** What the SDK promises about items that depend on others: they go in one request, stay one request, and workers get what was left. */
import { expect, test } from "vitest";
import { LeaseClient, unwrap } from "../../services/client/mod.ts";
import { suiteServer } from "../support/suite-nats.ts";
import { eventually, firstLease, item, startWorker, worldOf } from "./client-world.ts";

const world = worldOf(suiteServer());

const sum = (...indexes: readonly number[]) => item("sum", { dependsOn: indexes.map((index) => ({ index })) });

test("a flow runs in its order, and its last handler gets what the others left", async ({ onTestFinished }) => {
  const { client } = await world(onTestFinished);
  // What is enqueued beside it shares no request with it.
  const others = [client.enqueue(item("x")), client.enqueue(item("y"))];
  const [one, two, last] = (await client.enqueueMany([item("a"), item("b"), sum(0, 1)])).map(unwrap);
  await Promise.all(others);
  const told: unknown[] = [];
  startWorker(client, onTestFinished, {
    handler: async ({ itemId, dependencies }) => {
      if (itemId === last?.itemId) told.push(dependencies);
      return `of ${itemId}`;
    },
  });
  await eventually(() => told).toEqual([
    [one, two].map((each) => ({ itemId: each?.itemId, outcome: "completed", result: `of ${each?.itemId}` })),
  ]);
});

test("what is refused for now is sent again as the whole that it was", async ({ onTestFinished }) => {
  const { client, shard } = await world(onTestFinished, {
    shard: { pendingHigh: 2, pendingLow: 1, backpressureCooldownMs: 0 },
    client: { onBackpressure: "wait" },
  });
  const flow = client.enqueueMany([item("a"), item("b"), sum(0, 1)]);
  await shard.until(() => shard.of("enqueue").length >= 1);
  const { leases } = await client.lease({ maxItems: 2 });
  for (const lease of leases) await client.complete(lease);
  const ids = (await flow).map((result) => unwrap(result).itemId);
  expect(new Set(ids).size).toBe(3);
  const requests = shard.of("enqueue").map(({ body }) => [body.requestId, (body["items"] as unknown[]).length]);
  expect(new Set(requests.map(([requestId]) => requestId)).size).toBe(1);
  expect(new Set(requests.map(([, count]) => count))).toEqual(new Set([3]));
  expect((await client.get(ids[2] ?? "")).dependencies?.map(({ itemId }) => itemId)).toEqual(ids.slice(0, 2));
});

test("a flow that is not one request is refused before anything is sent", async ({ onTestFinished }) => {
  const { client, shard } = await world(onTestFinished);
  const refused = { code: "invalid_argument" };
  await expect(client.enqueueMany([{ ...item("a"), priority: 10 }, sum(0)])).rejects.toMatchObject(refused);
  const many = Array.from({ length: 1_000 }, (_, index) => item(`r${index}`));
  await expect(client.enqueueMany([...many, sum(0)])).rejects.toMatchObject(refused);
  expect(shard.of("enqueue")).toEqual([]);
  const [first, cycle] = await client.enqueueMany([item("a"), sum(1)]);
  expect(first?.kind).toBe("ok");
  expect(cycle).toMatchObject({ kind: "refused", error: refused });
});

test("a flow of a client that has seen nothing yet is sent once more, whole, where the shard has forgotten much", async ({
  onTestFinished,
}) => {
  const { client, shard, connection } = await world(onTestFinished, { shard: { recordsMax: 0 } });
  await client.enqueue(item("z"));
  await client.complete(await firstLease(client));
  await using fresh = await LeaseClient.connect({ connection, shard: "default", principal: "bob" });
  const results = await fresh.enqueueMany([item("a"), sum(0)]);
  expect(results.map(({ kind }) => kind)).toEqual(["ok", "ok"]);
  const flows = shard.of("enqueue").slice(1);
  expect(flows.map(({ body }) => [body.after, (body["items"] as unknown[]).length])).toEqual([
    [0, 2],
    [fresh.sequenceSeen - 2, 2],
  ]);
});
