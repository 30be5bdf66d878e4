/** What a drill of disks runs: one nats-server or three, a dispatcher and a steady load, with whatever keeps data on volumes of our own. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { NatsConnection } from "@nats-io/transport-node";
import { startNatsCluster, waitForMetaLeader } from "../../infra/nats-server/cluster.ts";
import { type NatsServer, startNatsServer } from "../../infra/nats-server/embedded.ts";
import { provisionNatsServer } from "../../infra/nats-server/provision.ts";
import { connectNats } from "../../services/jetstream/connect.ts";
import { killAtEnd, type TemporaryFolder, temporaryFolder } from "../at-end.ts";
import { pause } from "../drill.ts";
import { DrillProcess } from "../driver/drill-process.ts";
import { Load } from "../load.ts";
import { Volume } from "./volume.ts";

export interface DiskMeshOptions {
  readonly replicas: 1 | 3;
  /** Of the servers. Default `always`. */
  readonly syncInterval?: string;
  /** Size of the volume of each server. Bytes. Absent: its store is in an ordinary folder. */
  readonly serverBytes?: number;
  /** Size of the volume of the dispatcher. Bytes. Absent: its data is in an ordinary folder. */
  readonly dispatcherBytes?: number;
  /** Further flags of the dispatcher. */
  readonly args?: readonly string[];
}

export interface LogWait {
  /** Lines that are not looked at. */
  readonly from: number;
  readonly boundMs: number;
}

export const MEBIBYTE = 1024 * 1024;
const DISPATCHER = fileURLToPath(new URL("../../services/dispatcher/main.ts", import.meta.url));
const PEER = "d1";
/** What a dispatcher says to a person before it ends, because it cannot serve. */
const REFUSAL = "omnirelay dispatcher: ";
/** How long a dispatcher may take to serve, or to say why it does not: it waits for elections of NATS, and confirms what it doubts. ms. */
const START_MS = 60_000;
/** How long the load may take to get its first answers. ms. */
const LOAD_MS = 20_000;
const POLL_MS = 20;

export class DiskMesh {
  readonly servers: readonly NatsServer[];
  readonly dispatcher: DrillProcess;
  readonly connection: NatsConnection;
  readonly load: Load;
  /** By what is kept there: names of servers, and `dispatcher`. */
  readonly volumes: ReadonlyMap<string, Volume>;
  readonly folder: string;
  /** Folder of the dispatcher's data. */
  readonly dataDir: string;
  readonly #log: string;
  readonly #own: TemporaryFolder;

  static async start(options: DiskMeshOptions): Promise<DiskMesh> {
    const own = temporaryFolder("omnirelay-drill-");
    const folder = own.path;
    const volumes = new Map<string, Volume>();
    const servers: NatsServer[] = [];
    try {
      const { serverBytes, dispatcherBytes, replicas } = options;
      const names = Array.from({ length: replicas }, (_, index) => `n${index + 1}`);
      if (serverBytes !== undefined)
        for (const name of names) volumes.set(name, await Volume.create(folder, name, serverBytes));
      if (dispatcherBytes !== undefined)
        volumes.set("dispatcher", await Volume.create(folder, "dispatcher", dispatcherBytes));
      servers.push(...(await startServers(options, folder, volumes)));
      for (const server of servers) killAtEnd(() => (server.running ? server.pid : 0));
      const connection = await connectNats({ servers: servers.map(({ url }) => url), name: "drill" });
      return new DiskMesh({ own, volumes, servers, connection, options });
    } catch (error) {
      await discard(own, servers, volumes);
      throw error;
    }
  }

  private constructor(parts: {
    readonly own: TemporaryFolder;
    readonly volumes: ReadonlyMap<string, Volume>;
    readonly servers: readonly NatsServer[];
    readonly connection: NatsConnection;
    readonly options: DiskMeshOptions;
  }) {
    const { own: temporary, volumes, servers, connection, options } = parts;
    const folder = temporary.path;
    this.#own = temporary;
    this.folder = folder;
    this.volumes = volumes;
    this.servers = servers;
    this.connection = connection;
    this.dataDir = join(volumes.get("dispatcher")?.folder ?? folder, "data");
    this.#log = join(folder, "dispatcher.log");
    writeFileSync(this.#log, "");
    const own = ["--nats-url", servers.map(({ url }) => url).join(","), "--peer-id", PEER, "--data-dir", this.dataDir];
    this.dispatcher = new DrillProcess({
      name: PEER,
      script: DISPATCHER,
      argsOf: () => [...own, "--replicas", String(options.replicas), ...(options.args ?? [])],
      readyText: '"msg":"ready"',
      logFile: this.#log,
      onUnordered: () => {},
    });
    this.load = new Load(connection);
  }

  get natsUrls(): string {
    return this.servers.map(({ url }) => url).join(",");
  }

  /** Starts the dispatcher. Undefined when it serves, else its own words why it does not; then it does not run. */
  async serve(): Promise<string | undefined> {
    const from = this.lines().length;
    let isServing = false;
    void this.dispatcher.start().then(() => {
      isServing = true;
    });
    for (const startMs = performance.now(); ; await pause(POLL_MS)) {
      if (isServing) return undefined;
      const words = this.lines()
        .slice(from)
        .find((line) => line.startsWith(REFUSAL));
      if (words === undefined && performance.now() - startMs < START_MS) continue;
      await this.dispatcher.kill();
      return words?.slice(REFUSAL.length) ?? `nothing for ${START_MS} ms`;
    }
  }

  /** Starts the dispatcher, which must serve, and the load, and returns when that is answered. */
  async serveLoad(): Promise<void> {
    const refusal = await this.serve();
    if (refusal !== undefined) throw new Error(`the dispatcher does not serve: ${refusal}`);
    this.load.start();
    await this.acknowledgedSince(performance.now(), LOAD_MS);
  }

  /** How long the first acknowledgement since then was waited for; throws when none comes within the bound. ms. */
  async acknowledgedSince(fromMs: number, boundMs: number): Promise<number> {
    while (this.load.acknowledgedSince(fromMs) === 0) {
      if (performance.now() - fromMs > boundMs) throw new Error(`nothing was acknowledged for ${boundMs} ms`);
      await pause(POLL_MS);
    }
    return Math.round(performance.now() - fromMs);
  }

  /** The dispatcher's first line behind the first `from` ones, written already or to come, that holds all of these texts; throws when there is none in time. */
  async logged(texts: readonly string[], { from, boundMs }: LogWait): Promise<Readonly<Record<string, unknown>>> {
    for (const startMs = performance.now(); ; ) {
      const line = this.lines()
        .slice(from)
        .find((each) => texts.every((text) => each.includes(text)));
      if (line !== undefined) return JSON.parse(line) as Record<string, unknown>;
      if (performance.now() - startMs > boundMs)
        throw new Error(`the dispatcher wrote no line with ${texts.join(" and ")} within ${boundMs} ms`);
      await pause(POLL_MS);
    }
  }

  /** The whole lines that the dispatcher has written, all lives together. */
  lines(): readonly string[] {
    return readFileSync(this.#log, "utf8").split("\n").slice(0, -1);
  }

  async close(): Promise<void> {
    this.load.abandon();
    await this.connection.close();
    await this.dispatcher.close();
    await discard(this.#own, this.servers, this.volumes);
  }
}

async function startServers(
  { replicas, syncInterval = "always" }: DiskMeshOptions,
  folder: string,
  volumes: ReadonlyMap<string, Volume>,
): Promise<readonly NatsServer[]> {
  const binary = (await provisionNatsServer({ replicated: replicas > 1 })).path;
  const storeDirOf = (name: string): string => join(volumes.get(name)?.folder ?? folder, `store-${name}`);
  if (replicas === 1) {
    const log = { logFile: join(folder, "n1.log"), report: () => {} };
    return [await startNatsServer({ binary, serverName: "n1", storeDir: storeDirOf("n1"), syncInterval, ...log })];
  }
  const servers = await startNatsCluster({ size: replicas, folder, binary, syncInterval, storeDirOf });
  try {
    await waitForMetaLeader(servers);
    return servers;
  } catch (error) {
    await Promise.all(servers.map((server) => server.kill()));
    throw error;
  }
}

async function discard(
  own: TemporaryFolder,
  servers: readonly NatsServer[],
  volumes: ReadonlyMap<string, Volume>,
): Promise<void> {
  await Promise.all(servers.map((server) => server.kill()));
  for (const volume of volumes.values()) volume.close();
  own.remove();
}
