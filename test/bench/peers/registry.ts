/** All rows of the benchmarks: each system in each way that it can be used, and OmniRelay in several sizes. */
import { bullmq } from "./bullmq.ts";
import { graphileBatched, graphileDefault } from "./graphile-worker.ts";
import { jetstreamConfirmed, jetstreamQueue } from "./jetstream.ts";
import { natsRequest } from "./nats-request.ts";
import { type MeshRow, omnirelay } from "./omnirelay.ts";
import type { Drive, Peer } from "./peer.ts";
import { pgBoss } from "./pg-boss.ts";

const BATCHED: Drive = { batch: 100, inFlight: 16, concurrency: 1_600 };
const SINGLE: Drive = { batch: 1, inFlight: 512, concurrency: 512 };
const RAW: Drive = { batch: 1, inFlight: 256, concurrency: 256 };

const MESH_ROWS: readonly MeshRow[] = [
  { name: "omnirelay-batch", summary: "OmniRelay's SDK: 100 items per call", mode: "batch", drive: BATCHED },
  { name: "omnirelay-single", summary: "OmniRelay's SDK: single calls by 512 callers", mode: "single", drive: SINGLE },
  { name: "omnirelay-raw", summary: "OmniRelay by raw requests of one item, 256 at once", mode: "raw", drive: RAW },
  {
    ...{ name: "omnirelay-8-shards", summary: "OmniRelay: 8 shards in 1 dispatcher, 100 items per call", mode: "batch" },
    ...{ drive: BATCHED, shardCount: 8, only: ["S5"] },
  },
  {
    ...{ name: "omnirelay-8-shards-2", summary: "OmniRelay: 8 shards in 2 dispatchers, 100 items per call" },
    ...{ mode: "batch", drive: BATCHED, shardCount: 8, dispatcherCount: 2, only: ["S5"] },
  },
  {
    ...{ name: "omnirelay-trimmed", summary: "OmniRelay with a log that is trimmed at each snapshot", mode: "batch" },
    ...{ drive: BATCHED, only: ["S13"], shardOptions: "logKeepEvents=0,logKeepMs=0,recordsMax=100000" },
  },
];

export const PEERS: readonly Peer[] = [
  ...MESH_ROWS.map(omnirelay),
  bullmq,
  pgBoss,
  graphileDefault,
  graphileBatched,
  jetstreamQueue,
  jetstreamConfirmed,
  natsRequest,
];

/** What `--compare` measures beside the rows of this checkout: the same rows of another one. */
export const BASE_SUFFIX = "-base";

/** The row of that name; `-base` at its end means the row of the other checkout. Undefined: there is none. */
export function peerNamed(name: string, base?: string): Peer | undefined {
  if (base === undefined || !name.endsWith(BASE_SUFFIX)) return PEERS.find((peer) => peer.name === name);
  const row = MESH_ROWS.find((one) => `${one.name}${BASE_SUFFIX}` === name);
  return row === undefined ? undefined : omnirelay({ ...row, name, checkout: base });
}
