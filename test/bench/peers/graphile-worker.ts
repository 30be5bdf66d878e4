/** The peer graphile-worker on PostgreSQL: as it ships, and with its local queue and batched completions. */
import { Logger, makeWorkerUtils, run } from "graphile-worker";
import pg from "pg";
import { postgresMissing, servePostgres } from "../servers/postgres.ts";
import type { Peer, PeerClient, Working, WorkOptions } from "./peer.ts";

const KIND = "item";
type Data = { readonly body: string };
const silent = new Logger(() => () => {});
/** https://worker.graphile.org/docs/performance#batching */
const BATCHED = { localQueue: { size: 500 }, completeJobBatchDelay: 0, failJobBatchDelay: 0 };

export const graphileDefault: Peer = {
  ...graphile("graphile-default", "graphile-worker 0.18 as it ships: addJobs of 1,000, 24 at once", {}),
  worth: {
    enqueue: "one commit per call",
    lease: "one commit per item; expires after 4 hours, no fencing token",
    complete: "one commit per item, confirmed; the item is deleted",
  },
};

export const graphileBatched: Peer = {
  ahead: BATCHED.localQueue.size,
  ...graphile(
    "graphile-batched",
    "graphile-worker 0.18: addJobs of 1,000, local queue of 500, batched completion",
    BATCHED,
  ),
  worth: {
    enqueue: "one commit per call",
    lease: "one commit per 500 items; expires after 4 hours, no fencing token",
    complete: "one commit per batch, after the handler: a crash runs the batch again 4 hours later",
  },
};

function graphile(name: string, summary: string, settings: object): Omit<Peer, "worth"> {
  return {
    name,
    summary,
    docs: ["https://worker.graphile.org/docs/performance", "https://worker.graphile.org/docs/library/run"],
    drive: { batch: 1_000, inFlight: 4, concurrency: 24 },
    abilities: { delay: true, beat: false, recovery: false, queue: true },
    missing: postgresMissing,
    serve: servePostgres,
    connect: async (url) => {
      const pgPool = new pg.Pool({ connectionString: url, max: 20 });
      withHandlers(pgPool, () => {}); // a connection was lost: calls throw for themselves
      const maker = await makeWorkerUtils({ pgPool, logger: silent });
      await maker.migrate();
      const specOf = (body: string) => ({ identifier: KIND, payload: { body }, maxAttempts: 3 });
      const client: PeerClient = {
        enqueue: async (bodies) => {
          const [only = ""] = bodies;
          if (bodies.length === 1) await maker.addJob(KIND, { body: only }, { maxAttempts: 3 });
          else await maker.addJobs(bodies.map(specOf));
        },
        enqueueDelayed: async (bodies, delaysMs) => {
          const nowMs = Date.now();
          await maker.addJobs(
            bodies.map((body, index) => ({ ...specOf(body), runAt: new Date(nowMs + (delaysMs[index] ?? 0)) })),
          );
        },
        work: (options) => work(url, settings, options),
        close: async () => {
          await maker.release();
          await pgPool.end();
        },
      };
      return client;
    },
  };
}

/** A lost connection is an event of the pool or of the connection, and without a handler the end of the process. */
function withHandlers(pool: pg.Pool, failed: (error: Error) => void): void {
  pool.on("error", failed);
  pool.on("connect", (connection) => connection.on("error", failed));
}

async function work(url: string, settings: object, options: WorkOptions): Promise<Working> {
  const { concurrency, handler, settled, failed } = options;
  const pgPool = new pg.Pool({ connectionString: url, max: concurrency + 1 });
  withHandlers(pgPool, failed);
  const runner = await run({
    pgPool,
    logger: silent,
    noHandleSignals: true,
    preset: { worker: { concurrentJobs: concurrency, maxPoolSize: concurrency + 1, logger: silent, ...settings } },
    taskList: { [KIND]: async (payload) => handler((payload as Data).body) },
  });
  // It says nothing when the end has been written: this comes when it is told to write it.
  runner.events.on("job:complete", ({ job, error }) => {
    if (error === undefined || error === null) settled((job.payload as Data).body);
    else failed(error as Error);
  });
  runner.promise.catch(failed);
  return {
    stop: async () => {
      await runner.stop();
      await pgPool.end();
    },
  };
}
