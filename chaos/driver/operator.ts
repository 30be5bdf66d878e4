/**
 * What an operator does beside the load, at a low rate and as far as the run has it: cancels, redrives and purges, pauses, drains and evicts, sets
 * quotas and options, puts schedules, and reads. Everything that holds items back lasts less than a second, and nothing of it is left in the end.
 */
import type { ReplyOf } from "../../contracts/replies.ts";
import { pause, randomFrom } from "../drill.ts";
import type { OperationFunction } from "../operations.ts";
import type { Feature } from "./features.ts";
import { QUOTA_NAMES } from "./item-wishes.ts";
import type { Caller, OutcomeOf, WorkloadParts } from "./workload.ts";

const TURN_MS = 150;
const REPEAT_MS = 150;
/** How long a drain or a pause lasts. ms. */
const HELD_MS_MIN = 200;
const HELD_MS_MAX = 600;
const LETTERS_MAX = 30;
/** Time between two that are redriven by one request, at most. ms. */
const EVERY_MS_MAX = 300;
const YOUNG_MAX = 40;
const SCHEDULES = ["s0", "s1"] as const;
const PEERS = ["w1", "w2"] as const;
/** What sending again may mend; anything else is the answer. */
const PASSING: readonly string[] = ["no_responders", "backpressure", "not_leader", "shutting_down", "unavailable"];

type Verb = Exclude<OperationFunction, "fenced_write">;
type Body = Readonly<Record<string, unknown>>;

/** The youngest items that the lanes of a client were told of. */
export class KnownItems {
  readonly #itemIds: string[] = [];

  add({ results }: ReplyOf<"enqueue">): void {
    for (const entry of results) if ("itemId" in entry) this.#itemIds.push(String(entry.itemId));
    this.#itemIds.splice(0, this.#itemIds.length - YOUNG_MAX);
  }

  /** Different ones; fewer where there are fewer. */
  some(count: number, draw: () => number): readonly string[] {
    const drawn = Array.from({ length: count }, () => this.#itemIds[Math.floor(draw() * this.#itemIds.length)]);
    return [...new Set(drawn)].filter((itemId) => itemId !== undefined);
  }
}

export class Operator {
  readonly #parts: WorkloadParts;
  readonly #known: KnownItems;
  readonly #own: Caller;
  readonly #draw: () => number;
  readonly #deeds: readonly (() => Promise<unknown>)[];
  #drains = 0;

  constructor(parts: WorkloadParts, known: KnownItems) {
    const { name, seed, features } = parts.settings;
    this.#parts = parts;
    this.#known = known;
    this.#own = { name: `${name}-operator`, isPatient: false };
    this.#draw = randomFrom(seed + 2);
    const deeds: Readonly<Partial<Record<Feature, readonly (() => Promise<unknown>)[]>>> = {
      cancels: [() => this.#cancel(), () => this.#cancel()],
      redrives: [() => this.#takeLetters("redrive"), () => this.#takeLetters("purge")],
      reports: [() => this.#get()],
      priorities: [() => this.#insist("configure", { options: { ageingMs: this.#pick([0, 500, 3_000]) } })],
      quotas: [() => this.#setQuota(), () => this.#setFairness()],
      schedules: [() => this.#schedule()],
      drains: [() => this.#drain()],
      evictions: [() => this.#insist("evict", { peerId: this.#pick(PEERS) })],
      pauses: [() => this.#pause()],
    };
    this.#deeds = features.flatMap((feature) => deeds[feature] ?? []);
  }

  async run(): Promise<void> {
    if (this.#deeds.length === 0) return;
    for (let turn = 0; !this.#parts.isSettling(); turn += 1) {
      // In turn, so that a short run meets each of them.
      await this.#deeds[turn % this.#deeds.length]?.();
      await pause(TURN_MS);
    }
    while (!(await this.#isAtEnd())) await pause(TURN_MS);
  }

  /** Takes away what holds items back, also what has taken effect late; whether every item is at its end. */
  async #isAtEnd(): Promise<boolean> {
    const { features } = this.#parts.settings;
    const outcome = await this.#insist("stats", { consistent: true });
    if (outcome.type !== "ok") return false;
    const { paused, drain, pending, active } = outcome.reply;
    if (paused) await this.#insist("resume", {});
    if (drain !== undefined) await this.#insist("restore", { drainId: drain.drainId });
    if (features.includes("schedules")) for (const name of SCHEDULES) await this.#insist("schedule-delete", { name });
    if (features.includes("quotas")) {
      const names = ["group", "key"].flatMap((kind) => QUOTA_NAMES.map((name) => [`${kind}/${name}`, null]));
      await this.#insist("configure", { quotas: Object.fromEntries(names) });
    }
    return !paused && drain === undefined && pending + active === 0;
  }

  /** Sends the same until it is answered. */
  async #insist<V extends Verb>(f: V, request: Body): Promise<OutcomeOf<V>> {
    for (;;) {
      const outcome = await this.#parts.caller.call(this.#own, f, request);
      if (outcome.type === "ok" || (outcome.type === "fail" && !PASSING.includes(outcome.code))) return outcome;
      await pause(REPEAT_MS);
    }
  }

  async #cancel(): Promise<void> {
    const itemIds = this.#known.some(1 + Math.floor(this.#draw() * 3), this.#draw);
    if (itemIds.length > 0) await this.#insist("cancel", { itemIds, reason: "drill" });
  }

  async #get(): Promise<void> {
    const itemIds = this.#known.some(8, this.#draw);
    if (itemIds.length > 0) await this.#insist("get", { itemIds });
  }

  /** By their ids, as people do: from a list of them. */
  async #takeLetters(f: "redrive" | "purge"): Promise<void> {
    const listed = await this.#insist("list", { status: "deadLettered", limit: LETTERS_MAX });
    if (listed.type !== "ok") return;
    const letters = listed.reply.items.map(({ itemId }) => itemId);
    const first = Math.floor(this.#draw() * letters.length);
    const itemIds = letters.slice(first, first + 4);
    if (this.#draw() < 0.3) itemIds.push(...this.#known.some(1, this.#draw).filter((id) => !itemIds.includes(id)));
    const isSpread = f === "redrive" && this.#draw() < 0.5;
    const every = isSpread ? { everyMs: Math.floor(this.#draw() * EVERY_MS_MAX) } : {};
    if (itemIds.length > 0) await this.#insist(f, { itemIds, ...every });
  }

  async #setQuota(): Promise<void> {
    const name = `${this.#pick(["group", "key"])}/${this.#pick(QUOTA_NAMES)}`;
    const quota = this.#pick([
      null,
      { leasesMax: 2 + Math.floor(this.#draw() * 4) },
      { rate: { count: 10, perMs: 500, burst: 5 } },
      name.startsWith("group/") ? { weight: 1 + Math.floor(this.#draw() * 4) } : { leasesMax: 3 },
    ]);
    await this.#insist("configure", { quotas: { [name]: quota } });
  }

  async #setFairness(): Promise<void> {
    await this.#insist("configure", { options: { fairness: this.#pick(["groups", "groups", "off"]) } });
  }

  async #schedule(): Promise<void> {
    const name = this.#pick(SCHEDULES);
    const kind = this.#draw();
    if (kind < 0.2) await this.#insist("schedule-delete", { name });
    else if (kind < 0.4) await this.#insist("schedule-list", {});
    else {
      // Nobody else has items of this name: by it the checker knows them.
      const item = { resourceType: "tick", resourceId: `tick-${name}` };
      const alone = this.#draw() < 0.3 ? { uniqueKey: name } : {};
      const catchUp = this.#pick(["none", "last", "all"]);
      const cron = `*/${this.#pick([1, 2])} * * * * *`;
      await this.#insist("schedule-put", { name, cron, catchUp, item: { ...item, ...alone } });
    }
  }

  async #drain(): Promise<void> {
    this.#drains += 1;
    const drainId = `${this.#own.name}-${this.#drains}`;
    // Under an id that was answered none begins again: what comes late is refused.
    const begun = await this.#insist("drain", { drainId, leases: this.#pick(["wait", "expire"]) });
    if (begun.type !== "ok") return;
    await this.#hold();
    if (this.#draw() < 0.5) await this.#insist("list", { drainId });
    await this.#insist("restore", { drainId });
  }

  async #pause(): Promise<void> {
    await this.#insist("pause", {});
    await this.#hold();
    await this.#insist("resume", {});
  }

  #hold(): Promise<void> {
    return pause(HELD_MS_MIN + this.#draw() * (HELD_MS_MAX - HELD_MS_MIN));
  }

  #pick<T>(all: readonly T[]): T {
    return all[Math.floor(this.#draw() * all.length)] as T;
  }
}
