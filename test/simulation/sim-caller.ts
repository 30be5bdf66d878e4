/** A caller of the simulation: enqueues, reads, pauses, configures, hands over, and tries leases that are not its own. */

import { LOG_VERSION_MAX } from "../../contracts/limits.ts";
import type { Answer } from "./answer-oracle.ts";
import { SimClient } from "./sim-client.ts";
import { SimDrainer } from "./sim-drainer.ts";
import { SimOperator } from "./sim-operator.ts";
import { SimPlanner } from "./sim-planner.ts";
import type { SimShard } from "./sim-shard.ts";
import { Wishes } from "./wishes.ts";
import type { World } from "./world.ts";

const TIMEOUT_MS = 700;
/** Operations of the first caller between two tries to raise the version of a log. */
const RAISE_EVERY = 6;
/** Of the youngest items so many may be named as what others depend on. */
const YOUNG = 12;

export class SimCaller {
  readonly client: SimClient;
  readonly #world: World;
  readonly #wishes: Wishes;
  readonly #operator: SimOperator;
  readonly drainer: SimDrainer;
  readonly #planner: SimPlanner;
  #slot = 0;

  constructor(principal: string, world: World) {
    this.client = new SimClient(principal, world);
    this.#world = world;
    this.#wishes = new Wishes(world.choices.draws(`wishes.${principal}`), world.plan);
    this.#operator = new SimOperator(this.client, world);
    this.drainer = new SimDrainer(this.client, world);
    this.#planner = new SimPlanner(this.client, world);
  }

  start(): void {
    this.#later();
  }

  #later(): void {
    const { callEveryMs } = this.#world.plan;
    this.client.process.setTimer(callEveryMs * (0.2 + 1.6 * this.client.draws.next()), () => {
      if (this.#world.isHealed) return;
      // The sink lives beside the first caller, and lags.
      if (this.#slot % 4 === 0 && this.#world.callers[0] === this)
        for (const shard of this.#world.shards) shard.report("sink-a", this.client.draws.below(80));
      this.#slot += 1;
      if (this.#slot % RAISE_EVERY === 0 && this.#world.callers[0] === this)
        for (const shard of this.#world.shards) this.#raise(shard);
      const drawn = this.#world.choices.event(`op.${this.client.principal}`, this.#slot, 0.95);
      if (drawn !== undefined && this.client.open.size < 20) this.#call(drawn);
      if (this.client.open.size < 20) this.#operator.turn(this.#slot);
      if (this.client.open.size < 20) this.drainer.turn(this.#slot);
      if (this.client.open.size < 20) this.#planner.turn(this.#slot);
      this.#later();
    });
  }

  #call(drawn: number): void {
    const { draws } = this.client;
    const shard = draws.pick(this.#world.shards);
    if (drawn < 0.55) this.#enqueue(shard);
    else if (drawn < 0.7) this.#read(shard);
    else if (drawn < 0.8) this.#meddle(shard);
    else if (drawn < 0.84) this.#pause(shard);
    else if (drawn < 0.9) this.#configure(shard);
    else if (drawn < 0.94)
      this.client.issue(shard, "handover", { timeoutMs: TIMEOUT_MS, after: shard.answers.shown }, undefined);
    else this.#enqueue(shard);
  }

  #enqueue(shard: SimShard): void {
    const { draws } = this.client;
    const count = 1 + draws.below(4);
    const young = shard.log.model.items.slice(-YOUNG).map(({ itemId }) => itemId);
    const items = Array.from({ length: count }, (_, index) => ({
      resourceType: draws.pick(["a", "b", "c"]),
      resourceId: `r${draws.below(5)}`,
      ...(draws.chance(0.6) ? { partitionKey: `p${draws.below(3)}` } : {}),
      ...(draws.chance(0.3) ? { exclusivity: draws.pick(["none", "resource", "partition"]) } : {}),
      ...(draws.chance(0.2) ? { maxAttempts: 1 + draws.below(4) } : {}),
      ...(draws.chance(0.1) ? { body: "x".repeat(draws.below(3_000)) } : {}),
      ...this.#wishes.ofItem(shard.serverMs),
      ...this.#wishes.ofFlow(index, young),
    }));
    this.client.issue(
      shard,
      "enqueue",
      { items, timeoutMs: TIMEOUT_MS, ...(draws.chance(0.8) ? { after: shard.answers.shown } : {}) },
      (answer) => {
        const entries = answer?.results ?? [];
        if (entries.some(({ error }) => error?.code === "request_expired")) this.#world.cover("request_expired");
        if (entries.some((entry) => entry["duplicate"] === true))
          this.#repeated(shard, entries[0]?.["sequence"] as number);
        for (const { error } of entries)
          if (error?.code === "backpressure")
            this.#world.cover(error.details?.["reason"] === "log_bytes" ? "log_pressure_refusal" : "backpressure");
          else if (error !== undefined) this.#world.cover(`enqueue_${error.code}`);
      },
      { hasId: draws.chance(0.95) },
    );
  }

  #repeated(shard: SimShard, sequence: number): void {
    this.#world.cover("duplicate_recognised");
    if ((shard.log.terms[sequence] ?? 0) < shard.log.model.term) this.#world.cover("duplicate_across_leaders");
  }

  #read(shard: SimShard): void {
    const { draws } = this.client;
    const consistent = draws.chance(0.6);
    const fields = {
      consistent,
      timeoutMs: TIMEOUT_MS,
      ...(draws.chance(0.2) ? { minSequence: shard.answers.shown } : {}),
    };
    const { items } = shard.log.model;
    const itemIds = Array.from({ length: 3 }, () => items[draws.below(items.length)]?.itemId ?? "nothing");
    const verb = draws.pick(["stats", "get", "list"] as const);
    if (consistent) this.#world.cover("consistent_read");
    this.client.issue(shard, verb, verb === "get" ? { ...fields, itemIds } : fields, undefined, { hasId: false });
  }

  /** Tries a lease that belongs to somebody else. */
  #meddle(shard: SimShard): void {
    const { draws } = this.client;
    const holding = this.#world.someHolding(shard, draws.next());
    if (holding === undefined) return;
    const leases = [{ itemId: holding.itemId, token: holding.token }];
    const verb = draws.pick(["heartbeat", "complete", "release"] as const);
    this.client.issue(
      shard,
      verb,
      { leases, timeoutMs: TIMEOUT_MS },
      (answer) => {
        for (const { error } of answer?.results ?? [])
          if (error !== undefined) this.#world.cover(`meddler_${error.code}`);
      },
      { hasId: false },
    );
  }

  #pause(shard: SimShard): void {
    const { draws } = this.client;
    this.client.issue(shard, "pause", { timeoutMs: TIMEOUT_MS }, () =>
      this.client.process.setTimer(draws.between(10, 2_000), () => this.resume(shard)),
    );
  }

  resume(shard: SimShard): void {
    this.client.issue(shard, "resume", { timeoutMs: TIMEOUT_MS });
  }

  /** Ends what goes on by itself, so that a run does. */
  unschedule(shard: SimShard): void {
    this.#planner.deleteAll(shard);
  }

  /** Brings an old log to the present version; a follower that does not read it stands in the way. */
  #raise(shard: SimShard): void {
    const { termOptions } = this.#world.plan;
    if (shard.log.model.logVersion === LOG_VERSION_MAX) return;
    this.client.issue(
      shard,
      "configure",
      { logVersion: LOG_VERSION_MAX, options: termOptions, timeoutMs: TIMEOUT_MS },
      (answer) => {
        if (answer?.error?.code === "invalid_argument") this.#world.cover("raise_refused_for_a_follower");
      },
      { mayBeInvalid: true },
    );
  }

  #configure(shard: SimShard): void {
    const { draws } = this.client;
    const ownOptions = draws.pick([
      { maxAttempts: 2 + draws.below(5) },
      { pendingHigh: 10 + draws.below(60) },
      { leaseDurationMsDefault: Math.floor(this.#world.plan.leaseMs * draws.between(0.5, 2)) },
      { recordsMax: draws.below(30) },
      { onDeadLetter: draws.pick(["halt", "continue"]) },
    ]);
    const options = this.#wishes.ofOptions() ?? ownOptions;
    const keep = {
      kind: "sink",
      ...this.#wishes.ofFollower(),
      keepBytes: draws.pick([1_000, 20_000, 1_000_000]),
      keepMs: draws.pick([500, 5_000, 60_000]),
    };
    const followers = draws.chance(0.5) ? { followers: { "sink-a": draws.chance(0.3) ? null : keep } } : {};
    const told = (answer: Answer | undefined): void => {
      if (answer?.error?.code === "unsupported_version") this.#world.cover("options_refused_by_old_log");
    };
    const quotas = this.#wishes.ofQuotas();
    const fields = { options, ...followers, ...(quotas === undefined ? {} : { quotas }), timeoutMs: TIMEOUT_MS };
    this.client.issue(shard, "configure", fields, told, { mayBeInvalid: true });
  }
}
