/** The rules of order and time, written again: who comes before whom, how long a failed item waits, and what its failure may make of it. */
import type { EnqueueItem, RetryPolicy } from "../../contracts/commands.ts";
import type { ShardOptions } from "../../contracts/options.ts";

/** What an item says of its order and its time, and what became of it. */
export interface NaiveTerms {
  readonly sequence: number;
  readonly enqueuedAt: number;
  readonly priority: number;
  /** Of the shard at the enqueue; 0: a higher priority always comes first. ms. */
  readonly ageingMs: number;
  /** Infinite once it was redriven. */
  notAfter: number;
  readonly leaseDurationMs: number | undefined;
  readonly retry: RetryPolicy | undefined;
  readonly maxAttempts: number | undefined;
  charged: number;
  /** Log time before which it is not granted; 0 when it never waited. ms. */
  notBefore: number;
}

/** An entry of `fail` as its worker sent it. */
export interface FailureWish {
  readonly requeue: boolean;
  readonly delayMs: number | undefined;
  readonly penalty: boolean;
}
export const EXPIRY: FailureWish = { requeue: true, delayMs: undefined, penalty: true };

/** What the log says about a failure. */
export interface Fate {
  readonly outcome: string;
  readonly notBefore?: number | undefined;
  readonly charged?: false | undefined;
}

/** What only the logs of state version 2 hold. */
export function hasTerms(
  item: Omit<EnqueueItem, "dependsOn"> & { readonly dependsOn?: readonly object[] | undefined },
): boolean {
  const { priority, delayMs, notBefore, notAfter, leaseDurationMs, retry, uniqueKey, group, quotaKey, dependsOn } =
    item;
  const terms = [priority, delayMs, notBefore, notAfter, leaseDurationMs, retry, uniqueKey, group, quotaKey, dependsOn];
  return terms.some((term) => term !== undefined);
}

/** Whether one of two items that may be granted is granted first. */
export function comesBefore(left: NaiveTerms, right: NaiveTerms): boolean {
  for (const criterion of [classOf, sinceOf, sequenceOf])
    if (criterion(left) !== criterion(right)) return criterion(left) < criterion(right);
  return false;
}

/** Without ageing each priority is a class of its own, all of them before what ages. */
const classOf = ({ priority, ageingMs }: NaiveTerms): number => (ageingMs === 0 ? -priority : 0);
const sequenceOf = ({ sequence }: NaiveTerms): number => sequence;
const sinceOf = ({ enqueuedAt, notBefore, priority, ageingMs }: NaiveTerms): number =>
  Math.max(enqueuedAt, notBefore) - priority * ageingMs;

/** Shortest and longest time that an item waits once so many attempts were charged. ms. */
function retryBounds(item: NaiveTerms, options: ShardOptions, charged: number): readonly [number, number] {
  const { retry, retryFirstMs: firstMs, retryMaxMs: maxMs } = options;
  const byOptions: RetryPolicy =
    retry === "fixed"
      ? { kind: "fixed", delayMs: firstMs }
      : retry === "none"
        ? { kind: "none" }
        : { kind: retry, firstMs, maxMs };
  const policy = item.retry ?? byOptions;
  switch (policy.kind) {
    case "none":
      return [0, 0];
    case "fixed":
      return [policy.delayMs, policy.delayMs];
    case "exponential": {
      let longest = policy.firstMs;
      for (let attempt = 1; attempt < charged && longest < policy.maxMs; attempt += 1) longest *= 2;
      // The whole is never drawn.
      return [0, Math.max(0, Math.min(longest, policy.maxMs) - 1)];
    }
    case "list": {
      const delayMs = policy.delaysMs[charged - 1] ?? policy.delaysMs.at(-1) ?? 0;
      return [delayMs, delayMs];
    }
  }
}

/** Whether a failure that was asked for like this may end so. `at`: log time of the failure. ms. */
export function mayEnd(wish: FailureWish, fate: Fate, item: NaiveTerms, at: number, options: ShardOptions): boolean {
  const isDead = fate.outcome === "deadLettered";
  if (isDead && fate.notBefore !== undefined) return false;
  if ((fate.charged !== false) !== wish.penalty) return false;
  // Whether that was asked for is judged elsewhere.
  if (fate.outcome === "cancelled") return fate.notBefore === undefined;
  if (!wish.requeue) return isDead;
  const charged = item.charged + (wish.penalty ? 1 : 0);
  if (wish.penalty && charged >= (item.maxAttempts ?? options.maxAttempts)) return isDead;
  const byPolicy = wish.penalty ? retryBounds(item, options, charged) : ([0, 0] as const);
  const [shortest, longest] = wish.delayMs === undefined ? byPolicy : [wish.delayMs, wish.delayMs];
  if (isDead) return at + longest >= item.notAfter;
  const delayMs = fate.notBefore === undefined ? 0 : fate.notBefore - at;
  return delayMs >= shortest && delayMs <= longest && at + delayMs < item.notAfter;
}
