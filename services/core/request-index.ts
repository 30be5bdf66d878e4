/**
 * Finds what a request id of a principal made. Chains principals that use the same id, so that no key is put together. The entries of one
 * request have ids that differ only in the number at their end: they share one key, for a million keys cost more than what they lead to.
 */
import assert from "node:assert/strict";
import { numberFrom, numberStart } from "./request-id.ts";
import { RecallingMap } from "./striped-map.ts";

export interface Requested<Entry> {
  readonly requestId: string | undefined;
  readonly principal: string;
  /** The next entry with the same request id, of another principal. */
  sameId: Entry | undefined;
}

/** The entries of ids that are equal up to their number. */
class Family<Entry> {
  readonly prefix: string;
  /** By number, as far as they came one after the other. */
  private readonly entries: (Entry | undefined)[] = [];
  /** By number, those that did not. */
  private others: Map<number, Entry> | undefined = undefined;
  private count = 0;

  constructor(prefix: string) {
    this.prefix = prefix;
  }

  get isEmpty(): boolean {
    return this.count === 0;
  }

  get(number: number): Entry | undefined {
    return this.entries[number] ?? this.others?.get(number);
  }

  set(number: number, entry: Entry): void {
    if (this.get(number) === undefined) this.count += 1;
    if (number < this.entries.length) this.entries[number] = entry;
    else if (number === this.entries.length && this.others === undefined) this.entries.push(entry);
    else {
      this.others ??= new Map();
      this.others.set(number, entry);
    }
  }

  delete(number: number): void {
    if (number < this.entries.length) this.entries[number] = undefined;
    else this.others?.delete(number);
    this.count -= 1;
  }

  *values(): Generator<Entry> {
    for (const entry of this.entries) if (entry !== undefined) yield entry;
    if (this.others !== undefined) yield* this.others.values();
  }
}

/** Invariant: at most one entry per principal and request id; an entry without a request id is not in it. */
export class RequestIndex<Entry extends Requested<Entry>> {
  /** By the whole id, of ids that do not end in a number. */
  private readonly whole = new RecallingMap<Entry>();
  /** By the id up to its number. A request of one entry needs no family. */
  private readonly families = new RecallingMap<Family<Entry> | Entry>();
  /** The family that was looked for last: what happens to the entries of a request happens one after the other. */
  private last: Family<Entry> | undefined = undefined;
  /** What `seek` found; scratch space. */
  private start = 0;
  private number = 0;
  private place: Family<Entry> | Entry | undefined = undefined;
  private count = 0;

  get size(): number {
    return this.count;
  }

  find(principal: string, requestId: string): Entry | undefined {
    let entry = this.seek(requestId);
    while (entry !== undefined && entry.principal !== principal) entry = entry.sameId;
    return entry;
  }

  /** The entry of an id that no two principals have. */
  first(requestId: string): Entry | undefined {
    return this.seek(requestId);
  }

  add(entry: Entry): void {
    assert(this.addNew(entry), "a request id has one effect");
  }

  /** The same; false, and nothing is changed, when the principal has used the id before. */
  addNew(entry: Entry): boolean {
    if (entry.requestId === undefined) return true;
    const head = this.seek(entry.requestId);
    for (let other = head; other !== undefined; other = other.sameId)
      if (other.principal === entry.principal) return false;
    entry.sameId = head;
    this.put(entry.requestId, entry);
    this.count += 1;
    return true;
  }

  remove(entry: Entry): void {
    if (entry.requestId === undefined) return;
    this.count -= 1;
    const head = this.seek(entry.requestId);
    assert(head !== undefined, "the entry is not in the index");
    if (head !== entry) entryBefore(head, entry).sameId = entry.sameId;
    else if (entry.sameId !== undefined) this.put(entry.requestId, entry.sameId);
    else this.drop(entry.requestId);
    entry.sameId = undefined;
  }

  *values(): Generator<Entry> {
    for (const head of this.heads())
      for (let entry: Entry | undefined = head; entry !== undefined; entry = entry.sameId) yield entry;
  }

  private *heads(): Generator<Entry> {
    yield* this.whole.values();
    for (const place of this.families.values()) {
      if (place instanceof Family) yield* place.values();
      else yield place;
    }
  }

  /** The first entry with an id. Leaves where it stands, or would stand, in `start`, `number` and `place`. */
  private seek(requestId: string): Entry | undefined {
    const start = numberStart(requestId);
    this.start = start;
    if (start === requestId.length) return this.whole.get(requestId);
    this.number = numberFrom(requestId, start);
    const { last } = this;
    if (last !== undefined && last.prefix.length === start && requestId.startsWith(last.prefix)) {
      this.place = last;
      return last.get(this.number);
    }
    const place = this.families.get(requestId.slice(0, start));
    this.place = place;
    if (!(place instanceof Family)) return place?.requestId === requestId ? place : undefined;
    this.last = place;
    return place.get(this.number);
  }

  /** Makes an entry the first with the id that was sought last. */
  private put(requestId: string, entry: Entry): void {
    const { start, place } = this;
    if (start === requestId.length) this.whole.set(requestId, entry);
    else if (place instanceof Family) place.set(this.number, entry);
    else if (place?.requestId === undefined || place.requestId === requestId)
      this.families.set(requestId.slice(0, start), entry);
    else {
      const family = new Family<Entry>(requestId.slice(0, start));
      family.set(numberFrom(place.requestId, start), place);
      family.set(this.number, entry);
      this.families.set(family.prefix, family);
      this.last = family;
    }
  }

  /** Forgets the id that was sought last. */
  private drop(requestId: string): void {
    const { start, place } = this;
    if (start === requestId.length) {
      this.whole.delete(requestId);
      return;
    }
    if (place instanceof Family) {
      place.delete(this.number);
      if (!place.isEmpty) return;
      this.last = undefined;
    }
    this.families.delete(requestId.slice(0, start));
  }
}

function entryBefore<Entry extends Requested<Entry>>(head: Entry, entry: Entry): Entry {
  let before: Entry = head;
  while (before.sameId !== undefined && before.sameId !== entry) before = before.sameId;
  assert(before.sameId === entry, "the entry is not in the index");
  return before;
}
