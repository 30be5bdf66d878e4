/** What many items do without, and have in records of its own. */
import type { DeadLetter, Item, ItemExtra, LastErrorRecord, LeaseEnd } from "./item.ts";
import type { KeyQueue } from "./key-queue.ts";

/** What an item has of a key: the partition that it names, its queue, and its neighbours there; and who else used its request id. Many items have nothing of this. */
export class Standing {
  readonly partitionKey: string | undefined;
  key: KeyQueue | undefined = undefined;
  nextOfKey: Item | undefined = undefined;
  previousOfKey: Item | undefined = undefined;
  /** The next item with the same request id, of another principal. */
  sameId: Item | undefined = undefined;

  constructor(partitionKey: string | undefined) {
    this.partitionKey = partitionKey;
  }
}

/** What nearly all items do without; what is no number is replaced as a whole. */
export interface ItemPast {
  /** Attempts that count towards the maximum. */
  charged: number;
  delayedTo: number;
  lastEnd: LeaseEnd | undefined;
  lastError: LastErrorRecord | undefined;
  deadLetter: DeadLetter | undefined;
  extra: ItemExtra | undefined;
  attributes: Readonly<Record<string, string>> | undefined;
}

export const NO_PAST: ItemPast = {
  ...{ charged: 0, delayedTo: 0, attributes: undefined },
  ...{ lastEnd: undefined, lastError: undefined, deadLetter: undefined, extra: undefined },
};
