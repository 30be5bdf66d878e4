/** What a profile drives: the whole life of items in batches and by single calls of an SDK, and by raw requests. Each gives items per second. */
import { rpcSubject, type Verb } from "../../../contracts/subjects.ts";
import type * as sdk from "../../../services/client/mod.ts";
import { RawRequester } from "../peers/omnirelay-raw.ts";
import type { Scenario } from "./options.ts";

const BATCH = 100;
const BATCHES_IN_FLIGHT = 16;
const CALLERS = 512;
const REQUESTS_IN_FLIGHT = 256;
const PRINCIPAL = "bench";

/** 250-byte items. */
const itemOf = (index: number) => ({
  resourceType: "table",
  resourceId: `db.orders.${index}`,
  body: JSON.stringify({ table: `db.orders.${index}`, partition: "p1", rows: "x".repeat(180) }),
});

interface Target {
  readonly url: string;
  readonly shard: string;
  readonly items: number;
}
type Sdk = Pick<typeof sdk, "LeaseClient" | "LeaseWorker" | "unwrap">;

/** The drives with the SDK of a checkout. Each throws when an item is lost. */
export const drivesOf = (sdk: Sdk): Readonly<Record<Scenario, (target: Target) => Promise<number>>> => ({
  batches: (target) => measured(target, (lives) => runBatches(sdk, target, lives)),
  singles: (target) => measured(target, (lives) => runSingles(sdk, target, lives)),
  requests: (target) => measured(target, (lives) => runRequests(target, lives)),
});

/** Ids of what was enqueued and of what was completed. */
class Lives {
  readonly enqueued = new Set<string>();
  readonly completed = new Set<string>();
  #next = 0;

  /** Numbers of the next items, `count` at most. */
  take(items: number, count: number): readonly number[] {
    const from = this.#next;
    this.#next = Math.min(items, from + count);
    return Array.from({ length: this.#next - from }, (_, index) => from + index);
  }
}

async function measured({ items }: Target, run: (lives: Lives) => Promise<void>): Promise<number> {
  const lives = new Lives();
  const startMs = performance.now();
  await run(lives);
  const rate = (items * 1_000) / (performance.now() - startMs);
  const { enqueued, completed } = lives;
  const missing = [...enqueued].filter((itemId) => !completed.has(itemId)).length;
  if (enqueued.size !== items || completed.size !== items || missing > 0)
    throw new Error(
      `the run is not valid: ${enqueued.size} of ${items} enqueued, ${completed.size} completed, ${missing} missing`,
    );
  return rate;
}

async function runBatches({ LeaseClient, unwrap }: Sdk, { url, shard, items }: Target, lives: Lives): Promise<void> {
  const limits = { entriesMax: BATCH, requestsInFlightMax: BATCHES_IN_FLIGHT };
  const client = await LeaseClient.connect({ servers: url, shard, principal: PRINCIPAL, ...limits });
  await together(BATCHES_IN_FLIGHT, async () => {
    for (let batch = lives.take(items, BATCH); batch.length > 0; batch = lives.take(items, BATCH))
      for (const result of await client.enqueueMany(batch.map(itemOf))) lives.enqueued.add(unwrap(result).itemId);
  });
  await together(BATCHES_IN_FLIGHT, async () => {
    for (;;) {
      const { leases } = await client.lease({ maxItems: BATCH });
      if (leases.length === 0) return;
      for (const result of await client.completeMany(leases)) unwrap(result);
      for (const { itemId } of leases) lives.completed.add(itemId);
    }
  });
  await client.close();
}

async function runSingles(
  { LeaseClient, LeaseWorker }: Sdk,
  { url, shard, items }: Target,
  lives: Lives,
): Promise<void> {
  const client = await LeaseClient.connect({ servers: url, shard, principal: PRINCIPAL });
  await together(CALLERS, async () => {
    for (let [index] = lives.take(items, 1); index !== undefined; [index] = lives.take(items, 1))
      lives.enqueued.add((await client.enqueue(itemOf(index))).itemId);
  });
  const worker = new LeaseWorker(client, { handler: async () => undefined, concurrency: CALLERS, prefetch: CALLERS });
  const done = new Promise<void>((resolve) => {
    worker.on("completed", ({ lease }) => {
      lives.completed.add(lease.itemId);
      if (lives.completed.size === items) resolve();
    });
  });
  worker.start();
  await done;
  await worker.stop();
  await client.close();
}

interface Reply {
  readonly leases?: readonly { readonly itemId: string; readonly token: number }[];
  readonly results?: readonly { readonly itemId?: string }[];
}
const decoder = new TextDecoder();

async function runRequests({ url, shard, items }: Target, lives: Lives): Promise<void> {
  const requester = await RawRequester.open(url);
  const ask = async (verb: Verb, body: object): Promise<Reply> =>
    JSON.parse(decoder.decode(await requester.request(rpcSubject(shard, verb, PRINCIPAL), JSON.stringify(body))));
  await together(REQUESTS_IN_FLIGHT, async () => {
    for (let [index] = lives.take(items, 1); index !== undefined; [index] = lives.take(items, 1)) {
      const { results } = await ask("enqueue", { items: [itemOf(index)] });
      lives.enqueued.add(results?.[0]?.itemId ?? "");
    }
  });
  await together(REQUESTS_IN_FLIGHT, async () => {
    for (;;) {
      const [lease] = (await ask("lease", { maxItems: 1 })).leases ?? [];
      if (lease === undefined) return;
      await ask("complete", { leases: [{ itemId: lease.itemId, token: lease.token }] });
      lives.completed.add(lease.itemId);
    }
  });
  await requester.close();
}

const together = (count: number, loop: () => Promise<void>): Promise<unknown> =>
  Promise.all(Array.from({ length: count }, loop));
