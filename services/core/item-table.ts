/**
 * Finds what an item id names. An id is a sequence in base 36, so no text is hashed: ids that were made together share a page, and are found
 * together when they are leased and completed.
 */
import assert from "node:assert/strict";
import { TOKEN_EPOCH_STEP } from "../../contracts/limits.ts";
import { STRIPES } from "./limits.ts";

/** Entries in one page. Few, for where items are rare among other events a page holds one of them. A power of two. */
const PAGE_LENGTH = 32;
/** Longer ids are above every token. Characters. */
const ID_LENGTH_MAX = 11;

interface Identified {
  readonly itemId: string;
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
    const sequence = sequenceOf(itemId);
    if (sequence < 0) return undefined;
    const entry = this.pageOf(sequence)?.entries[sequence % PAGE_LENGTH];
    // An id of another epoch has the same sequence.
    return entry?.itemId === itemId ? entry : undefined;
  }

  /** Takes the place of what had the same sequence. */
  set(itemId: string, entry: Entry): void {
    const sequence = sequenceOf(itemId);
    if (sequence < 0) assert.fail(`${itemId} is no item id`);
    const page = this.pageOf(sequence) ?? this.newPage(sequence);
    const slot = sequence % PAGE_LENGTH;
    if (page.entries[slot] === undefined) {
      page.count += 1;
      this.count += 1;
    }
    page.entries[slot] = entry;
  }

  delete(itemId: string): boolean {
    if (this.get(itemId) === undefined) return false;
    const sequence = sequenceOf(itemId);
    const page = this.pageOf(sequence) as Page<Entry>;
    page.entries[sequence % PAGE_LENGTH] = undefined;
    page.count -= 1;
    this.count -= 1;
    if (page.count > 0) return true;
    this.stripeOf(this.lastNumber).delete(this.lastNumber);
    this.lastPage = undefined;
    return true;
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

/** The event sequence in an id; -1 when the text is no id. */
function sequenceOf(itemId: string): number {
  const token = tokenOfItemId(itemId);
  return token < TOKEN_EPOCH_STEP ? token : token % TOKEN_EPOCH_STEP;
}

/** The number that an id is; -1 when the text is no id. */
export function tokenOfItemId(itemId: string): number {
  const { length } = itemId;
  if (length === 0 || length > ID_LENGTH_MAX || (length > 1 && itemId.charCodeAt(0) === 0x30)) return -1;
  let token = 0;
  for (let index = 0; index < length; index += 1) {
    const code = itemId.charCodeAt(index);
    if (code >= 0x30 && code <= 0x39) token = token * 36 + (code - 0x30);
    else if (code >= 0x61 && code <= 0x7a) token = token * 36 + (code - 0x57);
    else return -1;
  }
  return token > Number.MAX_SAFE_INTEGER ? -1 : token;
}
