/** What is left of an item that ended. */
import type { Item } from "./item.ts";
import { itemIdOfNumber } from "./item-id.ts";

/** How an item ended: `completed`; `cancelled` while nobody had it; `purged`; `discarded`; or cancelled by the end of the lease that it had. */
export const ENDINGS = [
  "completed",
  "cancelled",
  "purged",
  "failed",
  "expired",
  "released",
  "discarded",
  "drained",
  "evicted",
] as const;
export type Ending = (typeof ENDINGS)[number];

/** What is remembered of an ended item, so that repeats of its requests are recognised. */
export class EndedRecord {
  /** The number that the item's id is. */
  readonly number: number;
  /** Who enqueued it, under which id, with which contents (16 hex digits). */
  readonly principal: string;
  readonly requestId: string | undefined;
  readonly digest: string | undefined;
  /** Who ended it, with which lease (0: none) and contents (16 hex digits, or none). */
  readonly token: number;
  readonly settledBy: string;
  readonly settleDigest: string;
  /** Event sequence of its end. */
  readonly endedSequence: number;
  readonly ending: Ending;
  /** What its completion left; undefined when it left nothing, or when that was forgotten. */
  readonly result: string | undefined;

  constructor(
    item: Pick<Item, "number" | "principal" | "requestId" | "digest">,
    token: number,
    settledBy: string,
    settleDigest: string,
    endedSequence: number,
    ending: Ending,
    result: string | undefined,
  ) {
    this.number = item.number;
    this.principal = item.principal;
    this.requestId = item.requestId;
    this.digest = item.digest;
    this.token = token;
    this.settledBy = settledBy;
    this.settleDigest = settleDigest;
    this.endedSequence = endedSequence;
    this.ending = ending;
    this.result = result;
  }

  get itemId(): string {
    return itemIdOfNumber(this.number);
  }
}
