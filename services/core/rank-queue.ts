/** A priority queue for entries that come nearly in the order of their rank: they wait in line, and only who comes late goes through a heap. */
import assert from "node:assert/strict";
import { type HeapEntry, IndexedHeap, isBefore } from "./indexed-heap.ts";

/** Places in front that are gone before the line is moved up. */
const GONE_MIN = 1_024;

/**
 * Invariant: ranks and ties rise along the line, whose first place from `from` on is taken; an entry in line has the slot `-2 - its place`, one of
 * the late its slot in their heap.
 */
export class RankQueue<Entry extends HeapEntry> {
  private readonly line: (Entry | undefined)[] = [];
  /** Place of the first of the line, and how many places were dropped before `line[0]`. */
  private from = 0;
  private dropped = 0;
  private inLine = 0;
  private lastRank = Number.NEGATIVE_INFINITY;
  private lastTie = Number.NEGATIVE_INFINITY;
  private lineMoves = 0;
  /** Those whose rank was below that of the last in line when they came. */
  readonly late = new IndexedHeap<Entry>();

  get size(): number {
    return this.inLine + this.late.size;
  }

  /** Entries written to a place so far: what the flat-cost test counts. */
  get moves(): number {
    return this.lineMoves + this.late.moves;
  }

  /** The entry of the lowest rank. */
  top(): Entry | undefined {
    const first = this.line[this.from - this.dropped];
    const late = this.late.top();
    if (first === undefined || late === undefined) return first ?? late;
    return isBefore(late.rank, late.tie, first.rank, first.tie) ? late : first;
  }

  push(entry: Entry): void {
    if (isBefore(entry.rank, entry.tie, this.lastRank, this.lastTie)) {
      this.late.push(entry);
      return;
    }
    this.lastRank = entry.rank;
    this.lastTie = entry.tie;
    entry.slot = -2 - (this.dropped + this.line.length);
    this.line.push(entry);
    this.inLine += 1;
    this.lineMoves += 1;
  }

  remove(entry: Entry): void {
    if (entry.slot >= 0) {
      this.late.remove(entry);
      return;
    }
    const index = -2 - entry.slot - this.dropped;
    assert(this.line[index] === entry, "the entry is not in this queue");
    entry.slot = -1;
    this.line[index] = undefined;
    this.inLine -= 1;
    this.lineMoves += 1;
    this.moveUp();
  }

  /** All entries, in no order. */
  *values(): Generator<Entry> {
    for (const entry of this.line) if (entry !== undefined) yield entry;
    yield* this.late.entries;
  }

  /** Passes places that are empty, and drops them when they are many: each is passed and dropped once. */
  private moveUp(): void {
    const { line } = this;
    let first = this.from - this.dropped;
    while (first < line.length && line[first] === undefined) first += 1;
    if (first === line.length) {
      this.dropped += first;
      line.length = 0;
      first = 0;
      this.lastRank = Number.NEGATIVE_INFINITY;
    } else if (first >= GONE_MIN && first * 2 >= line.length) {
      line.splice(0, first);
      this.dropped += first;
      first = 0;
    }
    this.from = this.dropped + first;
  }
}
