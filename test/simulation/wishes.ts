/** What callers and workers draw of order, time, unique keys, progress and results, as far as the run has it; all of it within seconds, so that it happens. */
import type { EnqueueItem, RequestOf, RetryPolicy } from "../../contracts/commands.ts";
import type { ShardOptionsPatch } from "../../contracts/options.ts";
import type { Quota, QuotasPatch } from "../../contracts/quotas.ts";
import type { Draws } from "./choices.ts";
import type { Feature, Plan } from "./plan.ts";

type Term =
  | "group"
  | "quotaKey"
  | "priority"
  | "delayMs"
  | "notBefore"
  | "notAfter"
  | "leaseDurationMs"
  | "retry"
  | "uniqueKey";
type ItemWish = Pick<EnqueueItem, Term>;
type FailWish = Pick<RequestOf<"fail">["leases"][number], "delayMs" | "penalty">;

const DELAY_MS_MAX = 2_500;
const LASTING_MS_MAX = 4_000;
const LEASE_MS_MIN = 100;
const UNIQUE_KEYS = 5;
/** Groups and quota keys. */
const NAMES = ["x", "y", "z"];

/** The draws of one client, beside its others, so that a feature that is off changes nothing else. */
export class Wishes {
  readonly #draws: Draws;
  readonly #features: ReadonlySet<Feature>;
  readonly #leaseMs: number;

  constructor(draws: Draws, { features, leaseMs }: Plan) {
    this.#draws = draws;
    this.#features = features;
    this.#leaseMs = leaseMs;
  }

  /** `serverMs`: the time of the servers, near which log time is. */
  ofItem(serverMs: number): ItemWish {
    const draws = this.#draws;
    const nowMs = Math.floor(serverMs);
    const delay = this.#wants("delays", 0.4) ? this.#delay(nowMs) : {};
    const startsMs = Math.max(nowMs + (delay.delayMs ?? 0), delay.notBefore ?? 0);
    return {
      ...delay,
      ...(this.#wants("ends", 0.4) ? { notAfter: startsMs + 50 + draws.below(LASTING_MS_MAX) } : {}),
      ...(this.#wants("priorities", 0.6) ? { priority: draws.below(10) } : {}),
      ...(this.#wants("lease_lengths", 0.4)
        ? { leaseDurationMs: Math.max(LEASE_MS_MIN, Math.floor(this.#leaseMs * draws.between(0.2, 2))) }
        : {}),
      ...(this.#wants("retries", 0.5) ? { retry: this.#retry() } : {}),
      ...(this.#wants("unique_keys", 0.4) ? { uniqueKey: `u${draws.below(UNIQUE_KEYS)}` } : {}),
      ...(this.#wants("quotas", 0.7) ? { group: draws.pick(NAMES) } : {}),
      ...(this.#wants("quotas", 0.5) ? { quotaKey: draws.pick(NAMES) } : {}),
    };
  }

  /** What an entry of an enqueue depends on: entries before it, and items of `known`. */
  ofFlow(entry: number, known: readonly string[]): Pick<EnqueueItem, "dependsOn" | "onDependencyFailure"> {
    const draws = this.#draws;
    if (!this.#wants("flows", 0.4)) return {};
    const names = new Map<string, { readonly index: number } | { readonly itemId: string }>();
    for (let count = 1 + draws.below(3); count > 0; count -= 1) {
      if (entry > 0 && draws.chance(0.6)) {
        const index = draws.below(entry);
        names.set(`entry ${index}`, { index });
      } else {
        const itemId = draws.chance(0.05) ? "nothing" : (known[draws.below(known.length)] ?? "nothing");
        names.set(itemId, { itemId });
      }
    }
    const policy = draws.pick([undefined, "deadLetter", "cancel", "run"] as const);
    return { dependsOn: [...names.values()], ...(policy === undefined ? {} : { onDependencyFailure: policy }) };
  }

  /** What a beat tells of the work under a lease. */
  ofBeat(token: number): { readonly progress?: string } {
    return this.#wants("reports", 0.5) ? { progress: `${token} ${this.#draws.below(100)} %` } : {};
  }

  /** What the completion of a lease leaves. */
  ofCompletion(token: number): { readonly result?: string } {
    return this.#wants("reports", 0.6) ? { result: `${token} done` } : {};
  }

  /** How somebody ends its lease who is asked to stop; undefined: goes on. */
  ofCancel(): "fail" | "release" | undefined {
    return this.#draws.chance(0.7) ? this.#draws.pick(["fail", "release"]) : undefined;
  }

  ofFailure(): FailWish {
    return {
      ...(this.#wants("failure_terms", 0.5) ? { delayMs: this.#draws.below(DELAY_MS_MAX) } : {}),
      ...(this.#wants("failure_terms", 0.4) ? { penalty: false } : {}),
    };
  }

  /** A change of the options that this is about; undefined for none. */
  ofOptions(): ShardOptionsPatch | undefined {
    const draws = this.#draws;
    const patches: ShardOptionsPatch[] = [
      ...(this.#features.has("priorities") ? [{ ageingMs: draws.pick([0, 300, 2_000]) }] : []),
      ...(this.#features.has("retries") ? [{ retry: draws.pick(["none", "fixed", "exponential"] as const) }] : []),
      ...(this.#features.has("retries") ? [{ retryFirstMs: 1 + draws.below(800) }] : []),
      ...(this.#features.has("reports") ? [{ resultsMax: draws.below(12) }] : []),
      ...(this.#features.has("quotas") ? [{ fairness: draws.pick(["groups", "groups", "off"] as const) }] : []),
    ];
    return patches.length > 0 && draws.chance(0.4) ? draws.pick(patches) : undefined;
  }

  /** A change of quotas; undefined for none. What a rate holds back comes within seconds. */
  ofQuotas(): QuotasPatch | undefined {
    const draws = this.#draws;
    if (!this.#wants("quotas", 0.8)) return undefined;
    const kind = draws.pick(["group", "key"] as const);
    const perMs = draws.pick([50, 300, 1_000]);
    const quota = draws.pick<Quota | null>([
      null,
      { leasesMax: draws.below(4) },
      { rate: { count: 1 + draws.below(3), perMs } },
      { leasesMax: 1 + draws.below(2), rate: { count: 1, perMs, burst: 1 + draws.below(4) } },
      kind === "group" ? { weight: 1 + draws.below(5) } : { leasesMax: 1 },
    ]);
    return { [`${kind}/${draws.pick([...NAMES, "*"])}`]: quota };
  }

  /** Some followers of an old log do not read more. */
  ofFollower(): { readonly logVersionMax?: number } {
    return this.#wants("old_log", 0.5) ? { logVersionMax: 1 } : {};
  }

  /** Some delays are over before the item comes. */
  #delay(nowMs: number): Pick<ItemWish, "delayMs" | "notBefore"> {
    const draws = this.#draws;
    if (draws.chance(0.5)) return { delayMs: draws.below(DELAY_MS_MAX) };
    return { notBefore: Math.max(0, nowMs - 500 + draws.below(DELAY_MS_MAX)) };
  }

  #retry(): RetryPolicy {
    const draws = this.#draws;
    const firstMs = 1 + draws.below(300);
    return draws.pick<RetryPolicy>([
      { kind: "none" },
      { kind: "fixed", delayMs: draws.below(1_000) },
      { kind: "exponential", firstMs, maxMs: firstMs * (1 + draws.below(6)) },
      { kind: "list", delaysMs: Array.from({ length: 1 + draws.below(3) }, () => draws.below(800)) },
    ]);
  }

  #wants(feature: Feature, probability: number): boolean {
    return this.#features.has(feature) && this.#draws.chance(probability);
  }
}
