/** Breaks things: in each slot of time at most one fault, drawn by the slot's number alone, so that any of them can be taken away. */
import type { Choices } from "./choices.ts";
import { type FaultClass, SLOT_MS } from "./plan.ts";
import type { SimConnection } from "./sim-broker.ts";
import type { CrashPoint, SimDispatcher } from "./sim-dispatcher.ts";
import type { SimShard } from "./sim-shard.ts";
import { Stranger } from "./stranger.ts";
import type { World } from "./world.ts";

const CRASH_POINTS: readonly CrashPoint[] = [
  "append_before",
  "append_after",
  "ack_before",
  "ack_after",
  "publish",
  "snapshot_offer",
  "snapshot_publish",
];
/** Jumps of a wall clock; the last leads to 2099. ms. */
const JUMPS_MS = [-3_600_000, -30_000, 60_000, 86_400_000, 2.3e12];

/** Draws of one fault, by name. */
export interface Dice {
  readonly pick: <T>(name: string, choices: readonly T[]) => T;
  readonly between: (name: string, low: number, high: number) => number;
}

export class Nemesis {
  readonly #world: World;
  readonly #stranger: Stranger;
  #slot = 0;

  constructor(world: World) {
    this.#world = world;
    this.#stranger = new Stranger(world);
  }

  start(): void {
    const { scheduler, plan, choices } = this.#world;
    scheduler.after(SLOT_MS, () => {
      if (this.#world.isHealed) return;
      this.#slot += 1;
      if (choices.event("fault.slot", this.#slot, plan.faultRate) !== undefined && plan.faults.length > 0) {
        const name = this.#drawn(plan.faults);
        this.#world.countFault(name);
        this.#strike(name, diceOf(choices, this.#slot));
      }
      this.start();
    });
  }

  /** One of the classes; one more of them takes its share and leaves the other slots as they were. */
  #drawn(classes: readonly FaultClass[]): FaultClass {
    const score = (name: FaultClass): number => this.#world.choices.at(`fault.${name}`, this.#slot);
    return classes.reduce((best, name) => (score(name) > score(best) ? name : best));
  }

  #strike(name: FaultClass, dice: Dice): void {
    const dispatcher = dice.pick("dispatcher", this.#world.dispatchers);
    const shard = dice.pick("shard", this.#world.shards);
    if (this.#world.isVerbose)
      console.error(this.#world.scheduler.nowMs.toFixed(1), "FAULT", name, dispatcher.peerId, shard.shard);
    switch (name) {
      case "kill":
      case "wipe":
      case "stop":
      case "power_cut":
      case "crash_point":
      case "pause":
      case "wall_jump":
      case "disk_broken":
        this.#strikeProcess(name, dispatcher, dice);
        return;
      case "cut":
      case "half_open":
      case "slow_net":
      case "isolate":
        this.#strikeNet(name, dispatcher, dice);
        return;
      case "split":
        this.#split(this.#leaderOf(shard) ?? dispatcher, dice);
        return;
      case "island":
        this.#cutOff(this.#leaderOf(shard) ?? dispatcher, dice);
        return;
      case "client_pause":
      case "client_cut": {
        const client = dice.pick("client", this.#world.clients);
        if (name === "client_pause") client.process.pause(dice.between("ms", 100, 6_000));
        else this.#cut(client.connection, dice.between("ms", 50, 4_000), dice);
        return;
      }
      case "shelf_down":
        this.#flag(shard.shelf, "isDown", dice.between("ms", 500, 12_000));
        return;
      case "bucket_down":
        this.#flag(this.#world.registry, "isDown", dice.between("ms", 500, 8_000));
        this.#flag(this.#world.checkpoints, "isDown", dice.between("ms", 500, 8_000));
        return;
      case "resource_power_cut":
        shard.resource.cut(dice.between("kept", 0, 1));
        return;
      case "copy":
      case "stray":
      case "junk":
        this.#stranger[name](shard, dice);
        return;
      case "beats_forged":
        this.#stranger.beats(shard, dice);
        return;
      case "words_forged":
        this.#stranger.words(dice);
        return;
      case "words_repeated":
        this.#stranger.repeat(dice);
        return;
      case "server_killed":
      case "server_power_cut":
      case "cluster_power_cut":
        this.#strikeServers(name, shard, dice);
        return;
      case "election":
      case "fail_followers":
      case "quorum":
      case "redeliver":
      case "replica_gap":
      case "replica_lag":
      case "wedge":
        this.#strikeStream(name, shard, dice);
    }
  }

  #strikeProcess(name: string, dispatcher: SimDispatcher, dice: Dice): void {
    const { scheduler } = this.#world;
    const downMs = dice.between("down", 0, 3_000);
    const later = (): void => void scheduler.after(downMs, () => dispatcher.start());
    switch (name) {
      case "kill":
      case "wipe":
        dispatcher.kill(dice.between("written", 0, 1) < 0.7);
        if (name === "wipe") this.#wipe(dispatcher, dice);
        later();
        return;
      case "power_cut":
        dispatcher.cutPower(dice.between("kept", 0, 1));
        later();
        return;
      case "stop":
        dispatcher.stop();
        scheduler.after(6_000 + downMs, () => dispatcher.start());
        return;
      case "crash_point": {
        const point = dice.pick("point", CRASH_POINTS);
        let left = Math.floor(dice.between("count", 1, 6));
        dispatcher.crashes = (passed) => {
          if (passed !== point || this.#world.isHealed) return false;
          left -= 1;
          if (left > 0) return false;
          dispatcher.crashes = () => false;
          later();
          return true;
        };
        return;
      }
      case "pause":
        dispatcher.life?.process.pause(pauseMs(dice));
        return;
      case "wall_jump":
        if (dispatcher.life !== undefined) dispatcher.life.process.wallLeadMs += dice.pick("jump", JUMPS_MS);
        return;
      default:
        dispatcher.isDiskBroken = true;
        scheduler.after(dice.between("ms", 500, 5_000), () => {
          dispatcher.isDiskBroken = false;
        });
    }
  }

  /** A new folder has nothing; where shared snapshots are missed at all, it is often then. */
  #wipe(dispatcher: SimDispatcher, dice: Dice): void {
    const { plan, shards } = this.#world;
    dispatcher.wipe();
    if (!plan.faults.includes("shelf_down") || dice.between("missed", 0, 1) < 0.4) return;
    for (const { shelf } of shards) this.#flag(shelf, "isDown", dice.between("ms", 500, 12_000));
  }

  #strikeNet(name: string, dispatcher: SimDispatcher, dice: Dice): void {
    const { connections } = dispatcher;
    if (connections.length === 0) return;
    const forMs = dice.between("ms", 50, name === "isolate" ? 6_000 : 4_000);
    if (name === "isolate") {
      for (const connection of connections) this.#cut(connection, forMs, dice);
      return;
    }
    const connection = dice.pick("connection", connections);
    if (name === "cut") this.#cut(connection, forMs, dice);
    else if (name === "slow_net") {
      connection.slowMs = dice.between("slow", 5, 400);
      this.#world.scheduler.after(forMs, () => {
        connection.slowMs = 0;
      });
    } else this.#halfOpen(connection, dice);
  }

  #cut(connection: SimConnection, forMs: number, dice: Dice): void {
    connection.disconnect(dice.between("written", 0, 1) < 0.5);
    this.#world.scheduler.after(forMs, () => connection.reconnect());
  }

  /** A leader is cut off from the other dispatchers and from its log, or from its log's answers, and its clients still reach it. */
  #split({ life }: SimDispatcher, dice: Dice): void {
    if (life === undefined) return;
    const forMs = dice.between("ms", 1_200, 6_000);
    const isCut = dice.between("cut", 0, 1) < 0.5;
    this.#cut(life.control, forMs, dice);
    for (const connection of life.logs)
      if (isCut) this.#cut(connection, forMs, dice);
      else {
        connection.in = "held";
        this.#world.scheduler.after(forMs, () => connection.heal());
      }
  }

  /** The server that a leader's requests or beats come over is cut off from those with the logs, and so are some clients. */
  #cutOff({ life }: SimDispatcher, dice: Dice): void {
    if (life === undefined) return;
    const side = dice.between("side", 0, 1);
    const clients = this.#world.clients.filter((_, index) => (side * 100 * (index + 1)) % 1 < 0.4);
    const connections = [
      ...(side < 0.7 ? [life.rpc] : []),
      ...(side > 0.3 ? [life.control] : []),
      ...clients.map(({ connection }) => connection),
    ];
    for (const connection of connections) connection.isCutOff = true;
    this.#world.scheduler.after(dice.between("ms", 500, 10_000), () => {
      for (const connection of connections) connection.isCutOff = false;
    });
  }

  #leaderOf({ shard }: SimShard): SimDispatcher | undefined {
    const leads = (dispatcher: SimDispatcher): boolean =>
      dispatcher.statuses().some((status) => status.shard === shard && status.mode === "leading");
    return this.#world.dispatchers.find(leads);
  }

  /** The process believes that it is connected while nothing passes, one way or both; then TCP heals, or the connection is given up. */
  #halfOpen(connection: SimConnection, dice: Dice): void {
    const { scheduler } = this.#world;
    const way = dice.pick("way", ["out", "in", "both"] as const);
    const path = dice.pick("path", ["held", "lost"] as const);
    if (way !== "in") connection.out = path;
    if (way !== "out") connection.in = path;
    scheduler.after(dice.between("open", 500, path === "held" ? 5_000 : 12_000), () => {
      if (path === "held") {
        connection.heal();
        return;
      }
      connection.disconnect(true, dice.between("linger", 0, 3_000));
      scheduler.after(dice.between("away", 10, 500), () => connection.reconnect());
    });
  }

  #strikeStream(name: string, { stream }: SimShard, dice: Dice): void {
    const { scheduler } = this.#world;
    const replica = dice.pick("replica", [0, 1, 2]);
    switch (name) {
      case "election": {
        const isCrash = dice.between("crash", 0, 1) < 0.4;
        const downMs = isCrash ? dice.between("ms", 4_000, 9_000) : dice.between("ms", 50, 1_000);
        stream.elect(downMs, Math.floor(dice.between("kept", 0, 2)), dice.between("stale", 0, 4_000));
        return;
      }
      case "quorum":
        stream.loseQuorum(dice.between("ms", 200, 6_000));
        return;
      case "wedge":
        this.#flag(stream, "isWedged", dice.between("ms", 500, 8_000));
        return;
      case "replica_lag": {
        const victim = stream.replicas[replica];
        if (victim === undefined) return;
        victim.lagMs = dice.between("lag", 20, 5_000);
        scheduler.after(dice.between("ms", 500, 8_000), () => {
          victim.lagMs = 0;
        });
        return;
      }
      case "replica_gap": {
        const victim = stream.replicas[replica];
        if (victim === undefined || replica === stream.leader || stream.replicas.some(({ gap }) => gap > 0)) return;
        victim.gap = stream.lastSequence + 1 - Math.floor(dice.between("back", 0, 6));
        scheduler.after(dice.between("ms", 500, 9_000), () => {
          victim.gap = 0;
        });
        return;
      }
      case "redeliver":
        stream.redeliver();
        return;
      default:
        stream.failConsumers();
    }
  }

  #strikeServers(name: string, { stream }: SimShard, dice: Dice): void {
    const replica = dice.pick("replica", [0, 1, 2]);
    const kept = dice.between("kept", 0, 1);
    const electMs = dice.between("elect", 50, 4_000);
    const fall = { hasPower: name === "server_killed", kept, electMs };
    if (name !== "cluster_power_cut") stream.fall(replica, { ...fall, downMs: dice.between("ms", 200, 6_000) });
    else
      for (const index of stream.replicas.keys())
        stream.fall(index, {
          ...fall,
          downMs: dice.between("ms", 200, 3_000) + index * dice.between("apart", 0, 1_500),
        });
  }

  #flag<Name extends string>(owner: Record<Name, boolean>, name: Name, forMs: number): void {
    owner[name] = true as never;
    this.#world.scheduler.after(forMs, () => {
      owner[name] = false as never;
    });
  }
}

/** Most stops are short; some outlast every timeout. */
function pauseMs(dice: Dice): number {
  return dice.pick("pause", [60, 200, 400, 1_200, 2_500, 5_000, 12_000]) * dice.between("part", 0.5, 1.5);
}

function diceOf(choices: Choices, slot: number): Dice {
  const between = (name: string, low: number, high: number): number =>
    low + choices.at(`dice.${name}`, slot) * (high - low);
  return {
    between,
    pick: (name, list) => list[Math.floor(choices.at(`dice.${name}`, slot) * list.length)] as (typeof list)[number],
  };
}
