/** The list of the items of one partition: oldest first, but for one that is leased. */
import type { Item } from "./item.ts";
import type { KeyQueue } from "./key-queue.ts";

/** Takes an item out of the list of its partition. */
export function unlink(key: KeyQueue, item: Item): void {
  const { nextOfKey: next, previousOfKey: previous } = item;
  if (previous === undefined) key.head = next;
  else previous.nextOfKey = next;
  if (next === undefined) key.tail = previous;
  else next.previousOfKey = previous;
  item.nextOfKey = undefined;
  item.previousOfKey = undefined;
  item.key = undefined;
}

/** Puts an item into the list of its partition: a leased one first, others by their sequence; answers whom it comes behind. */
export function link(key: KeyQueue, item: Item): Item | undefined {
  let before: Item | undefined;
  let after = key.head;
  while (
    after !== undefined &&
    item.status !== "leased" &&
    (after.status === "leased" || after.sequence < item.sequence)
  ) {
    before = after;
    after = after.nextOfKey;
  }
  item.previousOfKey = before;
  item.nextOfKey = after;
  if (before === undefined) key.head = item;
  else before.nextOfKey = item;
  if (after === undefined) key.tail = item;
  else after.previousOfKey = item;
  return before;
}
