/** Packs the fixed parts of items that wait for long in a deep queue. Where they stand is no part of the state: nothing reads differently by it. */
import type { Item } from "./item.ts";
import type { ItemTable } from "./item-table.ts";
import { PACK_FROM, PACK_ITEMS_MIN, PACK_SPAN, PACK_SPANS_AT_ONCE } from "./limits.ts";
import { isPackable, PackedParts } from "./packed-parts.ts";
import type { SequenceIndex } from "./sequence-index.ts";

export class PartPacker {
  /** How many items there must be; a test needs fewer. */
  from = PACK_FROM;
  private readonly items: ItemTable<Item>;
  private readonly unfinished: SequenceIndex<Item>;
  /** The span of sequences in which items come now: most items end while theirs still is. */
  private last = -1;
  /** Spans below this one were packed as far as they could be. */
  private next = 0;

  constructor(items: ItemTable<Item>, unfinished: SequenceIndex<Item>) {
    this.items = items;
    this.unfinished = unfinished;
  }

  /** Told of each new item, in order of their sequence. */
  admit({ sequence }: Item): void {
    const span = Math.floor(sequence / PACK_SPAN);
    if (span === this.last) return;
    this.last = span;
    // A queue that is not deep costs no time for this.
    if (this.items.size < this.from) return;
    for (let count = 0; count < PACK_SPANS_AT_ONCE && this.packNext(); count += 1);
  }

  /** Gives an item its part as strings, because it is leased or ends. When few are left in its pack, they get theirs too: it would be kept for them. */
  open(item: Item): void {
    const { part } = item;
    if (!(part instanceof PackedParts)) return;
    item.part = part.partOf(item.sequence);
    part.left -= 1;
    // Where items go in the order of their enqueue, these are the next.
    if (part.left * 4 > part.count) return;
    for (const other of this.within(Math.floor(item.sequence / PACK_SPAN)))
      if (other.part === part) other.part = part.partOf(other.sequence);
    part.left = 0;
  }

  /** Packs the oldest span that has not been; one more than come anew are, for the queue was not deep when its first items came. */
  private packNext(): boolean {
    const oldest = this.unfinished.after(this.next * PACK_SPAN - 1).next();
    if (oldest.done === true) return false;
    const span = Math.floor(oldest.value.sequence / PACK_SPAN);
    if (span >= this.last) return false;
    this.next = span + 1;
    this.pack(span);
    return true;
  }

  private pack(span: number): void {
    const packed = this.within(span).filter(({ status, part }) => status === "pending" && isPackable(part));
    if (packed.length < PACK_ITEMS_MIN) return;
    const parts = new PackedParts(packed);
    for (const item of packed) item.part = parts;
  }

  private within(span: number): Item[] {
    const items: Item[] = [];
    for (let sequence = span * PACK_SPAN; sequence < (span + 1) * PACK_SPAN; sequence += 1) {
      const item = this.items.at(sequence);
      if (item !== undefined) items.push(item);
    }
    return items;
  }
}
