/** The mesh measured through its own SDK: in batches, and by single calls that the SDK coalesces. */
import { LeaseClient, LeaseWorker, unwrap } from "../../services/client/mod.ts";
import { assertSame } from "./raw-requests.ts";

const BATCH = 100;
const BATCHES_IN_FLIGHT = 16;
const CALLERS = 512;

const itemOf = (index: number, body: (index: number) => string) => ({
  resourceType: "table",
  resourceId: `db.orders.${index}`,
  body: body(index),
});

/** Life of an item in items/s: enqueue 100, lease 100, complete 100 per request, 16 requests in flight. */
export async function runBatches(
  url: string,
  shard: string,
  items: number,
  body: (index: number) => string,
): Promise<number> {
  const client = await LeaseClient.connect({
    servers: url,
    shard,
    principal: "bench",
    entriesMax: BATCH,
    requestsInFlightMax: BATCHES_IN_FLIGHT,
  });
  const start = performance.now();
  const enqueued = new Set<string>();
  let next = 0;
  await together(BATCHES_IN_FLIGHT, async () => {
    while (next < items) {
      const from = next;
      next += BATCH;
      const batch = Array.from({ length: Math.min(BATCH, items - from) }, (_, index) => itemOf(from + index, body));
      for (const result of await client.enqueueMany(batch)) {
        enqueued.add(unwrap(result).itemId);
      }
    }
  });
  const completed = new Set<string>();
  await together(BATCHES_IN_FLIGHT, async () => {
    for (;;) {
      const { leases } = await client.lease({ maxItems: BATCH });
      if (leases.length === 0) return;
      const results = await client.completeMany(leases);
      for (const [index, result] of results.entries()) {
        unwrap(result);
        completed.add(leases[index]?.itemId ?? "");
      }
    }
  });
  const elapsedMs = performance.now() - start;
  await client.close();
  assertSame(enqueued, completed, items);
  return (items / elapsedMs) * 1_000;
}

/** Life of an item in items/s: `enqueue(item)` by 512 callers, then a worker whose handler does nothing. */
export async function runSingles(
  url: string,
  shard: string,
  items: number,
  body: (index: number) => string,
): Promise<number> {
  const client = await LeaseClient.connect({ servers: url, shard, principal: "bench" });
  const start = performance.now();
  const enqueued = new Set<string>();
  let next = 0;
  await together(CALLERS, async () => {
    while (next < items) {
      const index = next;
      next += 1;
      enqueued.add((await client.enqueue(itemOf(index, body))).itemId);
    }
  });
  const completed = new Set<string>();
  const worker = new LeaseWorker(client, { handler: async () => undefined, concurrency: CALLERS, prefetch: CALLERS });
  const done = new Promise<void>((resolve) => {
    worker.on("completed", ({ lease }) => {
      completed.add(lease.itemId);
      if (completed.size === items) resolve();
    });
  });
  worker.start();
  await done;
  const elapsedMs = performance.now() - start;
  await worker.stop();
  await client.close();
  assertSame(enqueued, completed, items);
  return (items / elapsedMs) * 1_000;
}

const together = (count: number, loop: () => Promise<void>): Promise<unknown> =>
  Promise.all(Array.from({ length: count }, loop));
