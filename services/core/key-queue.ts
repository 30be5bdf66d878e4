/** The items of one key, apart from the table of keys: items point at it. */
import type { IndexedHeap } from "./indexed-heap.ts";
import type { Item } from "./item.ts";

/**
 * The items of one resource or partition that are not ended. Derived from the items.
 *
 * A partition keeps them in the order of their enqueue, as a linked list from `head` to `tail`; `head` may be delayed. A resource has those
 * that are not delayed: `head`, and the rest in `waiting` by their rank.
 * Invariant: only the head is in a lane or leased; a halted key has neither. A head of a resource that is not leased comes before all others.
 */
export class KeyQueue {
  readonly fenceKey: string;
  /** Of a partition whose items name one. */
  readonly partitionKey: string | undefined;
  head: Item | undefined = undefined;
  tail: Item | undefined = undefined;
  waiting: IndexedHeap<Item> | undefined = undefined;
  halted = false;

  constructor(fenceKey: string, partitionKey: string | undefined) {
    this.fenceKey = fenceKey;
    this.partitionKey = partitionKey;
  }
}
