/** Judges what clients are told of cancellations, dead letters and unique keys. */
import { isEnded, isUnfinished, type NaiveItem, statusAt, statusesSince } from "../../chaos/checker/naive-item.ts";
import type { EnqueueItem, RequestOf } from "../../contracts/commands.ts";
import type { Answer, Entry, Must } from "./answer-oracle.ts";
import type { LogOracle } from "./log-oracle.ts";
import type { Attempt, Operation } from "./sim-client.ts";

export class EndsAnswers {
  readonly #log: LogOracle;
  readonly #cover: (point: string) => void;

  constructor(log: LogOracle, cover: (point: string) => void) {
    this.#log = log;
    this.#cover = cover;
  }

  cancelled({ body, principal }: Operation, { sentMs }: Attempt, { results = [], sequence }: Answer, must: Must): void {
    const { itemIds } = body as RequestOf<"cancel">;
    const since = this.#log.sequenceAt(sentMs);
    for (const [index, { error, outcome, duplicate }] of results.entries()) {
      const itemId = itemIds[index] as string;
      const item = this.#log.model.byId.get(itemId);
      if (error !== undefined) {
        if (error.code === "conflict")
          must(isEnded(item?.status) && item?.status !== "cancelled", "F7", `${itemId} is ${item?.status}`);
        else this.#unknown(error, itemId, must);
        continue;
      }
      const deed = outcome === "requested" ? item?.cancel : item?.endedBy;
      const isThere = deed !== undefined && deed.sequence <= sequence;
      if (outcome === "requested") must(isThere, "L7", `nobody was asked to cancel ${itemId}`);
      else must(item !== undefined && statusAt(item, sequence) === "cancelled", "L7", `${itemId} is ${item?.status}`);
      if (duplicate === false) {
        const isOwn = isThere && deed.principal === principal && deed.sequence > since;
        must(isOwn, "R2", `the cancellation of ${itemId} is of ${deed?.principal} at ${deed?.sequence}`);
      }
    }
  }

  redriven({ body, principal }: Operation, { sentMs }: Attempt, { results = [], sequence }: Answer, must: Must): void {
    const { itemIds, everyMs = 0 } = body as RequestOf<"redrive">;
    const since = this.#log.sequenceAt(sentMs);
    let count = 0;
    for (const [index, { error, duplicate }] of results.entries()) {
      const itemId = itemIds[index] as string;
      const item = this.#log.model.byId.get(itemId);
      if (error !== undefined) {
        if (error.code !== "conflict" || !this.#keyWasTaken(item, error, since))
          this.#noLetter(error, item, itemId, since, must);
        continue;
      }
      const deed = item?.redrives.findLast((each) => each.sequence <= sequence);
      must(deed !== undefined, "L7", `item ${itemId} was not redriven`);
      if (duplicate === true) continue;
      const isOwn = deed?.principal === principal && deed.sequence > since;
      must(isOwn, "R2", `item ${itemId} was redriven by ${deed?.principal} at ${deed?.sequence}`);
      must(deed?.delayMs === count * everyMs, "Q6", `item ${itemId} is held back for ${deed?.delayMs}`);
      count += 1;
    }
  }

  purged({ body, principal }: Operation, { sentMs }: Attempt, { results = [], sequence }: Answer, must: Must): void {
    const { itemIds } = body as RequestOf<"purge">;
    const since = this.#log.sequenceAt(sentMs);
    for (const [index, { error, duplicate }] of results.entries()) {
      const itemId = itemIds[index] as string;
      const item = this.#log.model.byId.get(itemId);
      if (error !== undefined) {
        this.#noLetter(error, item, itemId, since, must);
        continue;
      }
      must(item !== undefined && statusAt(item, sequence) === "purged", "L7", `item ${itemId} is ${item?.status}`);
      const isOwn = item?.endedBy?.principal === principal && item.endedBy.sequence > since;
      must(duplicate === true || isOwn, "R2", `item ${itemId} was purged by ${item?.endedBy?.principal}`);
    }
  }

  /** An enqueue was answered with an item of another request: that one had its unique key, there and while it was asked. */
  metKey(
    entry: Entry,
    item: NaiveItem,
    asked: EnqueueItem | undefined,
    sent: Attempt,
    sequence: number,
    must: Must,
  ): void {
    const { itemId, uniqueKey } = item;
    must(entry["duplicate"] === true && asked?.uniqueKey !== undefined, "L7", `${itemId} is another request's item`);
    must(uniqueKey === asked?.uniqueKey, "R2", `item ${itemId} has the unique key ${uniqueKey}`);
    const status = statusAt(item, sequence);
    must(isUnfinished(status), "F7", `item ${itemId} with its unique key is ${status} at ${sequence}`);
    const statuses = statusesSince(item, this.#log.sequenceAt(sent.sentMs));
    must(statuses.some(isUnfinished), "F7", `item ${itemId} with its unique key was ${statuses.join()}`);
    this.#cover("unique_key_met");
  }

  /** What a beat was told of a cancellation, and what it told of the work. */
  beaten(item: NaiveItem | undefined, asked: object, entry: Entry, sequence: number, must: Must): void {
    const isAsked = (item?.cancel?.sequence ?? Number.POSITIVE_INFINITY) <= sequence;
    must((entry["cancelRequested"] === true) === isAsked, "F7", `cancelled at ${item?.cancel?.sequence}`);
    const { progress } = asked as { readonly progress?: string };
    if (progress === undefined) return;
    const isThere = item?.progress.some((told) => told.text === progress && told.sequence <= sequence) === true;
    must(isThere, "L7", `progress ${progress} is not in the log`);
    this.#cover("progress_told");
  }

  #keyWasTaken(item: NaiveItem | undefined, error: NonNullable<Entry["error"]>, since: number): boolean {
    const holder = this.#log.model.byId.get(error.details?.["itemId"] as string);
    if (holder === undefined || holder === item || holder.uniqueKey !== item?.uniqueKey) return false;
    this.#cover("redrive_refused_by_unique_key");
    return statusesSince(holder, since).some(isUnfinished);
  }

  #noLetter(
    error: NonNullable<Entry["error"]>,
    item: NaiveItem | undefined,
    itemId: string,
    since: number,
    must: Must,
  ): void {
    if (error.code !== "conflict") this.#unknown(error, itemId, must);
    else {
      const statuses = item === undefined ? [] : statusesSince(item, since);
      must(
        statuses.some((status) => status !== "deadLettered"),
        "F7",
        `item ${itemId} was ${statuses.join()}`,
      );
    }
  }

  #unknown(error: NonNullable<Entry["error"]>, itemId: string, must: Must): void {
    const status = this.#log.model.byId.get(itemId)?.status;
    if (error.code === "item_not_found") must(status === undefined || isEnded(status), "F7", `${itemId} is ${status}`);
    else must(!error.definite, "F7", `${error.code} for ${itemId}`);
  }
}
