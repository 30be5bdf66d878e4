/** What the items of a client say of order, time, failures, keys and quotas, as far as the run has it; all of it within seconds, so that it happens. */
import type { EnqueueItem, RetryPolicy } from "../../contracts/commands.ts";
import { randomFrom } from "../drill.ts";
import type { Feature } from "./features.ts";

const DELAY_MS_MAX = 1_500;
const LASTING_MS_MIN = 300;
const LASTING_MS_MAX = 4_000;
/** Longer than the rest between two heartbeats. ms. */
const LEASE_MS_MIN = 2_000;
const LEASE_MS_MAX = 6_000;
const UNIQUE_KEYS = 12;
/** Of groups and of quota keys. */
export const QUOTA_NAMES = ["x", "y", "z"] as const;

type Wish = Omit<EnqueueItem, "resourceType" | "resourceId">;

/** Draws of one lane beside its others: a feature that is off changes nothing else. */
export class ItemWishes {
  readonly #features: ReadonlySet<Feature>;
  readonly #draw: () => number;

  constructor(features: readonly Feature[], seed: number) {
    this.#features = new Set(features);
    this.#draw = randomFrom(seed + 1);
  }

  /** `nowMs`: near log time. */
  ofItem(nowMs: number): Wish {
    const wants = (feature: Feature, part: number): boolean => this.#features.has(feature) && this.#draw() < part;
    const delay = wants("delays", 0.2) ? this.#delay(nowMs) : {};
    const fromMs = Math.max(nowMs + (delay.delayMs ?? 0), delay.notBefore ?? 0);
    return {
      ...delay,
      ...(wants("ends", 0.1) ? { notAfter: fromMs + this.#between(LASTING_MS_MIN, LASTING_MS_MAX) } : {}),
      ...(wants("priorities", 0.5) ? { priority: this.#between(0, 9) } : {}),
      ...(wants("lease_lengths", 0.3) ? { leaseDurationMs: this.#between(LEASE_MS_MIN, LEASE_MS_MAX) } : {}),
      ...(wants("retries", 0.4) ? { retry: this.#retry(), maxAttempts: this.#between(1, 3) } : {}),
      ...(wants("unique_keys", 0.1) ? { uniqueKey: `u${this.#between(1, UNIQUE_KEYS)}` } : {}),
      ...(wants("quotas", 0.5) ? { group: this.#name() } : {}),
      ...(wants("quotas", 0.2) ? { quotaKey: this.#name() } : {}),
    };
  }

  /** Some are over before the item comes. */
  #delay(nowMs: number): Pick<Wish, "delayMs" | "notBefore"> {
    if (this.#draw() < 0.5) return { delayMs: this.#between(0, DELAY_MS_MAX) };
    return { notBefore: nowMs + this.#between(-DELAY_MS_MAX / 5, DELAY_MS_MAX) };
  }

  #retry(): RetryPolicy {
    const kind = this.#draw();
    if (kind < 0.25) return { kind: "none" };
    if (kind < 0.5) return { kind: "fixed", delayMs: this.#between(0, 800) };
    if (kind < 0.75) return { kind: "exponential", firstMs: this.#between(1, 300), maxMs: 1_000 };
    return { kind: "list", delaysMs: [this.#between(0, 300), this.#between(0, 800)] };
  }

  #name(): string {
    return QUOTA_NAMES[this.#between(0, QUOTA_NAMES.length - 1)] as string;
  }

  /** A whole number. */
  #between(min: number, max: number): number {
    return min + Math.floor(this.#draw() * (max - min + 1));
  }
}
