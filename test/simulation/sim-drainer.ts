/** What an operator does about drains: begins and ends them, takes items out of one log and into another, and evicts peers. */
import type { DrainItem } from "../../contracts/commands.ts";
import type { Answer } from "./answer-oracle.ts";
import type { Draws } from "./choices.ts";
import type { SimClient } from "./sim-client.ts";
import type { SimShard } from "./sim-shard.ts";
import type { World } from "./world.ts";

const TIMEOUT_MS = 700;
/** Part of the turns in which something is done. */
const RATE = 0.25;
const DRAIN_IDS = 6;

/** What somebody has read of a drain. */
interface Export {
  readonly drainId: string;
  readonly shard: SimShard;
  readonly items: readonly DrainItem[];
}

export class SimDrainer {
  readonly #client: SimClient;
  readonly #world: World;
  readonly #draws: Draws;
  readonly #exports: Export[] = [];
  /** Shards whose drain is being ended now. */
  readonly #ending = new Set<SimShard>();

  constructor(client: SimClient, world: World) {
    this.#client = client;
    this.#world = world;
    this.#draws = world.choices.draws(`drainer.${client.principal}`);
  }

  turn(slot: number): void {
    if (!this.#world.plan.features.has("drains")) return;
    const drawn = this.#world.choices.event(`op.drainer.${this.#client.principal}`, slot, RATE);
    if (drawn === undefined) return;
    const draws = this.#draws;
    const shard = draws.pick(this.#world.shards);
    const { on } = shard.log.model.drains;
    // Mostly about the one that is on, for nothing is granted meanwhile.
    const drainId = on !== undefined && draws.chance(0.8) ? on.drainId : `d${draws.below(DRAIN_IDS)}`;
    if (on === undefined) {
      if (drawn < 0.5) this.#drain(shard, drainId);
      else if (drawn < 0.7) this.#restoreItems();
      else if (drawn < 0.85) this.#evict(shard);
      else this.#issue(shard, draws.pick(["restore", "discard"]), { drainId });
    } else if (drawn < 0.1) this.#drain(shard, drainId);
    else if (drawn < 0.4) this.#read(shard, drainId);
    else if (drawn < 0.5) this.#evict(shard);
    else if (drawn < 0.6) this.#restoreItems();
    else this.#issue(shard, draws.pick(["restore", "discard"]), { drainId });
  }

  /** Sees to it that what is drained goes on, or ends where it cannot; asked again and again. */
  end(shard: SimShard): void {
    const { on } = shard.log.model.drains;
    if (on === undefined || this.#ending.has(shard)) return;
    this.#ending.add(shard);
    const { drainId } = on;
    this.#issue(shard, "restore", { drainId }, (answer) => {
      if (answer?.error === undefined) this.#ending.delete(shard);
      else this.#issue(shard, "discard", { drainId }, () => this.#ending.delete(shard));
    });
  }

  #drain(shard: SimShard, drainId: string): void {
    this.#issue(shard, "drain", { drainId, leases: this.#draws.pick(["wait", "expire"]) });
  }

  #evict(shard: SimShard): void {
    const held = this.#world.someHolding(shard, this.#draws.next());
    const peerId = shard.log.model.byId.get(held?.itemId ?? "")?.lease?.peerId ?? "nobody";
    this.#issue(shard, "evict", { peerId });
  }

  /** One page, which may be all of it. */
  #read(shard: SimShard, drainId: string): void {
    const limit = 1 + this.#draws.below(30);
    this.#issue(shard, "list", { drainId, limit }, (answer) => {
      const items = answer?.["drained"] as readonly DrainItem[] | undefined;
      if (items !== undefined && items.length > 0) this.#exports.push({ drainId, shard, items });
    });
  }

  /** Into the shard that it is from, into another, or as if it were from elsewhere. */
  #restoreItems(): void {
    const draws = this.#draws;
    const taken = this.#exports[draws.below(this.#exports.length)];
    if (taken === undefined) return;
    const { drainId, shard, items } = taken;
    const target = draws.pick(this.#world.shards);
    const logId = draws.chance(0.3) ? "log-elsewhere" : shard.logId;
    const first = draws.below(items.length);
    const some = items.slice(first, first + 1 + draws.below(8));
    const origin = { logId, region: "sim", shard: shard.shard };
    this.#issue(target, "restore", { drainId, origin, items: some });
  }

  #issue(
    shard: SimShard,
    verb: "drain" | "restore" | "discard" | "evict" | "list",
    fields: object,
    done: (answer: Answer | undefined) => void = () => undefined,
  ): void {
    const heard = (answer: Answer | undefined): void => {
      if (answer?.error !== undefined) this.#world.cover(`${verb}_${answer.error.code}`);
      for (const { error } of answer?.results ?? [])
        if (error !== undefined) this.#world.cover(`${verb}_${error.code}`);
      done(answer);
    };
    this.#client.issue(shard, verb, { ...fields, timeoutMs: TIMEOUT_MS }, heard, { hasId: false });
  }
}
