/** Everything that runs in a run of the matrix: three NATS servers, three dispatchers, a replicator, clients and workers, and the proxies between them. */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { NatsConnection } from "@nats-io/transport-node";
import { startNatsCluster, waitForMetaLeader } from "../../infra/nats-server/cluster.ts";
import type { NatsServer } from "../../infra/nats-server/embedded.ts";
import { connectNats } from "../../services/jetstream/connect.ts";
import { killAtEnd } from "../at-end.ts";
import { pause } from "../drill.ts";
import { StreamGroup } from "../stream-group.ts";
import { DrillProcess } from "./drill-process.ts";
import { type SinkPlaces, sinksFlag } from "./drill-sinks.ts";
import type { Feature } from "./features.ts";
import { Leadership } from "./leadership.ts";
import { Links } from "./links.ts";
import { type PlantName, plantFlags } from "./plant.ts";
import { LEASE_MS, WORKLOAD_READY, type WorkloadSettings } from "./workload.ts";

export interface MeshOptions {
  /** Name of the run. */
  readonly run: string;
  /** Of the run's evidence: histories, and what the processes wrote. Exists. */
  readonly folder: string;
  /** Of the data of servers and dispatchers. Exists. */
  readonly dataFolder: string;
  readonly seed: number;
  /** Of the queue, that clients and workers use. */
  readonly features: readonly Feature[];
  /** The nats-server that is run. */
  readonly binary: string;
  /** A bug that every dispatcher carries. */
  readonly plant?: PlantName | undefined;
}

export interface Mesh {
  readonly servers: readonly NatsServer[];
  readonly stream: StreamGroup;
  readonly links: Links;
  /** By peer id. */
  readonly dispatchers: ReadonlyMap<string, DrillProcess>;
  /** By name; not started yet. */
  readonly clients: ReadonlyMap<string, DrillProcess>;
  readonly workers: ReadonlyMap<string, DrillProcess>;
  readonly replicator: DrillProcess;
  /** Where its sinks are. */
  readonly sinks: SinkPlaces;
  /** A way to the servers that no fault strikes. */
  readonly connection: NatsConnection;
  readonly leadership: Leadership;
  /** Processes that ended although nobody had ended them. */
  readonly unordered: readonly string[];
  /** Ends everything, at once. */
  close(): Promise<void>;
}

export const REGION = "local";
export const SHARD = "default";
export const SERVER_COUNT = 3;
export const DISPATCHERS = ["d1", "d2", "d3"];
const CLIENTS = ["c1", "c2"] as const;
const WORKERS = ["w1", "w2"] as const;
const REPLICATOR = "r1";
const DISPATCHER_SCRIPT = join(import.meta.dirname, "../../services/dispatcher/main.ts");
const REPLICATOR_SCRIPT = join(import.meta.dirname, "../../services/replicator/main.ts");
const CLIENT_SCRIPT = fileURLToPath(import.meta.resolve("./client-process.ts"));
const WORKER_SCRIPT = fileURLToPath(import.meta.resolve("./worker-process.ts"));
/** How long the replicator may take to start. ms. */
const SERVES_MS = 60_000;
/** Nothing dies of its attempts that does not ask for it, nothing stands behind a dead letter; and the whole log is kept for the checker. */
const SHARD_OPTIONS = `maxAttempts=1000,onDeadLetter=continue,logTrim=off,leaseDurationMsDefault=${LEASE_MS}`;
/** Often, so that who is started again begins with a snapshot. */
const SNAPSHOTS = ["--snapshot-events", "500", "--snapshot-ms", "3000"];
/** nats-server allows no shorter one; it ends as soon as its clients have left. */
const LAME_DUCK = 'lame_duck_duration: "30s"\nlame_duck_grace_period: "1s"';

/** Starts servers and dispatchers and returns when all serve. Nothing is left running when it throws. */
export async function startMesh(options: MeshOptions): Promise<Mesh> {
  const closers: (() => Promise<unknown>)[] = [];
  const close = async (): Promise<void> => {
    for (const closer of closers.splice(0).reverse()) await closer();
  };
  try {
    const links = new Links();
    closers.push(() => links.close());
    const servers = await startServers(options, links);
    for (const server of servers) killAtEnd(() => (server.running ? server.pid : 0));
    closers.push(() => Promise.all(servers.map((server) => server.kill())));
    await waitForMetaLeader(servers);
    const urls = servers.map(({ url }) => url);
    const watches = await Promise.all(urls.map((url) => connectNats({ servers: url, name: "drill watch" })));
    const connection = await connectNats({ servers: urls, name: "drill" });
    closers.push(() => Promise.all([...watches, connection].map((each) => each.close())));
    const leadership = new Leadership(watches, SHARD);
    const unordered: string[] = [];
    const processes = await describeProcesses(options, links, servers, (what) => unordered.push(what));
    const { dispatchers, clients, workers, replicator } = processes;
    const all = [...dispatchers.values(), ...clients.values(), ...workers.values(), replicator];
    closers.push(() => Promise.all(all.map((process) => process.close())));
    const stream = new StreamGroup(servers, REGION, SHARD);
    const [first, ...others] = dispatchers.values();
    await first?.start();
    await Promise.all(others.map((dispatcher) => dispatcher.start()));
    await stream.whole();
    const served = await Promise.race([replicator.start().then(() => true), pause(SERVES_MS)]);
    if (served === undefined) throw new Error(`the replicator did not serve within ${SERVES_MS} ms: see its log`);
    const sinks = { folder: sinksFolder(options), connection, region: REGION, shard: SHARD };
    return { servers, stream, links, ...processes, sinks, connection, leadership, unordered, close };
  } catch (error) {
    await close();
    throw error;
  }
}

function startServers({ binary, dataFolder }: MeshOptions, links: Links): Promise<readonly NatsServer[]> {
  return startNatsCluster({
    size: SERVER_COUNT,
    folder: join(dataFolder, "nats"),
    binary,
    extraConfig: LAME_DUCK,
    routeVia: (from, to, port) => links.route(from, to, port),
  });
}

const sinksFolder = ({ dataFolder }: MeshOptions): string => join(dataFolder, "sinks");

/** The processes of a run, none of them started. */
async function describeProcesses(
  options: MeshOptions,
  links: Links,
  servers: readonly NatsServer[],
  onUnordered: (what: string) => void,
): Promise<Pick<Mesh, "dispatchers" | "clients" | "workers" | "replicator">> {
  const { run, folder, dataFolder, seed, plant, features } = options;
  const logFile = (name: string): string => join(folder, `${name}.log`);
  const make = async (
    names: readonly string[],
    describe: (name: string, natsUrls: readonly string[]) => DrillProcess,
  ) =>
    new Map(
      await Promise.all(names.map(async (name) => [name, describe(name, await links.urlsFor(name, servers))] as const)),
    );
  const dispatchers = await make(DISPATCHERS, (name, natsUrls) => {
    const own = ["--nats-url", natsUrls.join(","), "--peer-id", name, "--data-dir", join(dataFolder, name)];
    const shard = ["--replicas", String(SERVER_COUNT), "--shard-options", SHARD_OPTIONS, ...SNAPSHOTS];
    return new DrillProcess({
      ...{ name, script: DISPATCHER_SCRIPT, logFile: logFile(name), readyText: '"msg":"ready"', onUnordered },
      // A free port for the inspector, which a fault may wake by SIGUSR1.
      nodeFlags: ["--inspect-port=0", ...(plant === undefined ? [] : plantFlags(plant))],
      argsOf: () => [...own, ...shard],
    });
  });
  const workload = (script: string) => (principal: string, natsUrls: readonly string[]) =>
    new DrillProcess({
      ...{ name: principal, script, logFile: logFile(principal), readyText: WORKLOAD_READY, onUnordered },
      argsOf: (life) => {
        const name = `${principal}-${life}`;
        const own = { name, principal, natsUrls, seed: seedOf(seed, name), features };
        return [JSON.stringify({ run, folder, shard: SHARD, ...own } satisfies WorkloadSettings)];
      },
    });
  const clients = await make(CLIENTS, workload(CLIENT_SCRIPT));
  const workers = await make(WORKERS, workload(WORKER_SCRIPT));
  const replicator = describeReplicator(options, await links.urlsFor(REPLICATOR, servers), onUnordered);
  return { dispatchers, clients, workers, replicator };
}

function describeReplicator(
  options: MeshOptions,
  natsUrls: readonly string[],
  onUnordered: (what: string) => void,
): DrillProcess {
  const name = REPLICATOR;
  const own = ["--nats-url", natsUrls.join(","), "--peer-id", name, "--data-dir", join(options.dataFolder, name)];
  const sinks = ["--replicas", String(SERVER_COUNT), "--sinks", sinksFlag(sinksFolder(options))];
  const logFile = join(options.folder, `${name}.log`);
  return new DrillProcess({
    ...{ name, script: REPLICATOR_SCRIPT, logFile, readyText: '"msg":"ready"', onUnordered },
    argsOf: () => [...own, ...sinks],
  });
}

/** Another seed for each process and life, so that no two do the same. */
function seedOf(seed: number, name: string): number {
  let mixed = seed;
  for (const character of name) mixed = (Math.imul(mixed, 31) + character.charCodeAt(0)) >>> 0;
  return mixed;
}
