/** The dispatcher as a role: connections, server check, logs and one shard node per hosted shard. */
import { join } from "node:path";
import type { NatsConnection } from "@nats-io/transport-node";
import type { Database } from "better-sqlite3";
import { OperatingError } from "../../contracts/errors.ts";
import { SHARD_OPTIONS_DEFAULT, type ShardOptions, type ShardOptionsPatch } from "../../contracts/options.ts";
import type { Clock, Closable, Ids, Reporter, RequestOutcome, TimerHandle } from "../../contracts/ports.ts";
import { CHECKPOINT_BUCKET, pingSubject, REGISTRY_BUCKET } from "../../contracts/subjects.ts";
import type { Halt } from "../core/log-reader.ts";
import type { ShardState } from "../core/state.ts";
import { connectNats } from "../jetstream/connect.ts";
import { JetStreamLog } from "../jetstream/jetstream-log.ts";
import { NatsKv } from "../jetstream/nats-kv.ts";
import { NatsNet } from "../jetstream/nats-net.ts";
import { provisionShard, type ShardLog, verifyShard } from "../jetstream/provision.ts";
import { ReplicaAuditor } from "../jetstream/replica-auditor.ts";
import { checkServer, type Finding } from "../jetstream/server-check.ts";
import { SqliteStore } from "../persistence/mod.ts";
import { createClock } from "../runtime/clock.ts";
import { prepareDataFolder } from "../runtime/data-folder.ts";
import { createIds } from "../runtime/ids.ts";
import type { Readiness, Role } from "../runtime/role.ts";
import { ownFolder } from "./folder-owner.ts";
import { Neighbours } from "./node/neighbours.ts";
import { NODE_TIMES } from "./node/node-config.ts";
import type { NodePorts, NodeStatus } from "./node/node-ports.ts";
import { Rebalancer } from "./node/rebalancer.ts";
import { ShardNode } from "./node/shard-node.ts";
import { ShardSnapshots } from "./shard-snapshots.ts";
import { openSnapshotStores, type SnapshotStores } from "./snapshot-stores.ts";
import { StateDumps } from "./state-dumps.ts";

export interface DispatcherSettings {
  readonly natsUrl: string | readonly string[];
  /** Monitoring endpoint of the server, for settings that a client cannot ask for; empty when there is none. */
  readonly natsMonitorUrl?: string | undefined;
  readonly region: string;
  readonly shards: readonly string[];
  readonly peerId: string;
  readonly dataDir: string;
  readonly replicas: number;
  /** Byte limit of each shard's stream; -1 for none. */
  readonly logBytesMax?: number | undefined;
  /** Events, and time in ms, between two snapshots of a shard. */
  readonly snapshotEvents?: number | undefined;
  readonly snapshotMs?: number | undefined;
  /** Create streams that nobody knows yet. Without it an unknown shard is refused. */
  readonly provision: boolean;
  /** Options that a new shard starts with; an existing one keeps its own. */
  readonly shardOptions: ShardOptionsPatch;
  /** Serve although the server check found something that it refuses. */
  readonly allowUnsafeServer?: boolean | undefined;
}

interface ShardReport extends NodeStatus {
  readonly findings: readonly Finding[];
}

export interface DispatcherRole extends Role {
  shardReports(): readonly ShardReport[];
}

/** How long a stopping dispatcher waits for its last frames. ms. */
const STOP_MS = 5_000;
/** Time between two words to the other dispatchers. ms. */
const WORD_MS = 500;
/** How long the last answers may take to reach the server. ms. */
const FLUSH_MS = 500;
/** How long pieces of a snapshot that is given up may take to be removed; the next start removes them otherwise. ms. */
const SHARED_CLOSE_MS = 1_000;
/** How long the answer of another process with our peer id is waited for. ms. */
const PEER_PING_MS = 1_000;
const STORE_FILE = "dispatcher.sqlite";
const SHARDS_KEY = "shards";

export function createDispatcherRole(
  settings: DispatcherSettings,
  deps: { readonly reporter: Reporter; readonly clock?: Clock; readonly ids?: Ids },
): DispatcherRole {
  return new Dispatcher(settings, deps.reporter, deps.clock ?? createClock(), deps.ids ?? createIds());
}

class Dispatcher implements DispatcherRole {
  readonly name = "dispatcher";
  readonly #settings: DispatcherSettings;
  readonly #reporter: Reporter;
  readonly #clock: Clock;
  readonly #ids: Ids;
  readonly #nodes: ShardNode[] = [];
  readonly #connections: NatsConnection[] = [];
  readonly #logs: JetStreamLog[] = [];
  readonly #nets: NatsNet[] = [];
  /** By shard. */
  readonly #auditors = new Map<string, ReplicaAuditor>();
  #lock: Database | undefined;
  #snapshots: SnapshotStores | undefined;
  readonly #findings: Finding[] = [];
  #store: SqliteStore | undefined;
  #dumps: StateDumps | undefined;
  #ping: Closable | undefined;
  #stopMoving: () => void = () => {};
  #isStarted = false;
  #isStopped = false;

  constructor(settings: DispatcherSettings, reporter: Reporter, clock: Clock, ids: Ids) {
    this.#settings = settings;
    this.#reporter = reporter;
    this.#clock = clock;
    this.#ids = ids;
  }

  async start(): Promise<void> {
    const folder = prepareDataFolder(this.#settings.dataDir);
    this.#lock = ownFolder(folder);
    const store = SqliteStore.open(join(folder, STORE_FILE));
    this.#store = store;
    this.#dumps = new StateDumps(folder);
    checkFolder(store, this.#settings);
    const rpc = new NatsNet(await this.#connect("rpc"));
    this.#nets.push(rpc);
    const control = await this.#connect("control");
    const gossip = new NatsNet(control);
    this.#nets.push(gossip);
    await this.#checkServer(control);
    const provisions = await this.#provision(control);
    const kv = new NatsKv(control, REGISTRY_BUCKET);
    const checkpoints = new NatsKv(control, CHECKPOINT_BUCKET);
    await this.#checkPeerId(gossip);
    this.#ping = gossip.subscribe(pingSubject(this.#settings.region, this.#settings.peerId), (message) => {
      if (message.reply !== "") gossip.publish(message.reply, new TextEncoder().encode("{}"));
    });
    const neighbours = this.#meetNeighbours(gossip);
    const stores = await openSnapshotStores(folder, control, this.#settings.replicas, this.#reporter);
    this.#snapshots = stores;
    const audit = await this.#connect("audit");
    for (const [shard, { logId }] of provisions)
      await this.#startNode(
        shard,
        logId,
        { audit, stores },
        { kv, checkpoints, rpc, gossip, store, precedence: neighbours },
      );
    await this.#untilServing();
    // Who is ready can take over from then on, so the others hear it before.
    neighbours.tell();
    this.#isStarted = true;
  }

  #meetNeighbours(net: NatsNet): Neighbours {
    const { region, peerId } = this.#settings;
    const clock = this.#clock;
    const own = () => this.#nodes.map((node) => wordOf(node.status()));
    const neighbours = new Neighbours({ region, peerId, wordMs: WORD_MS, clock, net, own });
    neighbours.start();
    const rebalancer = new Rebalancer({ peerId, clock, neighbours, nodes: () => this.#nodes });
    rebalancer.start();
    this.#stopMoving = () => {
      rebalancer.stop();
      neighbours.leave();
    };
    return neighbours;
  }

  async #startNode(
    shard: string,
    logId: string,
    { audit, stores }: { readonly audit: NatsConnection; readonly stores: SnapshotStores },
    shared: Pick<NodePorts, "checkpoints" | "kv" | "rpc" | "gossip" | "store" | "precedence">,
  ): Promise<void> {
    const {
      region,
      peerId,
      snapshotEvents = NODE_TIMES.snapshotEvents,
      snapshotMs = NODE_TIMES.snapshotMs,
    } = this.#settings;
    const log = new JetStreamLog(await this.#connect(`log-${shard}`), { region, shard });
    this.#logs.push(log);
    if (this.#isStopped) return;
    const reporter = withShard(this.#reporter, shard);
    const isLeading = (): boolean => node.status().mode === "leading";
    const clock = this.#clock;
    const dump = (halt: Halt, state: ShardState): void => this.#dumps?.write({ region, shard }, halt, state, reporter);
    const { local, shared: remote } = stores;
    const snapshots = new ShardSnapshots({ region, shard, logId, clock, reporter, local, remote, isLeading });
    const node: ShardNode = new ShardNode(
      { ...NODE_TIMES, snapshotEvents, snapshotMs, region, shard, peerId, logId },
      { ...shared, clock, ids: this.#ids, log, snapshots, dump, reporter },
    );
    this.#nodes.push(node);
    node.start();
    const lastSequence = (): number => node.status().streamSequence;
    const auditor = new ReplicaAuditor({ connection: audit, region, shard, clock, reporter, isLeading, lastSequence });
    this.#auditors.set(shard, auditor);
    auditor.start();
  }

  /** Until every shard is led by us or by somebody we follow. Throws: OperatingError with the code of a node that halts. */
  async #untilServing(): Promise<void> {
    while (!this.#isStopped) {
      const statuses = this.#nodes.map((node) => node.status());
      for (const { halt, shard } of statuses)
        if (halt !== undefined)
          throw new OperatingError(halt.code, `shard ${shard}: ${halt.message}`, { definite: true });
      if (statuses.every((status) => isServing(status, this.#settings.peerId))) return;
      await new Promise<void>((resolve) => void this.#clock.setTimer(NODE_TIMES.tickMs, resolve));
    }
  }

  async stop(): Promise<void> {
    if (this.#isStopped) return;
    this.#isStopped = true;
    this.#stopMoving();
    await Promise.all(this.#nodes.map((node) => this.#stopNode(node)));
    this.#ping?.close();
    for (const auditor of this.#auditors.values()) auditor.stop();
    for (const log of this.#logs) log.close();
    await this.#dumps?.settled();
    await this.#snapshots?.local?.close();
    if (this.#snapshots !== undefined) await this.#atMost(SHARED_CLOSE_MS, this.#snapshots.shared.close());
    await Promise.all(this.#connections.map((connection) => this.#close(connection)));
    this.#store?.close();
    this.#lock?.close();
  }

  /** Ready: every hosted shard is followed or led. Who leads it is the control plane's question. */
  ready(): Readiness {
    if (!this.#isStarted) return { ready: false, detail: "starting" };
    if (this.#nets.some((net) => !net.isConnected())) return { ready: false, detail: "NATS cannot be reached" };
    const reports = this.shardReports();
    const problems = reports.flatMap(problemsOf);
    if (problems.length > 0) return { ready: false, detail: problems.join("; ") };
    return { ready: true, detail: ["every shard is led or followed", ...reports.flatMap(noticesOf)].join("; ") };
  }

  shardReports(): readonly ShardReport[] {
    return this.#nodes.map((node) => {
      const status = node.status();
      const alarms = [...status.alarms, ...(this.#auditors.get(status.shard)?.alarms ?? [])];
      return { ...status, alarms, findings: this.#findings };
    });
  }

  async #connect(use: string): Promise<NatsConnection> {
    const { natsUrl, peerId } = this.#settings;
    const connection = await connectNats({ servers: natsUrl, name: `omnirelay ${peerId} ${use}` });
    this.#connections.push(connection);
    return connection;
  }

  async #checkServer(connection: NatsConnection): Promise<void> {
    const { replicas, natsMonitorUrl } = this.#settings;
    const { findings } = await checkServer(connection, { replicas, monitorUrl: natsMonitorUrl });
    this.#judge(findings);
  }

  /** Keeps what a check found, says it loudly, and refuses what must not be served unless it is allowed by name. */
  #judge(findings: readonly Finding[]): void {
    this.#findings.push(...findings);
    for (const finding of findings) this.#reporter.warn("server_finding", { ...finding });
    const refused = findings.filter(({ severity }) => severity === "refuse");
    if (refused.length > 0 && this.#settings.allowUnsafeServer !== true)
      throw new OperatingError("server_refused", refused.map(({ message, fix }) => `${message}; ${fix}`).join(" "), {
        definite: true,
        details: { findings: refused },
      });
  }

  async #provision(connection: NatsConnection): Promise<ReadonlyMap<string, ShardLog>> {
    const { region, shards, replicas, logBytesMax, provision, shardOptions, peerId } = this.#settings;
    const provisions = new Map<string, ShardLog>();
    for (const shard of shards) {
      const found = provision
        ? await provisionShard(connection, {
            region,
            shard,
            replicas,
            maxBytes: logBytesMax ?? -1,
            options: { ...SHARD_OPTIONS_DEFAULT, ...definedOptions(shardOptions) },
            newLogId: () => this.#ids.id("log"),
            writer: peerId,
          })
        : await verifyShard(connection, { region, shard });
      for (const difference of found.differences) this.#reporter.warn("shard_differs", { shard, ...difference });
      this.#judge(found.findings);
      provisions.set(shard, found);
    }
    return provisions;
  }

  /** Two processes with one peer id would each take the other's term for their own. */
  async #checkPeerId(gossip: NatsNet): Promise<void> {
    const { region, peerId } = this.#settings;
    const outcome = await new Promise<RequestOutcome>((resolve) =>
      gossip.request(pingSubject(region, peerId), new Uint8Array(0), PEER_PING_MS, resolve),
    );
    if (outcome.kind === "reply")
      throw new OperatingError(
        "peer_id_taken",
        `another dispatcher runs as ${peerId} in region ${region}; give this one an id of its own with --peer-id`,
        { definite: true, details: { peerId, region } },
      );
  }

  /** Closes a connection behind the last answers that were written to it. */
  async #close(connection: NatsConnection): Promise<void> {
    if (connection.isClosed()) return;
    await this.#atMost(
      FLUSH_MS,
      connection.flush().catch(() => {}),
    );
    await connection.close();
  }

  /** Waits for something that may be left undone. */
  async #atMost(ms: number, done: Promise<void>): Promise<void> {
    let timer: TimerHandle | undefined;
    const late = new Promise<void>((resolve) => {
      timer = this.#clock.setTimer(ms, resolve);
    });
    await Promise.race([done, late]);
    if (timer !== undefined) this.#clock.clearTimer(timer);
  }

  #stopNode(node: ShardNode): Promise<void> {
    return new Promise((resolve) => {
      const timer = this.#clock.setTimer(STOP_MS, () => node.abandon());
      node.stop(() => {
        this.#clock.clearTimer(timer);
        resolve();
      });
    });
  }
}

/** What we say of a shard to the other dispatchers. */
function wordOf({ shard, mode, term, sequence }: NodeStatus) {
  const part = mode === "leading" ? "leads" : mode === "following" ? "follows" : "absent";
  return { shard, part, term, sequence } as const;
}

/** Why a shard is not served as it should be. */
function problemsOf({ shard, mode, halt, alarms }: NodeStatus): string[] {
  const problems = alarms.filter(({ isServing }) => !isServing).map(({ code, message }) => `${code}: ${message}`);
  if (halt !== undefined) problems.unshift(`${halt.code}: ${halt.message}`);
  else if (mode !== "leading" && mode !== "following") problems.unshift(mode);
  return problems.map((problem) => `${shard}: ${problem}`);
}

/** What an operator should know of a shard that is served. */
function noticesOf({ shard, alarms }: NodeStatus): string[] {
  return alarms.filter(({ isServing }) => isServing).map(({ code, message }) => `${shard}: ${code}: ${message}`);
}

/** Leading, or standing by for a leader that the log names. */
function isServing({ mode, leader }: NodeStatus, peerId: string): boolean {
  return mode === "leading" || (mode === "following" && leader !== "" && leader !== peerId);
}

/** A data folder belongs to the shards that it has served; one that knows only other shards was given by mistake. */
function checkFolder(store: SqliteStore, { region, shards, dataDir }: DispatcherSettings): void {
  const text = store.get(SHARDS_KEY);
  const known = text === undefined ? [] : (JSON.parse(text) as readonly string[]);
  const wanted = shards.map((shard) => `${region}/${shard}`);
  if (known.length > 0 && !wanted.some((name) => known.includes(name)))
    throw new OperatingError(
      "data_dir_foreign",
      `the data folder ${dataDir} belongs to ${known.join(", ")}, not to ${wanted.join(", ")}; give this dispatcher a folder of its own`,
      { definite: true, details: { known, wanted } },
    );
  store.put(SHARDS_KEY, JSON.stringify([...new Set([...known, ...wanted])].sort()));
}

/** The named options without the keys that hold undefined, which would hide a default. */
function definedOptions(patch: ShardOptionsPatch): Partial<ShardOptions> {
  return Object.fromEntries(Object.entries(patch).filter(([, value]) => value !== undefined));
}

function withShard(reporter: Reporter, shard: string): Reporter {
  return {
    info: (event, fields) => reporter.info(event, { shard, ...fields }),
    warn: (event, fields) => reporter.warn(event, { shard, ...fields }),
    error: (event, fields) => reporter.error(event, { shard, ...fields }),
  };
}
