/** What an operator does with schedules: puts, changes, pauses, lists and deletes a few that tick every second or so. */
import type { Answer } from "./answer-oracle.ts";
import type { Draws } from "./choices.ts";
import type { SimClient } from "./sim-client.ts";
import type { SimShard } from "./sim-shard.ts";
import type { World } from "./world.ts";

const TIMEOUT_MS = 700;
const RATE = 0.12;
const NAMES = ["s0", "s1", "s2"] as const;

export class SimPlanner {
  readonly #client: SimClient;
  readonly #world: World;
  readonly #draws: Draws;

  constructor(client: SimClient, world: World) {
    this.#client = client;
    this.#world = world;
    this.#draws = world.choices.draws(`planner.${client.principal}`);
  }

  turn(slot: number): void {
    if (!this.#world.plan.features.has("schedules")) return;
    const drawn = this.#world.choices.event(`op.planner.${this.#client.principal}`, slot, RATE);
    if (drawn === undefined) return;
    const shard = this.#draws.pick(this.#world.shards);
    if (drawn < 0.65) this.#put(shard);
    else if (drawn < 0.85)
      this.#client.issue(shard, "schedule-list", { timeoutMs: TIMEOUT_MS }, undefined, { hasId: false });
    else this.#delete(shard, this.#draws.pick(NAMES));
  }

  /** So that a run comes to an end. */
  deleteAll(shard: SimShard): void {
    for (const name of NAMES) this.#delete(shard, name);
  }

  #put(shard: SimShard): void {
    const draws = this.#draws;
    const isImpossible = draws.chance(0.1);
    const spec = {
      name: draws.pick(NAMES),
      cron: isImpossible ? "0 0 30 2 *" : `*/${draws.pick([1, 2, 5])} * * * * *`,
      timeZone: draws.pick(["UTC", "Europe/Berlin"]),
      catchUp: draws.pick(["none", "last", "all", "all"]),
      ...(draws.chance(0.15) ? { paused: true } : {}),
      item: {
        resourceType: draws.pick(["a", "b", "c"]),
        resourceId: `r${draws.below(5)}`,
        ...(draws.chance(0.3) ? { uniqueKey: `u${draws.below(5)}` } : {}),
        ...(draws.chance(0.3) ? { exclusivity: draws.pick(["none", "resource", "partition"]) } : {}),
      },
    };
    const heard = (answer: Answer | undefined): void => {
      if (answer?.error !== undefined) this.#world.cover(`schedule_put_${answer.error.code}`);
      else if (answer?.["duplicate"] === true) this.#world.cover("schedule_put_again");
    };
    this.#client.issue(shard, "schedule-put", { ...spec, timeoutMs: TIMEOUT_MS }, heard, {
      mayBeInvalid: isImpossible,
    });
  }

  #delete(shard: SimShard, name: string): void {
    this.#client.issue(shard, "schedule-delete", { name, timeoutMs: TIMEOUT_MS });
  }
}
