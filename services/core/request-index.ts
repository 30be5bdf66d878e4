/** Finds what a request id of a principal made. Chains principals that use the same id, so that no key is put together. */
import assert from "node:assert/strict";
import { StripedMap } from "./striped-map.ts";

export interface Requested<Entry> {
  readonly requestId: string | undefined;
  readonly principal: string;
  /** The next entry with the same request id, of another principal. */
  sameId: Entry | undefined;
}

/** Invariant: at most one entry per principal and request id; an entry without a request id is not in it. */
export class RequestIndex<Entry extends Requested<Entry>> {
  private readonly first = new StripedMap<Entry>();
  private count = 0;

  get size(): number {
    return this.count;
  }

  find(principal: string, requestId: string): Entry | undefined {
    let entry = this.first.get(requestId);
    while (entry !== undefined && entry.principal !== principal) entry = entry.sameId;
    return entry;
  }

  add(entry: Entry): void {
    if (entry.requestId === undefined) return;
    const head = this.first.get(entry.requestId);
    for (let other = head; other !== undefined; other = other.sameId)
      assert(other.principal !== entry.principal, "a request id has one effect");
    entry.sameId = head;
    this.first.set(entry.requestId, entry);
    this.count += 1;
  }

  /** Puts one entry in the place of another with the same principal and request id. */
  replace(before: Entry, entry: Entry): void {
    if (before.requestId === undefined) return;
    const head = this.first.get(before.requestId);
    assert(head !== undefined, "the entry is not in the index");
    if (head === before) this.first.set(before.requestId, entry);
    else this.entryBefore(head, before).sameId = entry;
    entry.sameId = before.sameId;
    before.sameId = undefined;
  }

  remove(entry: Entry): void {
    if (entry.requestId === undefined) return;
    this.count -= 1;
    const head = this.first.get(entry.requestId);
    assert(head !== undefined, "the entry is not in the index");
    if (head === entry) {
      if (entry.sameId === undefined) this.first.delete(entry.requestId);
      else this.first.set(entry.requestId, entry.sameId);
    } else this.entryBefore(head, entry).sameId = entry.sameId;
    entry.sameId = undefined;
  }

  *values(): Generator<Entry> {
    for (const head of this.first.values()) {
      for (let entry: Entry | undefined = head; entry !== undefined; entry = entry.sameId) yield entry;
    }
  }

  private entryBefore(head: Entry, entry: Entry): Entry {
    let before: Entry = head;
    while (before.sameId !== undefined && before.sameId !== entry) before = before.sameId;
    assert(before.sameId === entry, "the entry is not in the index");
    return before;
  }
}
