/** Which settings each process reads, with its own defaults and the rules between them. Here and not with the processes, so that docs are made without them. */
import { z } from "zod";
import type { ProcessSettings, SettingRule } from "./config.ts";
import { NATS_URL_DEFAULT, SETTINGS } from "./settings.ts";

const common = {
  natsUrl: SETTINGS.natsUrl,
  region: SETTINGS.region,
  shards: SETTINGS.shards,
  logLevel: SETTINGS.logLevel,
  stopTimeoutMs: SETTINGS.stopTimeoutMs,
};
const dispatcher = {
  provision: SETTINGS.provision,
  replicas: SETTINGS.replicas,
  shardOptions: SETTINGS.shardOptions,
  logBytesMax: SETTINGS.logBytesMax,
  snapshotEvents: SETTINGS.snapshotEvents,
  snapshotMs: SETTINGS.snapshotMs,
  natsMonitorUrl: SETTINGS.natsMonitorUrl,
  allowUnsafeServer: SETTINGS.allowUnsafeServer,
};
const seeder = {
  items: SETTINGS.items,
  rate: SETTINGS.rate,
  batch: SETTINGS.batch,
  seed: SETTINGS.seed,
  catalogs: SETTINGS.catalogs,
  tables: SETTINGS.tables,
};
const worker = { concurrency: SETTINGS.concurrency, prefetch: SETTINGS.prefetch };
const replicator = { sinks: SETTINGS.sinks, sinkModules: SETTINGS.sinkModules };
const http = { httpHost: SETTINGS.httpHost, httpPort: SETTINGS.httpPort };
const DATA_DIR = ".omnirelay";

const DispatcherSettings = z.strictObject({
  ...common,
  peerId: SETTINGS.peerId,
  dataDir: SETTINGS.dataDir,
  ...dispatcher,
});
export const DISPATCHER_SETTINGS: ProcessSettings<typeof DispatcherSettings> = {
  process: "dispatcher",
  summary: "Leads and stands by for shards: decides requests and appends what follows to the shard's log.",
  schema: DispatcherSettings,
  defaults: { natsUrl: NATS_URL_DEFAULT, peerId: "dispatcher", dataDir: `${DATA_DIR}/dispatcher` },
};

const WorkerSettings = z.strictObject({ ...common, peerId: SETTINGS.peerId, dataDir: SETTINGS.dataDir, ...worker });
export const WORKER_SETTINGS: ProcessSettings<typeof WorkerSettings> = {
  process: "worker",
  summary: "Leases items and applies them to the catalog in its data folder, under the fence of each lease.",
  schema: WorkerSettings,
  defaults: { natsUrl: NATS_URL_DEFAULT, peerId: "worker", dataDir: DATA_DIR },
};

const SeederSettings = z.strictObject({ ...common, principal: SETTINGS.principal, ...seeder });
export const SEEDER_SETTINGS: ProcessSettings<typeof SeederSettings> = {
  process: "seeder",
  summary:
    "Enqueues synthetic mutations of lakehouse tables. Started again with the same seed it finds its items there.",
  schema: SeederSettings,
  defaults: { natsUrl: NATS_URL_DEFAULT, principal: "seeder" },
};

const ControlPlaneSettings = z.strictObject({
  ...common,
  principal: SETTINGS.principal,
  dataDir: SETTINGS.dataDir,
  replicas: SETTINGS.replicas,
  natsMonitorUrl: SETTINGS.natsMonitorUrl,
  ...http,
});
export const CONTROL_PLANE_SETTINGS: ProcessSettings<typeof ControlPlaneSettings> = {
  process: "control-plane",
  summary: "Serves health, readiness, the shards and the demo's catalogs over HTTP.",
  schema: ControlPlaneSettings,
  defaults: { natsUrl: NATS_URL_DEFAULT, principal: "control-plane", dataDir: DATA_DIR },
};

const ReplicatorSettings = z.strictObject({
  ...common,
  peerId: SETTINGS.peerId,
  dataDir: SETTINGS.dataDir,
  replicas: SETTINGS.replicas,
  ...replicator,
  httpHost: SETTINGS.httpHost,
  httpPort: SETTINGS.httpPort.unwrap().optional(),
});
export const REPLICATOR_SETTINGS: ProcessSettings<typeof ReplicatorSettings> = {
  process: "replicator",
  summary: "Brings what the shards' logs say to sinks: files, databases, object stores, streams and services.",
  schema: ReplicatorSettings,
  defaults: { natsUrl: NATS_URL_DEFAULT, peerId: "replicator", dataDir: `${DATA_DIR}/replicator` },
};

const MeshSettings = z.strictObject({
  roles: SETTINGS.roles,
  exit: SETTINGS.exit,
  json: SETTINGS.json,
  ...common,
  natsUrl: SETTINGS.natsUrl.optional(),
  peerId: SETTINGS.peerId,
  dataDir: SETTINGS.dataDir.optional(),
  syncInterval: SETTINGS.syncInterval,
  ...dispatcher,
  httpHost: SETTINGS.httpHost,
  httpPort: SETTINGS.httpPort.unwrap().optional(),
  workers: SETTINGS.workers,
  ...replicator,
  ...worker,
  ...seeder,
});
export type MeshSettings = Readonly<z.output<typeof MeshSettings>>;

const MESH_RULES: readonly SettingRule<MeshSettings>[] = [
  {
    of: ["exit", "items"],
    check: ({ exit, items }) =>
      exit && items === undefined
        ? { message: "do not go together", fix: "say with --items how many to wait for" }
        : undefined,
  },
  {
    of: ["exit", "roles"],
    check: ({ exit, roles }) =>
      exit && !(roles.includes("seeder") && roles.includes("worker"))
        ? { message: "do not go together", fix: "add the roles seeder and worker, which --exit waits for" }
        : undefined,
  },
  {
    of: ["items", "roles"],
    check: ({ items, roles, exit }) =>
      items !== undefined && !exit && !roles.includes("seeder")
        ? { message: "do not go together", fix: "add the role seeder, or leave --items out" }
        : undefined,
  },
  {
    of: ["json", "exit"],
    check: ({ json, exit }) =>
      json && !exit
        ? { message: "do not go together", fix: "add --exit: without it there is never a result to print" }
        : undefined,
  },
  {
    of: ["natsUrl", "replicas"],
    check: ({ natsUrl, replicas }) =>
      natsUrl === undefined && replicas > 1
        ? { message: "do not go together", fix: "give --nats-url of a cluster: the embedded server is one server" }
        : undefined,
  },
  {
    of: ["natsUrl", "roles"],
    check: ({ natsUrl, roles }) =>
      natsUrl === undefined && !roles.includes("dispatcher")
        ? {
            message: "do not go together",
            fix: "give --nats-url, or add the role dispatcher: an embedded server knows no other one",
          }
        : undefined,
  },
  {
    of: ["natsUrl", "syncInterval"],
    check: ({ natsUrl, syncInterval }, isWritten) =>
      natsUrl !== undefined && isWritten("syncInterval")
        ? {
            message: "do not go together",
            fix: `configure sync_interval ${syncInterval} at that server: it is not ours to set`,
          }
        : undefined,
  },
];

export const MESH_SETTINGS: ProcessSettings<typeof MeshSettings> = {
  process: "mesh",
  summary: "Runs any set of roles in one process, with a NATS server of its own where none is named.",
  schema: MeshSettings,
  defaults: { peerId: "mesh" },
  rules: MESH_RULES,
};

/** Every process, for the docs. */
export const PROCESS_SETTINGS: readonly ProcessSettings<z.ZodObject>[] = [
  DISPATCHER_SETTINGS,
  WORKER_SETTINGS,
  SEEDER_SETTINGS,
  CONTROL_PLANE_SETTINGS,
  REPLICATOR_SETTINGS,
  MESH_SETTINGS,
] as unknown as readonly ProcessSettings<z.ZodObject>[];
