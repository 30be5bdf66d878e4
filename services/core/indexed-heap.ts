/** A binary min-heap whose entries know their place in it, so that any of them is removed in O(log n) without a search. */
import assert from "node:assert/strict";

export interface HeapEntry {
  /** What the heap orders by; changed only while the entry is outside, or followed by `moved`. */
  readonly rank: number;
  /** What it orders equal ranks by; changed only together with `rank`. */
  readonly tie: number;
  /** What it orders equal ranks with equal ties by; only where there are such. */
  readonly last?: number;
  /** Place of the entry in its heap. */
  slot: number;
}

/** Whether one rank comes before another. */
export const isBefore = (rank: number, tie: number, otherRank: number, otherTie: number): boolean =>
  rank < otherRank || (rank === otherRank && tie < otherTie);

const isBeforeEqual = (entry: HeapEntry, other: HeapEntry | undefined): boolean =>
  (entry.last ?? 0) < (other?.last ?? 0);

/** Invariant: entries[i].slot === i, ranks[i] === entries[i].rank, ties[i] === entries[i].tie, and no entry comes before its parent. */
export class IndexedHeap<Entry extends HeapEntry> {
  readonly entries: Entry[] = [];
  /** Beside the entries, so that a search for the place of one reads no others: they lie anywhere in memory. */
  private readonly ranks: number[] = [];
  private readonly ties: number[] = [];
  /** Entries written to a place so far: what the flat-cost test counts. */
  moves = 0;

  get size(): number {
    return this.entries.length;
  }

  /** The entry of the lowest rank. */
  top(): Entry | undefined {
    return this.entries[0];
  }

  /** `rank`: in this heap; its own by default. */
  push(entry: Entry, rank: number = entry.rank): void {
    this.entries.push(entry);
    this.ranks.push(rank);
    this.ties.push(entry.tie);
    this.siftUp(entry, rank, entry.tie, this.entries.length - 1);
  }

  remove(entry: Entry): void {
    const { entries } = this;
    const { slot } = entry;
    assert(entries[slot] === entry, "the entry is not in this heap");
    const last = entries.pop() as Entry;
    const rank = this.ranks.pop() as number;
    const tie = this.ties.pop() as number;
    entry.slot = -1;
    if (last !== entry) this.place(last, rank, tie, slot);
  }

  /** Restores the order after the rank of an entry changed. */
  moved(entry: Entry): void {
    this.place(entry, entry.rank, entry.tie, entry.slot);
  }

  /** What the entry at a place is ordered by. */
  rankAt(slot: number): number {
    return this.ranks[slot] as number;
  }

  clear(): void {
    this.entries.length = 0;
    this.ranks.length = 0;
    this.ties.length = 0;
  }

  private place(entry: Entry, rank: number, tie: number, slot: number): void {
    const above = (slot - 1) >> 1;
    const isUp =
      slot > 0 &&
      (isBefore(rank, tie, this.ranks[above] as number, this.ties[above] as number) ||
        (rank === this.ranks[above] && tie === this.ties[above] && isBeforeEqual(entry, this.entries[above])));
    if (isUp) this.siftUp(entry, rank, tie, slot);
    else this.siftDown(entry, rank, tie, slot);
  }

  private siftUp(entry: Entry, rank: number, tie: number, from: number): void {
    const { entries, ranks } = this;
    let slot = from;
    while (slot > 0) {
      const above = (slot - 1) >> 1;
      const parentRank = ranks[above] as number;
      const parentTie = this.ties[above] as number;
      const isFirst = isBefore(rank, tie, parentRank, parentTie);
      if (!isFirst && !(rank === parentRank && tie === parentTie && isBeforeEqual(entry, entries[above]))) break;
      this.put(slot, entries[above] as Entry, parentRank, parentTie);
      slot = above;
    }
    this.put(slot, entry, rank, tie);
  }

  private siftDown(entry: Entry, rank: number, tie: number, from: number): void {
    const { entries, ranks, ties } = this;
    const { length } = entries;
    let slot = from;
    for (;;) {
      let below = 2 * slot + 1;
      if (below >= length) break;
      let childRank = ranks[below] as number;
      let childTie = ties[below] as number;
      if (below + 1 < length) {
        const rightRank = ranks[below + 1] as number;
        const rightTie = ties[below + 1] as number;
        const isEqual = rightRank === childRank && rightTie === childTie;
        if (
          isBefore(rightRank, rightTie, childRank, childTie) ||
          (isEqual && isBeforeEqual(entries[below + 1] as Entry, entries[below]))
        ) {
          childRank = rightRank;
          childTie = rightTie;
          below += 1;
        }
      }
      const isFirst = isBefore(childRank, childTie, rank, tie);
      if (!isFirst && !(childRank === rank && childTie === tie && isBeforeEqual(entries[below] as Entry, entry))) break;
      this.put(slot, entries[below] as Entry, childRank, childTie);
      slot = below;
    }
    this.put(slot, entry, rank, tie);
  }

  private put(slot: number, entry: Entry, rank: number, tie: number): void {
    this.entries[slot] = entry;
    this.ranks[slot] = rank;
    this.ties[slot] = tie;
    entry.slot = slot;
    this.moves += 1;
  }
}
