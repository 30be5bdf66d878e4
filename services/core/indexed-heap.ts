/** A binary min-heap whose entries know their place in it, so that any of them is removed in O(log n) without a search. */
import assert from "node:assert/strict";

export interface HeapEntry {
  /** What the heap orders by; changed only while the entry is outside, or followed by `moved`. */
  rank: number;
  /** Place of the entry in its heap. */
  slot: number;
}

/** Invariant: entries[i].slot === i, and no entry has a lower rank than its parent. */
export class IndexedHeap<Entry extends HeapEntry> {
  readonly entries: Entry[] = [];
  /** Entries written to a place so far: what the flat-cost test counts. */
  moves = 0;

  get size(): number {
    return this.entries.length;
  }

  /** The entry of the lowest rank. */
  top(): Entry | undefined {
    return this.entries[0];
  }

  push(entry: Entry): void {
    this.entries.push(entry);
    this.siftUp(entry, this.entries.length - 1);
  }

  remove(entry: Entry): void {
    const entries = this.entries;
    const slot = entry.slot;
    assert(entries[slot] === entry, "the entry is not in this heap");
    const last = entries.pop() as Entry;
    entry.slot = -1;
    if (last !== entry) this.place(last, slot);
  }

  /** Restores the order after the rank of an entry changed. */
  moved(entry: Entry): void {
    this.place(entry, entry.slot);
  }

  clear(): void {
    this.entries.length = 0;
  }

  private place(entry: Entry, slot: number): void {
    const parent = this.entries[(slot - 1) >> 1];
    if (slot > 0 && parent !== undefined && parent.rank > entry.rank) this.siftUp(entry, slot);
    else this.siftDown(entry, slot);
  }

  private siftUp(entry: Entry, from: number): void {
    const entries = this.entries;
    const rank = entry.rank;
    let slot = from;
    while (slot > 0) {
      const above = (slot - 1) >> 1;
      const parent = entries[above] as Entry;
      if (parent.rank <= rank) break;
      entries[slot] = parent;
      parent.slot = slot;
      this.moves += 1;
      slot = above;
    }
    entries[slot] = entry;
    entry.slot = slot;
    this.moves += 1;
  }

  private siftDown(entry: Entry, from: number): void {
    const entries = this.entries;
    const rank = entry.rank;
    const length = entries.length;
    let slot = from;
    for (;;) {
      let below = 2 * slot + 1;
      if (below >= length) break;
      let child = entries[below] as Entry;
      if (below + 1 < length) {
        const right = entries[below + 1] as Entry;
        if (right.rank < child.rank) {
          child = right;
          below += 1;
        }
      }
      if (child.rank >= rank) break;
      entries[slot] = child;
      child.slot = slot;
      this.moves += 1;
      slot = below;
    }
    entries[slot] = entry;
    entry.slot = slot;
    this.moves += 1;
  }
}
