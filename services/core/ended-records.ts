/**
 * The ended items that a shard remembers, oldest first: as bytes outside of the heap, for there may be a million of them, and whatever lives
 * long on the heap is looked at by every collection.
 */
import assert from "node:assert/strict";
import { CountedTexts } from "./counted-texts.ts";
import type { EndedRecord } from "./ended-record.ts";
import { HashSum } from "./hasher.ts";
import { numberOfItemId } from "./item-id.ts";
import { PositionTable } from "./position-table.ts";
import { CHUNK_RECORDS, RecordChunk, type RecordKeys } from "./record-chunk.ts";

/** Positions repeat after so many records: a multiple of a chunk's, and more than are kept. */
const POSITIONS = 2 ** 30;

/** Invariant: one record per item, and at most one per principal and request id; results are those of the newest that had one. */
export class EndedRecords {
  /** Count of the records that came before the oldest one. */
  first = 0;
  size = 0;
  resultCount = 0;
  /** Of the hashes of all records. */
  readonly sum = new HashSum();

  private chunks: RecordChunk[] = [];
  /** The last chunk that was used up, for the next one that is needed. */
  private spare: RecordChunk | undefined = undefined;
  private readonly principals = new CountedTexts();
  private readonly byNumber = new PositionTable();
  private readonly byRequest = new PositionTable();
  private readonly results = new Map<number, string>();
  /** Of the record that is taken in; scratch space. */
  private readonly keys: RecordKeys = { principal: 0, settledBy: 0, high: 0, low: 0, requestHash: 0 };
  /** No record before this one has a result. */
  private resultsFrom = 0;

  /** The number that follows that of the newest record. */
  get end(): number {
    return this.first + this.size;
  }

  get(itemId: string): EndedRecord | undefined {
    const number = numberOfItemId(itemId);
    const at = number < 0 ? -1 : this.find(number);
    return at === -1 ? undefined : this.at(at);
  }

  /** What a request id of a principal made. */
  made(principal: string, requestId: string): EndedRecord | undefined {
    return this.seek(requestId, principal);
  }

  /** What a request id made that no two principals have. */
  madeByAnyone(requestId: string): EndedRecord | undefined {
    return this.seek(requestId, undefined);
  }

  /** The record of this number, from `first` to before `end`. */
  at(ordinal: number): EndedRecord {
    const chunk = this.chunkOf(ordinal);
    const slot = ordinal % CHUNK_RECORDS;
    const principal = this.principals.text(chunk.principal(slot));
    const settledBy = this.principals.text(chunk.settledBy(slot));
    return chunk.read(slot, principal, settledBy, this.results.get(ordinal));
  }

  *values(): Generator<EndedRecord> {
    for (let ordinal = this.first; ordinal < this.end; ordinal += 1) yield this.at(ordinal);
  }

  /** Takes in the newest record, whose hash is given. */
  push(record: EndedRecord, high: number, low: number): void {
    const ordinal = this.end;
    const slot = ordinal % CHUNK_RECORDS;
    if (slot === 0 || this.chunks.length === 0) this.openChunk();
    const position = ordinal % POSITIONS;
    const { keys } = this;
    keys.principal = this.principals.take(record.principal);
    keys.settledBy = this.principals.take(record.settledBy);
    keys.high = high;
    keys.low = low;
    keys.requestHash = record.requestId === undefined ? 0 : hashOfText(record.requestId);
    this.size += 1;
    this.chunkOf(ordinal).write(slot, record, keys);
    this.byNumber.add(hashOfNumber(record.number), position);
    if (record.requestId !== undefined) this.byRequest.add(keys.requestHash, position);
    this.sum.add(high, low);
    if (record.result === undefined) return;
    this.results.set(ordinal, record.result);
    this.resultCount += 1;
  }

  /** Forgets the oldest record, which has no result any more. Answers the event sequence of its end. */
  shift(): number {
    assert(this.size > 0, "there are records");
    const ordinal = this.first;
    const slot = ordinal % CHUNK_RECORDS;
    const chunk = this.chunkOf(ordinal);
    assert(!chunk.hasResult(slot), "a result is forgotten before its record");
    const position = ordinal % POSITIONS;
    this.byNumber.remove(hashOfNumber(chunk.number(slot)), position);
    if (chunk.hasRequestId(slot)) this.byRequest.remove(chunk.requestHash(slot), position);
    this.principals.giveBack(chunk.principal(slot));
    this.principals.giveBack(chunk.settledBy(slot));
    this.sum.subtract(chunk.hashHigh(slot), chunk.hashLow(slot));
    this.first += 1;
    this.size -= 1;
    if (slot === CHUNK_RECORDS - 1) {
      this.chunks.shift();
      this.spare = chunk;
    }
    return chunk.endedSequence(slot);
  }

  /** The number of the oldest record that has a result; undefined when none has. */
  get oldestResult(): number | undefined {
    if (this.resultCount === 0) return undefined;
    let ordinal = Math.max(this.resultsFrom, this.first);
    while (!this.chunkOf(ordinal).hasResult(ordinal % CHUNK_RECORDS)) ordinal += 1;
    this.resultsFrom = ordinal;
    return ordinal;
  }

  /** The result of a record. */
  resultAt(ordinal: number): string | undefined {
    return this.results.get(ordinal);
  }

  /** Forgets the oldest result, that of this record. */
  dropResult(ordinal: number): void {
    assert(ordinal === this.oldestResult, "results are forgotten oldest first");
    this.chunkOf(ordinal).dropResult(ordinal % CHUNK_RECORDS);
    this.results.delete(ordinal);
    this.resultCount -= 1;
  }

  /** The record of an item; -1 when there is none. */
  private find(number: number): number {
    let position = this.byNumber.first(hashOfNumber(number));
    for (; position !== -1; position = this.byNumber.next()) {
      const ordinal = this.ordinalOf(position);
      if (this.chunkOf(ordinal).number(ordinal % CHUNK_RECORDS) === number) return ordinal;
    }
    return -1;
  }

  private seek(requestId: string, principal: string | undefined): EndedRecord | undefined {
    if (this.size === 0) return undefined;
    let position = this.byRequest.first(hashOfText(requestId));
    for (; position !== -1; position = this.byRequest.next()) {
      const ordinal = this.ordinalOf(position);
      const chunk = this.chunkOf(ordinal);
      const slot = ordinal % CHUNK_RECORDS;
      if (!chunk.isRequestId(slot, requestId)) continue;
      if (principal === undefined || this.principals.text(chunk.principal(slot)) === principal) return this.at(ordinal);
    }
    return undefined;
  }

  private ordinalOf(position: number): number {
    const ahead = position - (this.first % POSITIONS);
    return this.first + (ahead < 0 ? ahead + POSITIONS : ahead);
  }

  private chunkOf(ordinal: number): RecordChunk {
    const firstChunk = Math.floor(this.first / CHUNK_RECORDS);
    return this.chunks[Math.floor(ordinal / CHUNK_RECORDS) - firstChunk] as RecordChunk;
  }

  private openChunk(): void {
    const chunk = this.spare ?? new RecordChunk();
    this.spare = undefined;
    chunk.clear();
    this.chunks.push(chunk);
  }
}

function hashOfNumber(number: number): number {
  const above = Math.floor(number / 0x1_0000_0000);
  return Math.imul((number >>> 0) ^ Math.imul(above, 0x85ebca77), 0x9e3779b1) >>> 0;
}

function hashOfText(text: string): number {
  let hash = text.length;
  for (let index = 0; index < text.length; index += 1) hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 15), 0x85ebca77);
  return (hash ^ (hash >>> 13)) >>> 0;
}
