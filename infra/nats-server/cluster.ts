/** Runs several real nats-servers as one JetStream cluster on this machine, each to be killed, paused and restarted on its own: for tests and drills. */
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { OperatingError } from "../../contracts/errors.ts";
import { type NatsServer, startNatsServer } from "./embedded.ts";
import { pickFreePorts } from "./free-port.ts";
import { provisionNatsServer } from "./provision.ts";

export interface NatsClusterOptions {
  readonly size: number;
  /** Each server keeps its store in a folder of its own below. */
  readonly folder: string;
  /** The folder of each member's store, when it is another one. */
  readonly storeDirOf?: (serverName: string) => string;
  /** Path of the server. Absent: `provisionNatsServer()` finds or fetches one. */
  readonly binary?: string;
  /** Text in nats-server's own format for every member. */
  readonly extraConfig?: string;
  /** Default `always`. */
  readonly syncInterval?: string;
  /** The port at which one member reaches another one's `port` for routes: that of a proxy between them. Absent: directly. */
  readonly routeVia?: (from: string, to: string, port: number) => Promise<number>;
}

const HOST = "127.0.0.1";
/** An election takes 4 to 9 s by nats-server's constants and may have to be repeated. ms. */
const META_LEADER_TIMEOUT_MS = 40_000;
const META_POLL_MS = 25;
const MONITOR_TIMEOUT_MS = 500;
/** How often a cluster is tried when another process took one of the ports that were picked for it. */
const START_ATTEMPTS_MAX = 3;

/** Starts the servers `n1`, `n2`, … with monitoring, and returns when they listen; see `waitForMetaLeader` for when streams can be made. */
export async function startNatsCluster(options: NatsClusterOptions): Promise<readonly NatsServer[]> {
  const { size, folder, extraConfig, syncInterval, routeVia } = options;
  const binary = options.binary ?? (await provisionNatsServer({ replicated: true })).path;
  for (let attempt = 1; ; attempt += 1) {
    const ports = await pickFreePorts(HOST, size * 3);
    const routePorts = ports.slice(size, size * 2);
    const starts = routePorts.map(async (routePort, index) =>
      startNatsServer({
        binary,
        serverName: nameOf(index),
        storeDir: options.storeDirOf?.(nameOf(index)) ?? join(folder, `attempt-${attempt}`, nameOf(index)),
        port: ports[index] ?? 0,
        httpPort: ports[size * 2 + index] ?? 0,
        cluster: {
          name: "omnirelay-test",
          port: routePort,
          routes: await routesOf(index, routePorts, routeVia),
          advertises: routeVia === undefined,
        },
        ...(syncInterval === undefined ? {} : { syncInterval }),
        ...(extraConfig === undefined ? {} : { extraConfig }),
      }),
    );
    const outcomes = await Promise.allSettled(starts);
    const nodes = outcomes.filter((outcome) => outcome.status === "fulfilled").map((outcome) => outcome.value);
    const failure = outcomes.find((outcome) => outcome.status === "rejected");
    if (failure === undefined) return nodes;
    await Promise.all(nodes.map((node) => node.kill()));
    if (attempt === START_ATTEMPTS_MAX || !isPortTaken(failure.reason)) throw failure.reason;
  }
}

const nameOf = (index: number): string => `n${index + 1}`;

function routesOf(
  from: number,
  ports: readonly number[],
  routeVia: NatsClusterOptions["routeVia"],
): Promise<readonly string[]> {
  return Promise.all(
    ports.map(async (port, to) => {
      const isDirect = routeVia === undefined || to === from;
      return `nats-route://${HOST}:${isDirect ? port : await routeVia(nameOf(from), nameOf(to), port)}`;
    }),
  );
}

/**
 * Waits until the given servers agree on one of them as meta leader and it sees all of them up to date: a stream with as many replicas can
 * be made then. Throws when that takes longer than `META_LEADER_TIMEOUT_MS`.
 */
export async function waitForMetaLeader(among: readonly NatsServer[]): Promise<NatsServer> {
  const deadline = performance.now() + META_LEADER_TIMEOUT_MS;
  let views: readonly (MetaView | undefined)[] = [];
  while (performance.now() < deadline) {
    views = await Promise.all(among.map(metaViewOf));
    const leader = agreedLeader(among, views);
    if (leader !== undefined) return leader;
    await delay(META_POLL_MS);
  }
  const seen = among.map((node, index) => `${node.serverName}: ${JSON.stringify(views[index] ?? "no answer")}`);
  throw new Error(`no meta leader within ${META_LEADER_TIMEOUT_MS} ms; ${seen.join("; ")}`);
}

/** The part of `/jsz` that tells who leads the meta group. */
interface MetaView {
  readonly leader?: string;
  readonly replicas?: readonly { readonly name: string; readonly current: boolean; readonly offline?: boolean }[];
}

function agreedLeader(among: readonly NatsServer[], views: readonly (MetaView | undefined)[]): NatsServer | undefined {
  const name = views[0]?.leader;
  const leader = among.find((node) => node.serverName === name);
  if (leader === undefined || !views.every((view) => view?.leader === name)) return undefined;
  const replicas = views[among.indexOf(leader)]?.replicas ?? [];
  const isUpToDate = (node: NatsServer): boolean =>
    replicas.some((replica) => replica.name === node.serverName && replica.current && replica.offline !== true);
  return among.every((node) => node === leader || isUpToDate(node)) ? leader : undefined;
}

async function metaViewOf(node: NatsServer): Promise<MetaView | undefined> {
  try {
    const response = await fetch(`${node.httpUrl}/jsz`, { signal: AbortSignal.timeout(MONITOR_TIMEOUT_MS) });
    const body = (await response.json()) as { readonly meta_cluster?: MetaView };
    return body.meta_cluster;
  } catch {
    // Not up yet, or paused: the caller asks again.
    return undefined;
  }
}

function isPortTaken(error: unknown): boolean {
  return error instanceof OperatingError && error.code === "nats_server_port_taken";
}
