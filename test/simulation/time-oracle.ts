/** Watches what a log says of order and time: that what has lapsed is soon dead-lettered, and which rare paths were taken. */
import type { NaiveItem } from "../../chaos/checker/naive-item.ts";
import type { NaiveModel } from "../../chaos/checker/naive-model.ts";
import type { EventOf, LogEvent } from "../../contracts/events.ts";
import type { Frame } from "../../contracts/frame.ts";

/** How long a leader may write on beside an item whose time is over; it looks twenty times a second. ms of log time. */
const LEFT_MS_MAX = 400;
/** What a stop between two frames counts at most: the leader may have stood still. ms. */
const STEP_MS_MAX = 100;

export class TimeOracle {
  readonly #model: NaiveModel;
  readonly #fail: (invariant: string, message: string) => void;
  readonly #cover: (point: string) => void;
  /** Log time that the leader wrote on beside each item whose time is over. ms. */
  readonly #leftMs = new Map<NaiveItem, number>();
  /** Term of the leader under which an item was delayed or got its end. */
  readonly #termOf = new Map<NaiveItem, number>();
  readonly #isOutranked = { byPriority: false, byAge: false };
  #last = { at: 0, term: 0 };

  constructor(model: NaiveModel, fail: (invariant: string, message: string) => void, cover: (point: string) => void) {
    this.#model = model;
    this.#fail = fail;
    this.#cover = cover;
  }

  /** An event that the model has just taken. */
  happened(event: LogEvent): void {
    const item = "itemId" in event ? this.#model.byId.get(event.itemId) : undefined;
    if (event.type === "configured" && event.logVersion !== undefined) this.#cover("log_version_raised");
    if (item === undefined) return;
    if (event.type === "enqueued") this.#enqueued(item);
    else if (event.type === "leased") this.#leased(item, event);
    else if (event.type === "failed" || event.type === "expired") this.#failed(item, event);
    else if (event.type === "deadLettered" && event.code === "not_after") this.#lapsed(item);
  }

  /** A frame that the model has just taken. */
  wrote({ at, term }: Frame): void {
    const { at: lastAt, term: lastTerm } = this.#last;
    this.#last = { at, term };
    const left = new Set(term === lastTerm ? this.#model.lapsed(lastAt) : []);
    for (const item of this.#leftMs.keys()) if (!left.has(item)) this.#leftMs.delete(item);
    for (const item of left) {
      const ms = (this.#leftMs.get(item) ?? 0) + Math.min(at - lastAt, STEP_MS_MAX);
      this.#leftMs.set(item, ms);
      if (ms > LEFT_MS_MAX)
        this.#fail("V1", `item ${item.itemId} is pending at ${at}, its time was over at ${item.notAfter}`);
    }
  }

  #enqueued(item: NaiveItem): void {
    if (item.notBefore > item.enqueuedAt) this.#cover("enqueued_with_delay");
    else if (item.notBefore > 0) this.#cover("enqueued_with_delay_that_is_over");
    this.#termOf.set(item, this.#model.term);
  }

  #leased(item: NaiveItem, { durationMs }: EventOf<"leased">): void {
    if (item.notBefore > item.enqueuedAt) {
      this.#cover(item.attempt === 1 ? "granted_behind_delay" : "granted_behind_retry_delay");
      if ((this.#termOf.get(item) ?? 0) < this.#model.term) this.#cover("granted_behind_delay_by_another_leader");
    }
    if (durationMs === item.leaseDurationMs) this.#cover("granted_for_own_length");
    this.#outrank(item);
  }

  /** Once for each run: it looks at all items. */
  #outrank(item: NaiveItem): void {
    const seen = this.#isOutranked;
    if (seen.byPriority && seen.byAge) return;
    for (const other of this.#model.items) {
      if (other.priority === item.priority || other.status !== "pending") continue;
      const isByAge = other.priority > item.priority;
      if (seen[isByAge ? "byAge" : "byPriority"] || !this.#model.isEligible(other)) continue;
      if (!isByAge && other.sequence > item.sequence) continue;
      seen[isByAge ? "byAge" : "byPriority"] = true;
      this.#cover(isByAge ? "granted_before_higher_priority_by_age" : "granted_before_older_by_priority");
    }
  }

  #failed(item: NaiveItem, event: EventOf<"failed" | "expired">): void {
    const { type, notBefore, outcome } = event;
    const isUsedUp = item.charged >= (item.maxAttempts ?? this.#model.options?.maxAttempts ?? 0);
    if (type === "failed" && event.charged === false) this.#cover("failed_without_charge");
    if (type === "expired" && outcome === "deadLettered" && !isUsedUp) this.#cover("retry_behind_its_end");
    if (notBefore === undefined) return;
    this.#cover(`${type}_with_delay`);
    this.#cover(`delayed_by_retry_${item.retry?.kind ?? "of_shard"}`);
    this.#termOf.set(item, this.#model.term);
  }

  #lapsed(item: NaiveItem): void {
    this.#cover("lapsed");
    if (this.#model.isPaused) this.#cover("lapsed_while_paused");
    if (item.halts) this.#cover("lapsed_and_halts");
    if (item.attempt > 0) this.#cover("lapsed_behind_an_attempt");
    if ((this.#termOf.get(item) ?? 0) < this.#model.term) this.#cover("lapsed_under_another_leader");
    const isBusy = (other: NaiveItem) => other.status === "leased" && other.key === item.key;
    if (item.exclusivity === "resource" && this.#model.items.some(isBusy)) this.#cover("lapsed_behind_its_resource");
  }
}
