/** BullMQ on Redis, as its documentation sets it up for production. */
import { type JobsOptions, Queue, Worker } from "bullmq";
import { redisMissing, serveRedis } from "../servers/redis.ts";
import type { Peer, PeerClient, PeerSettings, Working, WorkOptions } from "./peer.ts";

const QUEUE = "bench";
const KEEP: JobsOptions = {
  removeOnComplete: true,
  removeOnFail: 1_000,
  attempts: 3,
  backoff: { type: "exponential", delay: 100 },
};
type Data = { readonly body: string };

export const bullmq: Peer = {
  name: "bullmq",
  summary: "BullMQ 6.7: addBulk of 1,000, one worker",
  docs: [
    "https://docs.bullmq.io/guide/going-to-production",
    "https://docs.bullmq.io/guide/workers/concurrency",
    "https://docs.bullmq.io/guide/queues/adding-bulks",
  ],
  worth: {
    enqueue: "one script, in the append-only file",
    lease: "one script together with the completion before it; a time-limited key, no fencing token",
    complete: "one script, confirmed; the item is deleted",
  },
  drive: { batch: 1_000, inFlight: 2, concurrency: 100 },
  abilities: { delay: true, beat: true, recovery: true, queue: true },
  missing: redisMissing,
  serve: serveRedis,
  connect: async (url, _durability, settings) => {
    const { hostname, port } = new URL(url);
    const connection = { host: hostname, port: Number(port), maxRetriesPerRequest: null };
    const queue = new Queue<Data>(QUEUE, { connection, defaultJobOptions: KEEP });
    queue.on("error", () => {}); // calls throw for themselves
    await queue.waitUntilReady();
    const client: PeerClient = {
      enqueue: async (bodies) => {
        const [only = ""] = bodies;
        if (bodies.length === 1) await queue.add("item", { body: only });
        else await queue.addBulk(bodies.map((body) => ({ name: "item", data: { body } })));
      },
      enqueueDelayed: async (bodies, delaysMs) => {
        const items = bodies.map((body, index) => ({
          name: "item",
          data: { body },
          opts: { delay: delaysMs[index] ?? 0 },
        }));
        await queue.addBulk(items);
      },
      work: (options) => work(connection, settings, options),
      close: () => queue.close(),
    };
    return client;
  },
};

async function work(
  connection: { host: string; port: number; maxRetriesPerRequest: null },
  { leaseMs, beatMs }: PeerSettings,
  { concurrency, handler, settled, failed }: WorkOptions,
): Promise<Working> {
  const worker = new Worker<Data>(QUEUE, async ({ data }) => handler(data.body), {
    connection,
    concurrency,
    ...(leaseMs === undefined ? {} : { lockDuration: leaseMs, stalledInterval: leaseMs / 2 }),
    ...(beatMs === undefined ? {} : { lockRenewTime: beatMs }),
  });
  worker.on("completed", ({ data }) => settled(data.body));
  worker.on("failed", (_item, error) => failed(error));
  worker.on("error", failed);
  await worker.waitUntilReady();
  return { stop: () => worker.close() };
}
