/** All rows of the benchmarks: each system in each way that it can be used, and OmniRelay in several sizes. */
import { type MeshRow, omnirelay } from "./omnirelay.ts";
import type { Drive, Peer } from "./peer.ts";

const BATCHED: Drive = { batch: 100, inFlight: 32, concurrency: 3_200 };
/** What is fastest where the servers have every processor, with one shard and with eight. */
const BATCHED_FREE: Drive = { batch: 100, inFlight: 64, concurrency: 6_400 };
const SHARDED_FREE: Drive = { batch: 100, inFlight: 512, concurrency: 51_200 };
const SINGLE: Drive = { batch: 1, inFlight: 512, concurrency: 512 };
const RAW: Drive = { batch: 1, inFlight: 256, concurrency: 256 };

const MESH_ROWS: readonly MeshRow[] = [
  { name: "omnirelay-batch", summary: "OmniRelay's SDK: 100 items per call", mode: "batch", drive: BATCHED },
  { name: "omnirelay-single", summary: "OmniRelay's SDK: single calls by 512 callers", mode: "single", drive: SINGLE },
  { name: "omnirelay-raw", summary: "OmniRelay by raw requests of one item, 256 at once", mode: "raw", drive: RAW },
  {
    ...{
      name: "omnirelay-8-shards",
      summary: "OmniRelay: 8 shards in 1 dispatcher, 100 items per call",
      mode: "batch",
    },
    ...{ drive: BATCHED, shardCount: 8, only: ["S5"] },
  },
  {
    ...{ name: "omnirelay-8-shards-2", summary: "OmniRelay: 8 shards in 2 dispatchers, 100 items per call" },
    ...{ mode: "batch", drive: BATCHED, shardCount: 8, dispatcherCount: 2, only: ["S5"] },
  },
  // Two dispatchers have a processor each only where none is kept for the servers: these two rows are measured beside each other.
  {
    ...{ name: "omnirelay-batch-free", summary: "OmniRelay's SDK: 100 items per call, unpinned", mode: "batch" },
    ...{ drive: BATCHED_FREE, placement: "free", only: ["S5"] },
  },
  {
    ...{ name: "omnirelay-8-shards-2-free", mode: "batch", drive: SHARDED_FREE, placement: "free", only: ["S5"] },
    summary: "OmniRelay: 8 shards in 2 dispatchers, 100 items per call, unpinned",
    ...{ shardCount: 8, dispatcherCount: 2 },
  },
  {
    ...{ name: "omnirelay-trimmed", summary: "OmniRelay with a log that is trimmed at each snapshot", mode: "batch" },
    ...{ drive: BATCHED, only: ["S13"], shardOptions: "logKeepEvents=0,logKeepMs=0,recordsMax=100000" },
  },
];

/** Loaded when asked for: a client process needs one of them, and each brings a library of its own. */
const FOREIGN: Readonly<Record<string, () => Promise<Peer>>> = {
  bullmq: async () => (await import("./bullmq.ts")).bullmq,
  "pg-boss": async () => (await import("./pg-boss.ts")).pgBoss,
  "graphile-default": async () => (await import("./graphile-worker.ts")).graphileDefault,
  "graphile-batched": async () => (await import("./graphile-worker.ts")).graphileBatched,
  jetstream: async () => (await import("./jetstream.ts")).jetstreamQueue,
  "jetstream-confirmed": async () => (await import("./jetstream.ts")).jetstreamConfirmed,
  "nats-frames": async () => (await import("./nats-frames.ts")).natsFrames,
  "nats-request": async () => (await import("./nats-request.ts")).natsRequest,
};

export const PEER_NAMES: readonly string[] = [...MESH_ROWS.map(({ name }) => name), ...Object.keys(FOREIGN)];

/** What `--compare` measures beside the rows of this checkout: the same rows of another one. */
const BASE_SUFFIX = "-base";
/** The row of the other checkout that belongs to a row of this one; undefined for the row of another system. */
export const baseNameOf = (name: string): string | undefined =>
  MESH_ROWS.some((row) => row.name === name) ? `${name}${BASE_SUFFIX}` : undefined;

/** The row of that name; that of the checkout `base` when the name ends in `-base`. Undefined: there is none. */
export async function peerNamed(name: string, base?: string): Promise<Peer | undefined> {
  if (base !== undefined && name.endsWith(BASE_SUFFIX)) {
    const row = MESH_ROWS.find((one) => baseNameOf(one.name) === name);
    return row === undefined ? undefined : omnirelay({ ...row, name, checkout: base });
  }
  const row = MESH_ROWS.find((one) => one.name === name);
  return row === undefined ? FOREIGN[name]?.() : omnirelay(row);
}
