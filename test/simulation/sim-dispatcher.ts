/** A dispatcher process of the simulation: the production nodes of its shards, wired as the role wires them, with what survives its death. */

import type { Ids, Reporter, Store } from "../../contracts/ports.ts";
import { backpressureSubject, beatSubject, isReplySubjectPermitted, pingSubject } from "../../contracts/subjects.ts";
import { Neighbours, wordOf } from "../../services/dispatcher/node/neighbours.ts";
import { NODE_TIMES, type NodeConfig } from "../../services/dispatcher/node/node-config.ts";
import type { NodePorts, NodeStatus } from "../../services/dispatcher/node/node-ports.ts";
import { Rebalancer } from "../../services/dispatcher/node/rebalancer.ts";
import { ShardNode } from "../../services/dispatcher/node/shard-node.ts";
import { nextTick } from "../../services/runtime/cron.ts";
import { type ClockFaults, SimProcess } from "./scheduler.ts";
import { SimConnection } from "./sim-broker.ts";
import { StoreFile } from "./sim-files.ts";
import { SimLog } from "./sim-log.ts";
import { SimKv, SimNet } from "./sim-net.ts";
import type { SimShard } from "./sim-shard.ts";
import { SimSnapshots, SnapshotShelf } from "./sim-snapshots.ts";
import type { World } from "./world.ts";

const REGION = "sim";
const WORD_MS = 500;
const STOP_MS = 5_000;

/** What survives a crash: the data folder. */
class Disk {
  readonly store: StoreFile;
  readonly shelves = new Map<string, SnapshotShelf>();

  constructor(name: string) {
    this.store = new StoreFile(name);
  }

  shelf(shard: string): SnapshotShelf {
    const known = this.shelves.get(shard) ?? new SnapshotShelf();
    this.shelves.set(shard, known);
    return known;
  }
}

interface Life {
  readonly process: SimProcess;
  readonly rpc: SimConnection;
  readonly control: SimConnection;
  readonly logs: readonly SimConnection[];
  readonly simLogs: readonly SimLog[];
  readonly nodes: readonly ShardNode[];
  readonly stopMoving: () => void;
  isStopping: boolean;
}

/** A place where a process can be ended: between two of its own steps. */
export type CrashPoint =
  | "append_before"
  | "append_after"
  | "ack_before"
  | "ack_after"
  | "publish"
  | "snapshot_offer"
  | "snapshot_publish";

export class SimDispatcher {
  readonly peerId: string;
  readonly #world: World;
  readonly #clock: ClockFaults;
  #disk: Disk;
  #disks = 1;
  #lives = 0;
  life: Life | undefined;
  /** Called when a crash point is passed; answers whether the process ends there. */
  crashes: (point: CrashPoint) => boolean = () => false;
  /** What the disk does: `broken` refuses writes. */
  isDiskBroken = false;

  constructor(peerId: string, world: World, clock: ClockFaults) {
    this.peerId = peerId;
    this.#world = world;
    this.#clock = clock;
    this.#disk = new Disk(peerId);
  }

  statuses(): readonly NodeStatus[] {
    return this.life?.nodes.map((node) => node.status()) ?? [];
  }

  get connections(): readonly SimConnection[] {
    return this.life === undefined ? [] : [this.life.rpc, this.life.control, ...this.life.logs];
  }

  start(): void {
    if (this.life !== undefined) return;
    this.#lives += 1;
    const { broker, scheduler, choices } = this.#world;
    const name = `${this.peerId}-${this.#lives}`;
    const process = new SimProcess(name, scheduler, this.#clock);
    process.onCrash = (error) => {
      if (!this.isDiskBroken) return this.#world.crashed(name, error);
      // A process that cannot read its data folder ends; its supervisor starts it again.
      this.#world.cover("start_refused_by_disk");
      this.kill(true);
      scheduler.after(1_000, () => this.start());
    };
    const connect = (use: string): SimConnection =>
      new SimConnection(broker, process, `${name}-${use}`, choices.draws(`net.${name}.${use}`));
    const rpc = connect("rpc");
    rpc.slowMs = this.#world.plan.slowMs;
    const control = connect("control");
    const logs = this.#world.shards.map(({ shard }) => connect(`log-${shard}`));
    const rpcNet = new SimNet(rpc);
    rpcNet.beforePublish = (subject) => {
      if (
        !isReplySubjectPermitted(subject) &&
        ![beatSubject, backpressureSubject].some((name) => subject.startsWith(name(REGION, "")))
      )
        this.#world.fail("R5", `${name} publishes on ${subject}, where somebody else wanted it to`);
      this.#pass(process, "publish");
    };
    const gossip = new SimNet(control);
    const nodes: ShardNode[] = [];
    const neighbours = this.#meet(process, gossip, nodes);
    const rebalancer = new Rebalancer({ peerId: this.peerId, clock: process, neighbours, nodes: () => nodes });
    const simLogs = this.#world.shards.map((hall, index) => {
      const log = this.#openLog(hall, process, logs[index] as SimConnection);
      const shared = { rpc: rpcNet, gossip, precedence: neighbours, store: this.#store(process) };
      const logNet = new SimNet(logs[index] as SimConnection);
      nodes.push(this.#node(hall, process, log, control, { ...shared, logNet }));
      return log;
    });
    const stopMoving = (): void => {
      rebalancer.stop();
      neighbours.leave();
    };
    this.life = { process, rpc, control, logs, simLogs, nodes, stopMoving, isStopping: false };
    process.run(() => {
      rpcNet.subscribe(pingSubject(REGION, this.peerId), (message) => {
        if (message.reply !== "") rpcNet.publish(message.reply, new Uint8Array([0x7b, 0x7d]));
      });
      neighbours.start();
      rebalancer.start();
      for (const node of nodes) node.start();
    });
    scheduler.drain();
  }

  /** The process dies at once. `isWritten`: what it had written to its sockets still arrives. */
  kill(isWritten: boolean): void {
    const { life } = this;
    if (life === undefined) return;
    this.life = undefined;
    life.process.kill();
    for (const connection of [life.rpc, life.control, ...life.logs]) connection.die(isWritten);
    for (const log of life.simLogs) log.close();
  }

  /** The data folder is gone. */
  wipe(): void {
    this.#disks += 1;
    this.#disk = new Disk(`${this.peerId}-${this.#disks}`);
  }

  /** The machine loses its power, and with it what was not synced; what it had promised to keep must be there. */
  cutPower(kept: number): void {
    this.kill(false);
    for (const shelf of this.#disk.shelves.values()) shelf.cut();
    for (const key of this.#disk.store.cut(kept))
      this.#world.fail("S5", `${this.peerId} does not hold any more what it had put as ${key}`);
  }

  /** SIGTERM: hands over in order, then ends. */
  stop(): void {
    const { life } = this;
    if (life === undefined || life.isStopping) return;
    life.isStopping = true;
    life.process.run(() => {
      life.stopMoving();
      let open = life.nodes.length;
      for (const node of life.nodes) {
        const timer = life.process.setTimer(STOP_MS, () => node.abandon());
        node.stop(() => {
          life.process.clearTimer(timer);
          open -= 1;
          // The last answers are flushed before the process ends.
          if (open === 0) life.process.setTimer(20, () => (this.life === life ? this.kill(true) : undefined));
        });
      }
    });
  }

  #pass(process: SimProcess, point: CrashPoint): void {
    if (process.isAlive && this.life?.process === process && this.crashes(point)) {
      this.#world.cover(`crash_${point}`);
      this.kill(true);
    }
  }

  #store(process: SimProcess): Store {
    const { store } = this.#disk;
    return {
      get: (key) => store.get(key),
      put: (key, value) => {
        if (this.isDiskBroken) throw new Error("EIO");
        if (process.isAlive) store.put(key, value);
      },
    };
  }

  #ids(name: string): Ids {
    const draws = new Map<string, { count: number; readonly draws: ReturnType<World["choices"]["draws"]> }>();
    const drawsOf = (draw: string) => {
      const known = draws.get(draw) ?? { count: 0, draws: this.#world.choices.draws(`ids.${name}.${draw}`) };
      draws.set(draw, known);
      known.count += 1;
      return known;
    };
    return {
      id: (draw) => `${draw}${name.replaceAll("-", "x")}x${drawsOf(draw).count}`,
      random: (draw) => drawsOf(draw).draws.next(),
    };
  }

  #meet(process: SimProcess, net: SimNet, nodes: readonly ShardNode[]): Neighbours {
    const own = () => nodes.map((node) => wordOf(node.status()));
    return new Neighbours({ region: REGION, peerId: this.peerId, wordMs: WORD_MS, clock: process, net, own });
  }

  #openLog(hall: SimShard, process: SimProcess, connection: SimConnection): SimLog {
    const draws = this.#world.choices.draws(`replica.${connection.name}`);
    return new SimLog(connection, hall.stream, {
      fateOf: () => hall.fateOf(),
      sending: (payload, chain) => {
        this.#pass(process, "append_before");
        hall.sending(payload, chain);
      },
      sent: () => this.#pass(process, "append_after"),
      answered: (outcome, chain) => {
        hall.answered(outcome, chain);
        if (outcome.kind === "acked") this.#pass(process, "ack_before");
      },
      settled: () => this.#pass(process, "ack_after"),
      replicaOf: () => draws.below(3),
    });
  }

  #node(
    hall: SimShard,
    process: SimProcess,
    log: SimLog,
    control: SimConnection,
    shared: Pick<NodePorts, "rpc" | "gossip" | "logNet" | "precedence" | "store">,
  ): ShardNode {
    const { world, name } = { world: this.#world, name: process.name };
    const { shard, logId } = hall;
    const reporter = reporterOf((level, event, fields) => hall.reported(this.peerId, level, event, fields));
    const snapshots = new SimSnapshots({
      process,
      draws: world.choices.draws(`snapshots.${name}.${shard}`),
      local: this.#disk.shelf(shard),
      remote: hall.shelf,
      logId,
      isLeading: () => node.status().mode === "leading",
      isDiskBroken: () => this.isDiskBroken,
      step: (step) => this.#pass(process, `snapshot_${step}`),
      onPublished: (snapshot) => hall.published(snapshot),
    });
    const config: NodeConfig = { ...NODE_TIMES, ...hall.times, region: REGION, shard, peerId: this.peerId, logId };
    const node: ShardNode = new ShardNode(config, {
      clock: process,
      nextTick,
      ids: this.#ids(`${name}-${shard}`),
      log,
      kv: new SimKv(control, world.registry),
      checkpoints: new SimKv(control, world.checkpoints),
      snapshots,
      reporter,
      ...shared,
    });
    return node;
  }
}

function reporterOf(take: (level: string, event: string, fields: unknown) => void): Reporter {
  return {
    info: (event, fields) => take("info", event, fields),
    warn: (event, fields) => take("warn", event, fields),
    error: (event, fields) => take("error", event, fields),
  };
}
