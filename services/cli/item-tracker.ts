/** Follows enqueued items to their ends: from what the own worker tells, and by asking the shard about those that nothing was heard of. */
import { OperatingError } from "../../contracts/errors.ts";
import type { LeaseClient } from "../client/lease-client.ts";
import { requestRuns } from "../client/request-runs.ts";
import { safeText } from "./terminal.ts";

/** How long nothing is heard before the shard is asked. ms. */
const QUIET_MS = 1_000;
/** Items asked about at a time: the oldest first, which are the ones that others wait for. */
const ASKED_MAX = 4_000;
/** Room for bodies in one reply: those of unfinished items come with it. Bytes. */
const REPLY_BODY_BYTES = 512 * 1024;
const ENTRY_BYTES = 512;

export interface TrackerOptions {
  readonly waitMs: number;
  readonly haltsOnDeadLetter: boolean;
  readonly signal: AbortSignal;
  readonly onChange: () => void;
}

export interface TrackedItem {
  readonly table: string;
  readonly version: number;
  /** Encoded size of its body. Bytes. */
  readonly bodyBytes: number;
}

/**
 * Invariant: an item is in exactly one of open, completed, dead or blocked once it is tracked.
 * Blocked: it stands behind a dead letter or a held lease of its table, so nothing will happen to it in this run.
 */
export class ItemTracker {
  readonly #client: LeaseClient;
  readonly #options: TrackerOptions;
  readonly #open = new Map<string, TrackedItem>();
  /** Completed, whether tracked yet or not: the worker may be faster than the reply to the enqueue. */
  readonly #heardCompleted = new Set<string>();
  readonly #heardDead = new Map<string, string>();
  /** Why the last attempt at an item failed, as far as it is known. */
  readonly #lastErrors = new Map<string, string>();
  readonly #stuckTables = new Set<string>();
  readonly #problems: string[] = [];
  readonly #blocked = new Map<string, number>();
  #completedCount = 0;
  #hasGivenUp = false;
  #hasOld = false;
  #wake: () => void = () => {};
  #movedAtMs = performance.now();

  constructor(client: LeaseClient, options: TrackerOptions) {
    this.#client = client;
    this.#options = options;
    options.signal.addEventListener("abort", () => this.#wake(), { once: true });
  }

  get completedCount(): number {
    return this.#completedCount;
  }

  /** `isOld`: it was enqueued before, so it may have ended long ago. */
  track(itemId: string, item: TrackedItem, isOld: boolean): void {
    const { table } = item;
    this.#open.set(itemId, item);
    this.#hasOld ||= isOld;
    const reason = this.#heardDead.get(itemId);
    if (this.#heardCompleted.has(itemId)) this.completed(itemId);
    else if (reason !== undefined) this.deadLettered(itemId, reason);
    else if (this.#stuckTables.has(table)) this.stuck(table);
    this.#moved();
  }

  completed(itemId: string): void {
    this.#heardCompleted.add(itemId);
    if (this.#open.delete(itemId)) this.#completedCount += 1;
    this.#moved();
  }

  deadLettered(itemId: string, reason: string): void {
    this.#heardDead.set(itemId, reason);
    const item = this.#open.get(itemId);
    if (item === undefined) return;
    this.#open.delete(itemId);
    const lastError = this.#lastErrors.get(itemId);
    const why = lastError === undefined || reason.includes(lastError) ? reason : `${reason}; last error: ${lastError}`;
    this.#problems.push(
      `table ${JSON.stringify(item.table)}, version ${item.version}: item ${itemId} is dead-lettered: ${why}`,
    );
    if (this.#options.haltsOnDeadLetter) this.stuck(item.table);
    this.#moved();
  }

  /** An attempt failed and the item comes back: kept to be told if nothing moves any more. */
  failed(itemId: string, reason: string): void {
    this.#lastErrors.set(itemId, reason);
  }

  /** Nothing more of this table will be done in this run. */
  stuck(table: string): void {
    this.#stuckTables.add(table);
    for (const [itemId, item] of this.#open) {
      if (item.table !== table) continue;
      this.#open.delete(itemId);
      this.#blocked.set(table, (this.#blocked.get(table) ?? 0) + 1);
    }
    this.#moved();
  }

  /** Ends the waiting: no worker is free any more. */
  giveUp(): void {
    this.#hasGivenUp = true;
    this.#moved();
  }

  problems(): readonly string[] {
    const blocked = [...this.#blocked].map(
      ([table, count]) => `table ${JSON.stringify(table)}: ${count} of its items wait and were not done`,
    );
    return [...this.#problems, ...blocked];
  }

  /** Resolves when no item is open. Throws: OperatingError `ingest_stalled`, and the reason of the signal. */
  async allSettled(): Promise<void> {
    const { signal, waitMs } = this.#options;
    if (this.#hasOld) await this.#askAboutOldest();
    while (this.#open.size > 0 && !this.#hasGivenUp) {
      signal.throwIfAborted();
      const isQuiet = await this.#quiet();
      signal.throwIfAborted();
      if (!isQuiet) continue;
      await this.#askAboutOldest();
      if (performance.now() - this.#movedAtMs > waitMs) throw this.#stalled();
    }
    for (const [itemId, { table }] of this.#open) {
      this.#open.delete(itemId);
      this.#blocked.set(table, (this.#blocked.get(table) ?? 0) + 1);
    }
  }

  /** Whether nothing moved for a while. */
  #quiet(): Promise<boolean> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => resolve(true), QUIET_MS);
      this.#wake = () => {
        clearTimeout(timer);
        resolve(false);
      };
    });
  }

  /** An own completion whose answer was lost, or one by another process of ours, shows only here. */
  async #askAboutOldest(): Promise<void> {
    const asked = [...this.#open].slice(0, ASKED_MAX);
    for (const run of requestRuns(asked, ([, item]) => item.bodyBytes + ENTRY_BYTES, REPLY_BODY_BYTES)) {
      const itemIds = run.map(([itemId]) => itemId);
      const results = await this.#client.getMany(itemIds, {
        minSequence: this.#client.sequenceSeen,
        signal: this.#options.signal,
      });
      for (const [index, itemId] of itemIds.entries()) {
        const result = results[index];
        // Forgotten: it was completed so long ago that its record is gone.
        if (result?.kind === "refused" ? result.error.code === "item_not_found" : result?.value.status === "completed")
          this.completed(itemId);
        else if (result?.kind === "ok" && result.value.status === "deadLettered")
          this.deadLettered(itemId, result.value.deadLetter?.reason ?? "no reason is known");
        else if (result?.kind === "ok" && result.value.lastError !== undefined)
          this.failed(itemId, result.value.lastError.reason);
      }
    }
  }

  #moved(): void {
    this.#movedAtMs = performance.now();
    this.#wake();
    this.#options.onChange();
  }

  #stalled(): OperatingError {
    const [[itemId, first] = ["", undefined]] = this.#open;
    const lastError = this.#lastErrors.get(itemId);
    const why = lastError === undefined ? "" : `, whose last error is: ${safeText(lastError)}`;
    return new OperatingError(
      "ingest_stalled",
      `nothing moved for ${this.#options.waitMs} ms; ${this.#open.size} items are unfinished, the first is version ${first?.version} of table ${JSON.stringify(first?.table)}${why}. Run it again to go on`,
      { definite: false },
    );
  }
}
