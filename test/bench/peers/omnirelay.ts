/** OmniRelay through its own SDK, in batches and by single calls, with as many shards and dispatchers as a row asks for. */
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { LeaseClient, LeaseWorker } from "../../../services/client/mod.ts";
import { REPOSITORY } from "../bed.ts";
import { serveMesh } from "../servers/mesh.ts";
import { natsMissing } from "../servers/nats.ts";
import { openRawClient } from "./omnirelay-raw.ts";
import type { Drive, Peer, PeerClient, PeerSettings, Working, WorkOptions } from "./peer.ts";

type Sdk = typeof import("../../../services/client/mod.ts");

export interface MeshRow {
  readonly name: string;
  readonly summary: string;
  readonly mode: "batch" | "single" | "raw";
  readonly drive: Drive;
  readonly shardCount?: number;
  readonly dispatcherCount?: number;
  /** `name=value,…` for its shards. */
  readonly shardOptions?: string;
  /** Another checkout, whose dispatcher and SDK are measured. */
  readonly checkout?: string;
  readonly only?: readonly string[];
  readonly placement?: "free";
}

/** Items per lease request and per completion of the batch row. */
const BATCH = 100;
const LOOPS_MAX = 32;
/** How long a lease request waits at the leader. ms. */
const WAIT_MS = 1_000;

export function omnirelay(row: MeshRow): Peer {
  const { name, summary, mode, drive, only, placement, checkout = REPOSITORY } = row;
  const shards = Array.from({ length: row.shardCount ?? 1 }, (_, index) => `bench-${index}`);
  return {
    name,
    summary,
    docs: ["README.md", "docs/queue.md", "docs/reference.md"],
    worth: {
      enqueue: "one event in the log, its frame synced with those beside it",
      lease: "one event in the log, with a fencing token, kept through failover",
      complete: "one event in the log, confirmed; a repeat is recognised",
    },
    drive,
    ...(only === undefined ? {} : { only }),
    ...(placement === undefined ? {} : { placement }),
    ...(mode === "single" ? { ahead: 1_000 } : {}), // at most; as many as its handlers end while an item is fetched
    abilities: { delay: mode !== "raw", beat: mode === "single", recovery: true, queue: true },
    missing: natsMissing,
    serve: (bed) =>
      serveMesh(bed, {
        shards,
        checkout,
        dispatcherCount: row.dispatcherCount ?? 1,
        shardOptions: row.shardOptions ?? "pendingHigh=10000000",
      }),
    connect: async (url, _durability, settings) => {
      if (mode === "raw") return openRawClient(url, shards, settings);
      const sdk: Sdk = await import(pathToFileURL(join(checkout, "services/client/mod.ts")).href);
      const clients = await Promise.all(
        shards.map((shard) =>
          sdk.LeaseClient.connect({
            ...{ servers: url, shard, principal: "bench", peerName: `p${process.pid}` },
            ...(mode === "batch" ? { entriesMax: BATCH, requestsInFlightMax: LOOPS_MAX } : {}),
          }),
        ),
      );
      return mode === "batch" ? batches(sdk, clients, settings) : singles(sdk, clients, settings);
    },
  };
}

const itemOf = (body: string) => ({ resourceType: "bench", resourceId: body.slice(0, 12), body });

/** Takes the shards in turn. */
function inTurn<One>(all: readonly One[]): () => One {
  let count = 0;
  return () => {
    count += 1;
    return all[count % all.length] as One;
  };
}

function base({ unwrap }: Sdk, clients: readonly LeaseClient[]): Omit<PeerClient, "work"> {
  const next = inTurn(clients);
  return {
    enqueue: async (bodies) => {
      const [only = ""] = bodies;
      if (bodies.length === 1) await next().enqueue(itemOf(only));
      else for (const result of await next().enqueueMany(bodies.map(itemOf))) unwrap(result);
    },
    enqueueDelayed: async (bodies, delaysMs) => {
      const items = bodies.map((body, index) => ({ ...itemOf(body), delayMs: delaysMs[index] ?? 0 }));
      for (const result of await next().enqueueMany(items)) unwrap(result);
    },
    close: async () => {
      await Promise.all(clients.map((client) => client.close()));
    },
  };
}

/** Leases, runs and completes up to 100 items at a time, with as many requests at once as the handlers allow. */
function batches(sdk: Sdk, clients: readonly LeaseClient[], { leaseMs }: PeerSettings): PeerClient {
  const work = async ({ concurrency, isApart = false, handler, settled, failed }: WorkOptions): Promise<Working> => {
    const share = Math.ceil(concurrency / clients.length);
    const few = share === 1 ? 1 : Math.max(2, Math.min(LOOPS_MAX, Math.ceil(share / BATCH)));
    const loops = isApart ? share : few;
    const maxItems = Math.ceil(share / loops);
    const abort = new AbortController();
    const { signal } = abort;
    const turn = async (client: LeaseClient): Promise<void> => {
      const { leases } = await client.lease({ maxItems, waitMs: WAIT_MS, leaseDurationMs: leaseMs, signal });
      if (leases.length === 0) return;
      const running = leases.map(({ item }) => handler(item.body)).filter((one) => one !== undefined);
      if (running.length > 0) await Promise.all(running);
      const results = await client.completeMany(leases);
      for (const [index, result] of results.entries()) {
        if (result.kind === "ok") settled(leases[index]?.item.body ?? "");
        else failed(new Error(result.error.code));
      }
    };
    const loop = async (client: LeaseClient): Promise<void> => {
      while (!signal.aborted)
        await turn(client).catch((error: unknown) => {
          if (!signal.aborted) failed(error as Error);
        });
    };
    const all = clients.flatMap((client) => Array.from({ length: loops }, () => loop(client)));
    return {
      stop: async () => {
        abort.abort();
        await Promise.all(all);
      },
    };
  };
  return { ...base(sdk, clients), work };
}

/** The SDK's worker, which gathers what its handlers ask for by itself. */
function singles(sdk: Sdk, clients: readonly LeaseClient[], { leaseMs, beatMs }: PeerSettings): PeerClient {
  const work = async ({ concurrency, handler, settled, failed }: WorkOptions): Promise<Working> => {
    const share = Math.ceil(concurrency / clients.length);
    const workers = clients.map((client): LeaseWorker => {
      const worker = new sdk.LeaseWorker(client, {
        concurrency: share,
        prefetch: "auto",
        // It beats at a third of the length.
        leaseDurationMs: leaseMs ?? (beatMs === undefined ? undefined : beatMs * 3),
        waitMs: WAIT_MS,
        handler: async ({ item }) => handler(item.body) ?? undefined,
        onError: ({ error }) => failed(error),
      });
      worker.on("completed", ({ lease }) => settled(lease.item.body));
      worker.on("lost", ({ reason }) => failed(new Error(reason)));
      worker.start();
      return worker;
    });
    return {
      stop: async () => {
        await Promise.all(workers.map((worker) => worker.stop()));
      },
    };
  };
  return { ...base(sdk, clients), work };
}
