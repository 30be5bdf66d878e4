/** The peer pg-boss on PostgreSQL. Items are fetched and completed by hand: the calls that its `work` makes, without the pauses of at least half a second between them. */
import PgBoss from "pg-boss";
import { postgresMissing, servePostgres } from "../servers/postgres.ts";
import type { Peer, PeerClient, PeerSettings, Working, WorkOptions } from "./peer.ts";

/** A queue for each time until an item expires, which belongs to the queue: clients that ask for another one share nothing. */
const queueOf = ({ leaseMs }: PeerSettings): string => (leaseMs === undefined ? "bench" : `bench-${leaseMs}`);
/** Fetches at once, and most items in one of them. */
const LOOPS_MAX = 4;
const BATCH_MAX = 500;
/** Rest after an empty fetch, far below what `work` allows: this version has no notification. ms. */
const REST_MS = 20;
type Data = { readonly body: string };

export const pgBoss: Peer = {
  name: "pg-boss",
  summary: "pg-boss 11: insert of 1,000, fetch and complete of up to 500 in four loops",
  docs: [
    "https://github.com/timgit/pg-boss/blob/11.1.1/docs/api/jobs.md",
    "https://github.com/timgit/pg-boss/blob/11.1.1/docs/api/constructor.md",
  ],
  worth: {
    enqueue: "one commit per call",
    lease: "one commit per fetch; expires after a fixed time, no fencing token",
    complete: "one commit per call, confirmed; the item is kept",
  },
  drive: { batch: 1_000, inFlight: 4, concurrency: LOOPS_MAX * BATCH_MAX },
  abilities: { delay: true, beat: false, recovery: true, queue: true },
  missing: postgresMissing,
  serve: servePostgres,
  connect: async (url, _durability, settings) => {
    const { leaseMs } = settings;
    const queue = queueOf(settings);
    const boss = new PgBoss({
      ...{ connectionString: url, max: 20 },
      ...(leaseMs === undefined ? {} : { superviseIntervalSeconds: 1, monitorIntervalSeconds: 1 }),
    });
    boss.on("error", () => {}); // calls throw for themselves
    await boss.start();
    if ((await boss.getQueue(queue)) === null)
      await boss.createQueue(queue, {
        ...{ name: queue, partition: true, retryLimit: 3, retryBackoff: true },
        ...(leaseMs === undefined ? {} : { expireInSeconds: Math.ceil(leaseMs / 1_000) }),
      });
    const client: PeerClient = {
      enqueue: async (bodies) => {
        const [only = ""] = bodies;
        if (bodies.length === 1) await boss.send(queue, { body: only });
        else
          await boss.insert(
            queue,
            bodies.map((body) => ({ name: queue, data: { body } })),
          );
      },
      enqueueDelayed: async (bodies, delaysMs) => {
        const nowMs = Date.now();
        const startAfter = (index: number): string => new Date(nowMs + (delaysMs[index] ?? 0)).toISOString();
        await boss.insert(
          queue,
          bodies.map((body, index) => ({ name: queue, data: { body }, startAfter: startAfter(index) })),
        );
      },
      work: async (options) => work(boss, queue, options),
      close: () => boss.stop({ graceful: false }),
    };
    return client;
  },
};

function work(
  boss: PgBoss,
  queue: string,
  { concurrency, isApart = false, handler, settled, failed }: WorkOptions,
): Working {
  const loops = isApart ? concurrency : Math.min(LOOPS_MAX, concurrency);
  const batchSize = Math.min(BATCH_MAX, Math.ceil(concurrency / loops));
  let isStopped = false;
  const turn = async (): Promise<void> => {
    const items = await boss.fetch<Data>(queue, { batchSize });
    if (items.length === 0) return new Promise((resolve) => setTimeout(resolve, REST_MS));
    const running = items.map(({ data }) => handler(data.body)).filter((one) => one instanceof Promise);
    if (running.length > 0) await Promise.all(running);
    const ids = items.map(({ id }) => id);
    // Its declared result is void; it does say how many were still the worker's to complete.
    const { affected } = (await boss.complete(queue, ids)) as unknown as { affected: number };
    if (affected === items.length) for (const { data } of items) settled(data.body);
    else failed(new Error(`${items.length - affected} of ${items.length} were no longer active`));
  };
  const loop = async (): Promise<void> => {
    while (!isStopped) await turn().catch((error: unknown) => failed(error as Error));
  };
  const all = Array.from({ length: loops }, loop);
  return {
    stop: async () => {
      isStopped = true;
      await Promise.all(all);
    },
  };
}
