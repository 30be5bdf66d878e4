/** `omnirelay cancel`, `dead-letters`, `explain` and `shard configure` against a real mesh. */
import { afterEach, beforeEach, expect, test } from "vitest";
import type { LeaseClient } from "../../services/client/mod.ts";
import { type TestMesh, testMesh } from "../support/mesh.ts";
import { failOnLeakedServers, skipWithoutNats } from "../support/nats.ts";
import { type CliResult, cli } from "./fake-terminal.ts";

beforeEach(skipWithoutNats);
afterEach(failOnLeakedServers);

interface World {
  readonly mesh: TestMesh;
  readonly client: LeaseClient;
  readonly ask: (...args: readonly string[]) => Promise<CliResult>;
  readonly json: (...args: readonly string[]) => Promise<Record<string, unknown>>;
}

async function world(cleanup: Parameters<typeof testMesh>[0]): Promise<World> {
  const mesh = await testMesh(cleanup);
  await mesh.dispatcher("d1");
  const client = await mesh.client("default");
  const ask = (...args: readonly string[]) => cli(...args, "--nats-url", mesh.server.url);
  return { mesh, client, ask, json: async (...args) => JSON.parse((await ask(...args, "--json")).out) };
}

/** Dead-letters so many new items of a type; their ids in order of enqueue. */
async function bury(client: LeaseClient, resourceType: string, count: number, code?: string): Promise<string[]> {
  const items = Array.from({ length: count }, (_, index) => ({ resourceType, resourceId: `r${index}` }));
  await client.enqueueMany(items);
  const ids: string[] = [];
  while (ids.length < count) {
    const { leases } = await client.lease({ maxItems: count - ids.length, resourceTypes: [resourceType] });
    await client.failMany(leases.map((lease) => ({ ...lease, reason: "no\u001b[2J", code, requeue: false })));
    ids.push(...leases.map(({ itemId }) => itemId));
  }
  return ids;
}

test("cancel ends items, asks their holders, and says of each that is refused why", async ({ onTestFinished }) => {
  const { client, ask, json } = await world(onTestFinished);
  const [first, second] = (
    await client.enqueueMany([1, 2].map((id) => ({ resourceType: "t", resourceId: `${id}` })))
  ).flatMap((result) => (result.kind === "ok" ? [result.value.itemId] : []));
  const [lease] = (await client.lease({ maxItems: 1 })).leases;
  expect(lease?.itemId).toBe(first);
  expect(await ask("cancel", `${first}`, `${second}`, "--reason", "ordered twice")).toEqual({
    code: 0,
    out: "1 ended, 1 asked of their holders, 0 cancelled before, 0 refused",
    notes: "",
  });
  expect((await ask("log", "tail", "-n", "5")).out).toMatch(/cancelled \d+ t 2: ended, ordered twice {2}by cli$/m);
  if (lease !== undefined) await client.complete(lease);
  const again = await ask("cancel", `${first}`, `${second}`, "nobody\u202e", "--json");
  expect(again.code).toBe(1);
  expect(JSON.parse(again.out)).toMatchObject({ items: 3, ended: 0, requested: 0, duplicates: 1, refused: 2 });
  expect(again.notes.split("\n")).toEqual([
    `omnirelay: item "${first}": conflict: the item has ended already: completed`,
    'omnirelay: item "nobody\\u202e": item_not_found: the shard knows no such item, or has forgotten it',
  ]);
  expect(await json("get", `${second}`)).toMatchObject({ status: "cancelled" });
});

test("dead-letters shows them, brings them back by id and by filter, and ends them when told twice", async ({
  onTestFinished,
}) => {
  const { client, ask, json } = await world(onTestFinished);
  const late = await bury(client, "a", 3, "late");
  const bad = await bury(client, "b", 2);
  const listed = await ask("dead-letters", "list");
  expect(listed.out.split("\n")).toHaveLength(5);
  expect(listed.out.split("\n")[0]).toMatch(/^\d+ +a r0 +1 {2}20\S+Z {2}late {2}no\\u001b\[2J$/);
  const codes = await ask("dead-letters", "list", "--code", "late", "--limit", "2", "--json");
  expect(codes.out.split("\n").map((line) => JSON.parse(line).itemId)).toEqual(late.slice(0, 2));
  const cursor = /--cursor (\S+),/.exec(codes.notes)?.[1] ?? "";
  expect(await json("dead-letters", "list", "--code", "late", "--cursor", cursor)).toMatchObject({ itemId: late[2] });

  expect(await ask("dead-letters", "redrive", late[0] ?? "", "nobody")).toEqual({
    code: 1,
    out: "1 redriven, 0 redriven before, 1 refused",
    notes: 'omnirelay: item "nobody": item_not_found: the shard knows no such item, or has forgotten it',
  });
  expect(await json("dead-letters", "redrive", late[0] ?? "")).toMatchObject({ redriven: 0, duplicates: 1 });
  const limited = await ask("dead-letters", "redrive", "--code", "late", "--limit", "1");
  expect(limited).toEqual({
    code: 0,
    out: "1 redriven, 0 redriven before, 0 refused",
    notes: "there may be more: --all",
  });
  expect(await json("dead-letters", "redrive", "--code", "late")).toMatchObject({
    redriven: 1,
    results: [{ itemId: late[2], duplicate: false }],
  });
  expect(await json("stats")).toMatchObject({ pending: 3, deadLettered: 2 });

  expect(await ask("dead-letters", "purge", bad[0] ?? "")).toMatchObject({
    code: 2,
    out: "",
    notes: expect.stringContaining("add --yes"),
  });
  expect((await ask("dead-letters", "purge", bad[0] ?? "", "--yes")).out).toBe("1 purged, 0 purged before, 0 refused");
  expect((await ask("dead-letters", "purge", "--all", "--yes")).out).toBe("1 purged, 0 purged before, 0 refused");
  expect(await json("stats")).toMatchObject({ pending: 3, deadLettered: 0, removed: 2 });
});

test("dead-letters redrive --all goes over all pages, at the rate that is asked", async ({ onTestFinished }) => {
  const { client, ask } = await world(onTestFinished);
  for (let page = 0; page < 3; page += 1) await bury(client, "t", page < 2 ? 1_000 : 500);
  const started = performance.now();
  const { code, out, notes } = await ask("dead-letters", "redrive", "--all", "--rate", "1000");
  expect({ code, out }).toEqual({ code: 0, out: "2500 redriven, 0 redriven before, 0 refused" });
  // A page holds as many as fit one reply.
  const pages = notes.split("\n").map((note) => Number(/^(\d+) redriven so far$/.exec(note)?.[1]));
  expect(pages.length).toBeGreaterThan(1);
  expect(pages).toEqual(pages.toSorted((left, right) => left - right));
  expect(performance.now() - started).toBeGreaterThan(2_000);
  expect(await client.stats()).toMatchObject({ pending: 2_500, deadLettered: 0 });
});

test("explain says what holds an item back, by items that name their order and their time", async ({
  onTestFinished,
}) => {
  const { client, ask, json } = await world(onTestFinished);
  const enqueue = async (id: string, ...options: readonly string[]): Promise<string> => {
    const { results } = await json("enqueue", "--resource-type", "t", "--resource-id", id, ...options);
    return (results as { itemId: string }[])[0]?.itemId ?? "";
  };
  const tomorrow = Date.now() + 86_400_000;
  const low = await enqueue("low", "--unique-key", "low");
  expect(await enqueue("again", "--unique-key", "low")).toBe(low);
  const high = await enqueue("high", "--priority", "9", "--lease-duration-ms", "60000", "--retry", "list:100,5000");
  const delayed = await enqueue("delayed", "--delay-ms", "3600000", "--not-after", "2100-01-01T00:00:00Z");
  const dated = await enqueue("dated", "--not-before", `${tomorrow}`, "--retry", "exponential:100:6000");
  expect(
    (await client.getMany([high, delayed, dated])).map((result) => result.kind === "ok" && result.value),
  ).toMatchObject([
    { priority: 9, leaseDurationMs: 60_000, retry: { kind: "list", delaysMs: [100, 5_000] } },
    { notBefore: expect.any(Number), notAfter: 4_102_444_800_000 },
    { notBefore: tomorrow, retry: { kind: "exponential", firstMs: 100, maxMs: 6_000 } },
  ]);

  expect((await ask("explain", low)).out.split("\n")).toEqual([
    `item ${low} is pending`,
    expect.stringMatching(/^behind +others of its resource type go first$/),
  ]);
  expect((await ask("explain", delayed)).out).toMatch(/^delayed {2}until 20\S+Z {2}it is granted only from then on$/m);
  const [lease] = (await client.lease()).leases;
  expect(lease?.itemId).toBe(high);
  expect(await json("explain", high)).toMatchObject({ status: "leased", holds: [{ hold: "leased", peerId: "load" }] });
  await client.heartbeat({ itemId: high, token: lease?.token ?? 0, progress: "3 of 7" });
  expect((await ask("list", "--status", "leased")).out).toMatch(/load until 20\S+Z: 3 of 7$/);
  expect(await ask("explain", "nobody")).toMatchObject({ code: 1, notes: expect.stringContaining("item_not_found") });
});

test("shard configure changes the options that are named, and raises the state version", async ({ onTestFinished }) => {
  const { ask, json } = await world(onTestFinished);
  expect(await ask("shard", "configure", "ageingMs=60000", "retry=fixed", "retryFirstMs=500")).toEqual({
    code: 0,
    out: "shard default: ageingMs=60000, retry=fixed, retryFirstMs=500",
    notes: "",
  });
  expect(await json("shard", "configure", "maxAttempts=2")).toMatchObject({
    options: { ageingMs: 60_000, retry: "fixed", maxAttempts: 2 },
  });
  expect(await ask("shard", "configure", "--log-version", "2")).toEqual({
    code: 0,
    out: "shard default: state version 2",
    notes: "",
  });
  expect(await ask("shard", "configure", "--log-version", "1")).toMatchObject({
    code: 1,
    notes: expect.stringContaining("it is never lowered"),
  });
  expect(await ask("shard", "configure", "retryFirstMs=400000")).toMatchObject({
    code: 1,
    notes: expect.stringContaining("retryFirstMs (400000) must be at most retryMaxMs (300000)"),
  });
});
