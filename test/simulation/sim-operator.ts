/** What an operator does beside a caller: cancels items, brings dead letters back or purges them, and asks why an item is not running. */
import type { Answer } from "./answer-oracle.ts";
import type { Draws } from "./choices.ts";
import type { SimClient } from "./sim-client.ts";
import type { SimShard } from "./sim-shard.ts";
import type { World } from "./world.ts";

const TIMEOUT_MS = 700;
/** Part of the turns in which something is done. */
const RATE = 0.35;
/** Of the youngest items so many are looked at: most older ones have ended. */
const YOUNG = 15;
const EVERY_MS_MAX = 1_500;

export class SimOperator {
  readonly #client: SimClient;
  readonly #world: World;
  readonly #draws: Draws;
  readonly #verbs: readonly ("cancel" | "redrive" | "purge" | "explain")[];

  constructor(client: SimClient, world: World) {
    this.#client = client;
    this.#world = world;
    this.#draws = world.choices.draws(`operator.${client.principal}`);
    const { features } = world.plan;
    this.#verbs = [
      ...(features.has("cancels") ? (["cancel", "cancel", "explain"] as const) : []),
      ...(features.has("redrives") ? (["redrive", "redrive", "purge", "explain"] as const) : []),
    ];
  }

  turn(slot: number): void {
    if (this.#verbs.length === 0) return;
    const drawn = this.#world.choices.event(`op.operator.${this.#client.principal}`, slot, RATE);
    if (drawn === undefined) return;
    const shard = this.#draws.pick(this.#world.shards);
    const verb = this.#verbs[Math.floor(drawn * this.#verbs.length)];
    if (verb === "cancel") this.#cancel(shard);
    else if (verb === "explain")
      this.#client.issue(shard, "explain", { itemId: this.#someId(shard), timeoutMs: TIMEOUT_MS }, undefined, {
        hasId: false,
      });
    else if (verb !== undefined) this.#takeLetters(shard, verb);
  }

  #cancel(shard: SimShard): void {
    const draws = this.#draws;
    const itemIds = Array.from({ length: 1 + draws.below(3) }, () => this.#someId(shard));
    const reason = draws.chance(0.5) ? { reason: "not needed" } : {};
    this.#client.issue(shard, "cancel", { itemIds, ...reason, timeoutMs: TIMEOUT_MS }, (answer) =>
      this.#heard("cancel", answer),
    );
  }

  /** By their ids, as people do: from a list of them. */
  #takeLetters(shard: SimShard, verb: "redrive" | "purge"): void {
    const draws = this.#draws;
    const fields = { status: "deadLettered", limit: 20, timeoutMs: TIMEOUT_MS };
    const take = (answer: Answer | undefined): void => {
      const letters = (answer?.["items"] ?? []) as readonly { readonly itemId: string }[];
      const first = draws.below(letters.length);
      const itemIds = letters.slice(first, first + 1 + draws.below(4)).map(({ itemId }) => itemId);
      if (draws.chance(0.3)) itemIds.push(this.#someId(shard));
      if (itemIds.length === 0) return;
      const every = verb === "redrive" && draws.chance(0.4) ? { everyMs: 1 + draws.below(EVERY_MS_MAX) } : {};
      this.#client.issue(shard, verb, { itemIds, ...every, timeoutMs: TIMEOUT_MS }, (reply) =>
        this.#heard(verb, reply),
      );
    };
    this.#client.issue(shard, "list", fields, take, { hasId: false });
  }

  /** A young item, one that a worker has, or one that nobody ever had. */
  #someId(shard: SimShard): string {
    const draws = this.#draws;
    if (draws.chance(0.4)) {
      const holding = this.#world.someHolding(shard, draws.next());
      if (holding !== undefined) return holding.itemId;
    }
    const { items } = shard.log.model;
    return items[items.length - 1 - draws.below(YOUNG)]?.itemId ?? "nothing";
  }

  #heard(verb: string, answer: Answer | undefined): void {
    if (answer?.error?.code === "unsupported_version") this.#world.cover("ends_refused_by_old_log");
    for (const { error, duplicate } of answer?.results ?? []) {
      if (error !== undefined) this.#world.cover(`${verb}_${error.code}`);
      else if (duplicate === true) this.#world.cover(`${verb}_repeated`);
    }
  }
}
