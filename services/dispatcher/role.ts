/** The dispatcher as a role: connections, server check, logs and one shard node per hosted shard. */

import { join } from "node:path";
import type { NatsConnection } from "@nats-io/transport-node";
import { OperatingError } from "../../contracts/errors.ts";
import type { Clock, Closable, Ids, Reporter, RequestOutcome, TimerHandle } from "../../contracts/ports.ts";
import { CHECKPOINT_BUCKET, pingSubject, REGISTRY_BUCKET } from "../../contracts/subjects.ts";
import type { Halt } from "../core/log-reader.ts";
import type { ShardState } from "../core/state.ts";
import { connectNats } from "../jetstream/connect.ts";
import { JetStreamLog } from "../jetstream/jetstream-log.ts";
import { NatsKv } from "../jetstream/nats-kv.ts";
import { NatsNet } from "../jetstream/nats-net.ts";
import { patiently } from "../jetstream/patience.ts";
import { QuorumWatch } from "../jetstream/quorum-watch.ts";
import { ReplicaAuditor } from "../jetstream/replica-auditor.ts";
import { checkServer, type Finding } from "../jetstream/server-check.ts";
import { SqliteStore } from "../persistence/mod.ts";
import { createClock } from "../runtime/clock.ts";
import { nextTick } from "../runtime/cron.ts";
import { prepareDataFolder } from "../runtime/data-folder.ts";
import { createIds } from "../runtime/ids.ts";
import type { Readiness, Role } from "../runtime/role.ts";
import type { DispatcherSettings } from "./dispatcher-settings.ts";
import { ownFolder } from "./folder-owner.ts";
import { Neighbours, wordOf } from "./node/neighbours.ts";
import { NODE_TIMES } from "./node/node-config.ts";
import type { NodePorts, NodeStatus } from "./node/node-ports.ts";
import { Rebalancer } from "./node/rebalancer.ts";
import { ShardNode } from "./node/shard-node.ts";
import { ShardLogs } from "./shard-logs.ts";
import { hasBegun, noticesOf, problemsOf } from "./shard-readiness.ts";
import { ShardSnapshots } from "./shard-snapshots.ts";
import { openSnapshotStores, type SnapshotStores } from "./snapshot-stores.ts";
import { StateDumps } from "./state-dumps.ts";

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
/** Time until a shard whose log could not be asked for is tried again. ms. */
const HOST_AGAIN_MS = 5_000;
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
  readonly #quorum: QuorumWatch;
  /** By shard. */
  readonly #auditors = new Map<string, ReplicaAuditor>();
  #lock: Closable | undefined;
  #snapshots: SnapshotStores | undefined;
  readonly #shardLogs: ShardLogs;
  #hostTimer: TimerHandle | undefined;
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
    this.#quorum = new QuorumWatch({ clock, reporter });
    this.#shardLogs = new ShardLogs(settings, reporter, ids);
  }

  /**
   * Resolves when every shard is served, or was found not to be servable: one that is not keeps none of the others from being served.
   * Throws: as the first shard when none is served, and what concerns them all.
   */
  async start(): Promise<void> {
    const { dataDir, region, peerId, replicas, shards } = this.#settings;
    const folder = prepareDataFolder(dataDir);
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
    const logIds = await this.#shardLogs.find(control, store, shards);
    const refused = this.#shardLogs.refused.get(shards[0] ?? "");
    if (logIds.size === 0 && refused !== undefined) throw refused;
    const kv = new NatsKv(control, REGISTRY_BUCKET);
    const checkpoints = new NatsKv(control, CHECKPOINT_BUCKET);
    await this.#checkPeerId(gossip);
    // On the connection of the requests: who pings us learns whether those come through.
    this.#ping = rpc.subscribe(pingSubject(region, peerId), (message) => {
      if (message.reply !== "") rpc.publish(message.reply, new TextEncoder().encode("{}"));
    });
    const neighbours = this.#meetNeighbours(gossip);
    const stores = await openSnapshotStores(folder, control, replicas, this.#reporter);
    this.#snapshots = stores;
    const audit = await this.#connect("audit");
    const shared = { kv, checkpoints, rpc, gossip, store, precedence: neighbours };
    const host = async (found: ReadonlyMap<string, string>): Promise<void> => {
      for (const [shard, logId] of found)
        await this.#startNode(shard, logId, { audit, stores }, shared).catch((error: unknown) =>
          this.#shardLogs.refuse(shard, error),
        );
      this.#hostLater(async () => host(await this.#shardLogs.find(control, store, this.#shardLogs.open)));
    };
    await host(logIds);
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
    const connection = await this.#connect(`log-${shard}`);
    if (this.#isStopped) return connection.close();
    const log = new JetStreamLog(connection, { region, shard });
    this.#logs.push(log);
    const logNet = new NatsNet(connection);
    const reporter = withShard(this.#reporter, shard);
    const isLeading = (): boolean => node.status().mode === "leading";
    const clock = this.#clock;
    const dump = (halt: Halt, state: ShardState): void => this.#dumps?.write({ region, shard }, halt, state, reporter);
    const { local, shared: remote } = stores;
    const snapshots = new ShardSnapshots({ region, shard, logId, clock, reporter, local, remote, isLeading });
    const node: ShardNode = new ShardNode(
      { ...NODE_TIMES, snapshotEvents, snapshotMs, region, shard, peerId, logId },
      { ...shared, nextTick, clock, ids: this.#ids, log, logNet, snapshots, dump, reporter },
    );
    this.#nodes.push(node);
    node.start();
    const lastSequence = (): number => node.status().streamSequence;
    const auditor = new ReplicaAuditor({ connection: audit, region, shard, clock, reporter, isLeading, lastSequence });
    this.#auditors.set(shard, auditor);
    auditor.start();
  }

  /** Until the shards are led by us or by somebody we follow, as far as they can be. Throws: as a node when all halt. */
  async #untilServing(): Promise<void> {
    const { peerId } = this.#settings;
    while (!this.#isStopped && !hasBegun(this.shardReports(), peerId, this.#shardLogs.open.length > 0))
      await new Promise<void>((resolve) => void this.#clock.setTimer(NODE_TIMES.tickMs, resolve));
  }

  /** Tries the shards again whose logs could not be had. */
  #hostLater(host: () => Promise<void>): void {
    if (this.#shardLogs.open.length === 0 || this.#isStopped) return;
    this.#hostTimer = this.#clock.setTimer(HOST_AGAIN_MS, () => void host());
  }

  async stop(): Promise<void> {
    if (this.#isStopped) return;
    this.#isStopped = true;
    this.#shardLogs.close();
    if (this.#hostTimer !== undefined) this.#clock.clearTimer(this.#hostTimer);
    this.#stopMoving();
    await Promise.all(this.#nodes.map((node) => this.#stopNode(node)));
    this.#ping?.close();
    this.#quorum.close();
    for (const auditor of this.#auditors.values()) auditor.stop();
    for (const log of this.#logs) log.close();
    await this.#dumps?.settled();
    await this.#snapshots?.local?.close();
    if (this.#snapshots !== undefined) await this.#atMost(SHARED_CLOSE_MS, this.#snapshots.shared.close());
    await Promise.all(this.#connections.map((connection) => this.#close(connection)));
    this.#store?.close();
    this.#lock?.close();
  }

  /** Ready: every shard is followed or led. Who leads it is the control plane's question. */
  ready(): Readiness {
    const reports = this.shardReports();
    const problems = [...this.#shardLogs.problems, ...reports.flatMap(problemsOf)];
    if (!this.#isStarted) return { ready: false, detail: ["starting", ...problems].join("; ") };
    if (this.#nets.some((net) => !net.isConnected())) return { ready: false, detail: "NATS cannot be reached" };
    const good = reports.filter((report) => problemsOf(report).length === 0).map(({ shard }) => shard);
    const served = problems.length === 0 ? "every shard is led or followed" : `led or followed: ${good.join(", ")}`;
    const notices = reports.flatMap(noticesOf);
    return { ready: problems.length === 0, detail: [...problems, served, ...notices].join("; ") };
  }

  shardReports(): readonly ShardReport[] {
    return this.#nodes.map((node) => {
      const status = node.status();
      const alarms = [...status.alarms, ...(this.#auditors.get(status.shard)?.alarms ?? [])];
      return { ...status, alarms, findings: this.#shardLogs.findings };
    });
  }

  async #connect(use: string): Promise<NatsConnection> {
    const { natsUrl, peerId } = this.#settings;
    const connection = await connectNats({ servers: natsUrl, name: `omnirelay ${peerId} ${use}` });
    this.#connections.push(connection);
    this.#quorum.watch(connection, use);
    return connection;
  }

  async #checkServer(connection: NatsConnection): Promise<void> {
    const { replicas, natsMonitorUrl } = this.#settings;
    // A cluster that elects its leader cannot say; it will.
    const { findings } = await patiently(() => checkServer(connection, { replicas, monitorUrl: natsMonitorUrl }));
    this.#shardLogs.judge(findings);
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

function withShard(reporter: Reporter, shard: string): Reporter {
  return {
    info: (event, fields) => reporter.info(event, { shard, ...fields }),
    warn: (event, fields) => reporter.warn(event, { shard, ...fields }),
    error: (event, fields) => reporter.error(event, { shard, ...fields }),
  };
}
