/**
 * Finds what an item id names. An id is a sequence in base 36, so no text is hashed: ids that were made together share a page, and are found
 * together when they are leased and completed.
 */
import { numberOfItemId, sequenceOfNumber } from "./item-id.ts";
import { STRIPES } from "./limits.ts";

/** Entries in one page. Few, for where items are rare among other events a page holds one of them. A power of two. */
const PAGE_LENGTH = 32;

interface Identified {
  /** The number that its id is. */
  readonly number: number;
}

interface Page<Entry> {
  readonly entries: (Entry | undefined)[];
  count: number;
}

/** Invariant: one entry per sequence, whatever the epoch of its id; no page is empty. */
export class ItemTable<Entry extends Identified> {
  /** Many small maps: a large one stalls when it grows. */
  private readonly stripes = Array.from({ length: STRIPES }, () => new Map<number, Page<Entry>>());
  private lastNumber = -1;
  private lastPage: Page<Entry> | undefined = undefined;
  private count = 0;

  get size(): number {
    return this.count;
  }

  get(itemId: string): Entry | undefined {
    const number = numberOfItemId(itemId);
    return number < 0 ? undefined : this.find(number);
  }

  /** What has an id of this sequence, whatever its epoch. */
  at(sequence: number): Entry | undefined {
    return this.pageOf(sequence)?.entries[sequence % PAGE_LENGTH];
  }

  /** Takes the place of what had the same sequence. */
  set(entry: Entry): void {
    const sequence = sequenceOfNumber(entry.number);
    const page = this.pageOf(sequence) ?? this.newPage(sequence);
    const slot = sequence % PAGE_LENGTH;
    if (page.entries[slot] === undefined) {
      page.count += 1;
      this.count += 1;
    }
    page.entries[slot] = entry;
  }

  /** False when the entry was not there. */
  delete(entry: Identified): boolean {
    const { number } = entry;
    if (this.find(number) === undefined) return false;
    const sequence = sequenceOfNumber(number);
    const page = this.pageOf(sequence) as Page<Entry>;
    page.entries[sequence % PAGE_LENGTH] = undefined;
    page.count -= 1;
    this.count -= 1;
    if (page.count > 0) return true;
    this.stripeOf(this.lastNumber).delete(this.lastNumber);
    this.lastPage = undefined;
    return true;
  }

  private find(number: number): Entry | undefined {
    const sequence = sequenceOfNumber(number);
    const entry = this.pageOf(sequence)?.entries[sequence % PAGE_LENGTH];
    // An id of another epoch has the same sequence.
    return entry?.number === number ? entry : undefined;
  }

  *values(): Generator<Entry> {
    for (const pages of this.stripes)
      for (const { entries } of pages.values()) for (const entry of entries) if (entry !== undefined) yield entry;
  }

  /** The page of a sequence, which is then the last one. */
  private pageOf(sequence: number): Page<Entry> | undefined {
    const number = Math.floor(sequence / PAGE_LENGTH);
    if (number === this.lastNumber) return this.lastPage;
    this.lastNumber = number;
    this.lastPage = this.stripeOf(number).get(number);
    return this.lastPage;
  }

  private newPage(sequence: number): Page<Entry> {
    const number = Math.floor(sequence / PAGE_LENGTH);
    const page = { entries: new Array<Entry | undefined>(PAGE_LENGTH).fill(undefined), count: 0 };
    this.stripeOf(number).set(number, page);
    this.lastNumber = number;
    this.lastPage = page;
    return page;
  }

  private stripeOf(number: number): Map<number, Page<Entry>> {
    return this.stripes[number % STRIPES] as Map<number, Page<Entry>>;
  }
}
