/** What the SDK promises about drains: lost answers have no second effect, large exports go in runs, and workers go on behind a drain. */
import { describe, expect, test } from "vitest";
import type { DrainItem } from "../../contracts/commands.ts";
import { REQUEST_BYTES_MAX } from "../../contracts/limits.ts";
import { type LeaseClient, unwrap } from "../../services/client/mod.ts";
import { suiteServer } from "../support/suite-nats.ts";
import { eventually, item, startWorker, worldOf } from "./client-world.ts";

const world = worldOf(suiteServer());

const source = { drainId: "d", origin: { logId: "elsewhere", region: "local", shard: "other" } };

async function exported(client: LeaseClient, drainId: string): Promise<DrainItem[]> {
  const items: DrainItem[] = [];
  for await (const each of client.drained(drainId)) items.push(each);
  return items;
}

const seed = async (client: LeaseClient, count: number, more: object = {}): Promise<string[]> =>
  (await client.enqueueMany(Array.from({ length: count }, (_, at) => item(`r${at}`, more)))).map(
    (result) => unwrap(result).itemId,
  );

describe("a lost answer", () => {
  test("makes of a drain, a discard and a restore nothing more", async ({ onTestFinished }) => {
    const { client, shard } = await world(onTestFinished, { client: { attemptTimeoutMs: 50 } });
    await seed(client, 2);
    const lost = new Set<string>();
    shard.judge = ({ verb }) => {
      if (!["drain", "discard", "restore", "evict"].includes(verb) || lost.has(verb)) return "serve";
      lost.add(verb);
      return "silent";
    };
    expect(await client.drain("d")).toMatchObject({ marked: 2, duplicate: true });
    const items = await exported(client, "d");
    expect(await client.discard("d")).toEqual({ discarded: 0, duplicate: true });
    const results = (await client.restoreItems(source, items)).map(unwrap);
    expect(results.map(({ duplicate }) => duplicate)).toEqual([true, true]);
    await client.lease({ maxItems: 2 });
    expect(await client.evict("alice")).toEqual({ evicted: 0 });
    expect(await client.stats()).toMatchObject({ pending: 2, active: 0, removed: 2 });
  });
});

describe("exported items", () => {
  test("come page by page and go run by run, in order, whatever a frame has room for", async ({ onTestFinished }) => {
    const { client, shard } = await world(onTestFinished);
    const ids = await seed(client, 30, { body: "x".repeat(50_000), exclusivity: "partition", partitionKey: "p" });
    await client.drain("d");
    const items = await exported(client, "d");
    expect(items.map(({ itemId }) => itemId)).toEqual(ids);
    expect(shard.of("list").length).toBeGreaterThan(1);
    await client.discard("d");
    const made = (await client.restoreItems(source, items)).map(unwrap);
    for (const { text } of shard.of("restore")) expect(text.length).toBeLessThanOrEqual(REQUEST_BYTES_MAX);
    for (const { itemId } of made) {
      const [lease] = (await client.lease()).leases;
      expect(lease?.itemId).toBe(itemId);
      if (lease !== undefined) await client.complete(lease);
    }
  });

  test("that do not fit are refused one by one", async ({ onTestFinished }) => {
    const { client } = await world(onTestFinished);
    await seed(client, 1, { uniqueKey: "u" });
    await client.drain("d");
    const [first] = await exported(client, "d");
    const other = { ...(first as DrainItem), itemId: "other", item: { resourceType: "t", resourceId: "r" } };
    expect(await client.restoreItems(source, [first as DrainItem, other])).toMatchObject([
      { kind: "refused", error: { code: "conflict" } },
      { kind: "ok", value: { duplicate: false } },
    ]);
    expect(await client.restoreItems(source, [])).toEqual([]);
    await client.restore("d");
    await expect(exported(client, "d")).rejects.toMatchObject({ code: "drain_not_found" });
    await expect(client.restore("e")).rejects.toMatchObject({ code: "drain_not_found" });
    await expect(client.drain("")).rejects.toMatchObject({ code: "invalid_argument" });
  });
});

test("a worker loses its lease to a drain, and goes on once that is restored", async ({ onTestFinished }) => {
  const { client } = await world(onTestFinished, { shard: { leaseDurationMsDefault: 300 } });
  let isHanging = true;
  const { told } = startWorker(client, onTestFinished, {
    handler: async (_lease, { signal }) => {
      if (isHanging) await new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
    },
  });
  await seed(client, 1);
  await eventually(() => told).toContain("leased r0");
  expect(await client.drain("d", { leases: "expire" })).toMatchObject({ marked: 1, active: 0 });
  await eventually(() => told).toContain("lost r0 stale_token");
  isHanging = false;
  await client.restore("d");
  await eventually(() => told).toContain("completed r0");
});
