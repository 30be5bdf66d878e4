/** Some hundred records of ended items as bytes: fixed fields side by side, and the texts of their request ids behind one another. */
import assert from "node:assert/strict";
import { hexFrom, hexOf } from "./digest-bytes.ts";
import { ENDINGS, EndedRecord } from "./ended-record.ts";
import { numberFrom, numberStart } from "./request-id.ts";

/** Records of one chunk. */
export const CHUNK_RECORDS = 512;
const RECORD_BYTES = 68;
/** Where each field of a record begins. */
const [NUMBER, TOKEN, ENDED_SEQUENCE, DIGEST, SETTLE_DIGEST] = [0, 8, 16, 24, 32] as const;
const [PRINCIPAL, SETTLED_BY, HASH, REQUEST_HASH, TEXT, FORM] = [40, 44, 48, 56, 60, 64] as const;
/** What the last field says of the others. Above stand the length of the request id's text, and the number behind it. */
const [ENDING_MASK, HAS_REQUEST_ID, HAS_DIGEST, HAS_SETTLE_DIGEST, IS_WIDE, HAS_RESULT] = [15, 16, 32, 64, 128, 256];
const [LENGTH_SHIFT, LENGTH_MASK] = [9, 0x1ff];
const [NUMBER_SHIFT, NUMBER_MASK] = [18, 0x3ff];
const HAS_NUMBER = 1 << 28;
const TEXT_BYTES_FIRST = 2 * 1_024;

/** What a record is found by and checked with: its principals by their numbers, its hash, and that of its request id. */
export interface RecordKeys {
  principal: number;
  settledBy: number;
  high: number;
  low: number;
  requestHash: number;
}

/** Its records are numbered from 0. A slot is written once, and again after `clear`. */
export class RecordChunk {
  private readonly view = new DataView(new ArrayBuffer(CHUNK_RECORDS * RECORD_BYTES));
  private text = Buffer.alloc(TEXT_BYTES_FIRST);
  private textLength = 0;
  /** What the last request id had before its number, if it had one, and where that was written. */
  private prefix = "";
  private prefixAt = 0;
  private isPrefixWide = false;

  clear(): void {
    this.textLength = 0;
    this.prefix = "";
  }

  /** Writes a record. Of its result no more is kept than that it has one. */
  write(slot: number, record: EndedRecord, keys: RecordKeys): void {
    const { view } = this;
    const at = slot * RECORD_BYTES;
    const { requestId, digest, settleDigest } = record;
    view.setFloat64(at + NUMBER, record.number);
    view.setFloat64(at + TOKEN, record.token);
    view.setFloat64(at + ENDED_SEQUENCE, record.endedSequence);
    view.setUint32(at + PRINCIPAL, keys.principal);
    view.setUint32(at + SETTLED_BY, keys.settledBy);
    view.setInt32(at + HASH, keys.high);
    view.setInt32(at + HASH + 4, keys.low);
    view.setUint32(at + REQUEST_HASH, keys.requestHash);
    let form = ENDINGS.indexOf(record.ending);
    if (record.result !== undefined) form |= HAS_RESULT;
    if (digest !== undefined) {
      form |= HAS_DIGEST;
      this.writeDigest(at + DIGEST, digest);
    }
    if (settleDigest !== "") {
      form |= HAS_SETTLE_DIGEST;
      this.writeDigest(at + SETTLE_DIGEST, settleDigest);
    }
    if (requestId !== undefined) form |= this.writeRequestId(at, requestId);
    view.setUint32(at + FORM, form);
    if (slot === CHUNK_RECORDS - 1 && 2 * this.textLength < this.text.length) this.resize(this.textLength);
  }

  number(slot: number): number {
    return this.view.getFloat64(slot * RECORD_BYTES + NUMBER);
  }

  endedSequence(slot: number): number {
    return this.view.getFloat64(slot * RECORD_BYTES + ENDED_SEQUENCE);
  }

  principal(slot: number): number {
    return this.view.getUint32(slot * RECORD_BYTES + PRINCIPAL);
  }

  settledBy(slot: number): number {
    return this.view.getUint32(slot * RECORD_BYTES + SETTLED_BY);
  }

  hashHigh(slot: number): number {
    return this.view.getInt32(slot * RECORD_BYTES + HASH);
  }

  hashLow(slot: number): number {
    return this.view.getInt32(slot * RECORD_BYTES + HASH + 4);
  }

  hasResult(slot: number): boolean {
    return (this.form(slot) & HAS_RESULT) !== 0;
  }

  dropResult(slot: number): void {
    this.view.setUint32(slot * RECORD_BYTES + FORM, this.form(slot) & ~HAS_RESULT);
  }

  hasRequestId(slot: number): boolean {
    return (this.form(slot) & HAS_REQUEST_ID) !== 0;
  }

  requestHash(slot: number): number {
    return this.view.getUint32(slot * RECORD_BYTES + REQUEST_HASH);
  }

  isRequestId(slot: number, requestId: string): boolean {
    const form = this.form(slot);
    if ((form & HAS_REQUEST_ID) === 0) return false;
    const length = (form >>> LENGTH_SHIFT) & LENGTH_MASK;
    const start = numberStart(requestId);
    if (length !== start || start < requestId.length !== ((form & HAS_NUMBER) !== 0)) return false;
    if (start < requestId.length && numberFrom(requestId, start) !== ((form >>> NUMBER_SHIFT) & NUMBER_MASK))
      return false;
    const { text } = this;
    let at = this.view.getUint32(slot * RECORD_BYTES + TEXT);
    const isWide = (form & IS_WIDE) !== 0;
    for (let index = 0; index < length; index += 1, at += 1) {
      let unit = text[at] as number;
      if (isWide) {
        at += 1;
        unit |= (text[at] as number) << 8;
      }
      if (unit !== requestId.charCodeAt(index)) return false;
    }
    return true;
  }

  private requestId(slot: number): string | undefined {
    const form = this.form(slot);
    if ((form & HAS_REQUEST_ID) === 0) return undefined;
    const from = this.view.getUint32(slot * RECORD_BYTES + TEXT);
    const length = (form >>> LENGTH_SHIFT) & LENGTH_MASK;
    const text =
      (form & IS_WIDE) === 0
        ? this.text.toString("latin1", from, from + length)
        : this.text.toString("utf16le", from, from + 2 * length);
    return (form & HAS_NUMBER) === 0 ? text : text + ((form >>> NUMBER_SHIFT) & NUMBER_MASK);
  }

  read(slot: number, principal: string, settledBy: string, result: string | undefined): EndedRecord {
    const { view } = this;
    const at = slot * RECORD_BYTES;
    const form = this.form(slot);
    const item = {
      number: view.getFloat64(at + NUMBER),
      principal,
      requestId: this.requestId(slot),
      digest: (form & HAS_DIGEST) === 0 ? undefined : this.readDigest(at + DIGEST),
    };
    const settleDigest = (form & HAS_SETTLE_DIGEST) === 0 ? "" : this.readDigest(at + SETTLE_DIGEST);
    const ending = ENDINGS[form & ENDING_MASK];
    assert(ending !== undefined, "a record ends as one can");
    const token = view.getFloat64(at + TOKEN);
    const endedSequence = view.getFloat64(at + ENDED_SEQUENCE);
    return new EndedRecord(item, token, settledBy, settleDigest, endedSequence, ending, result);
  }

  private form(slot: number): number {
    return this.view.getUint32(slot * RECORD_BYTES + FORM);
  }

  private writeDigest(at: number, digest: string): void {
    assert(digest.length === 16, "a digest has 16 digits");
    this.view.setUint32(at, hexFrom(digest, 0));
    this.view.setUint32(at + 4, hexFrom(digest, 8));
  }

  private readDigest(at: number): string {
    return hexOf(this.view.getUint32(at)) + hexOf(this.view.getUint32(at + 4));
  }

  /** Entries of one request share the text before their numbers. Answers what the form says of it. */
  private writeRequestId(at: number, requestId: string): number {
    const start = numberStart(requestId);
    assert(start <= LENGTH_MASK, "a request id is short");
    const hasNumber = start < requestId.length;
    const { prefix } = this;
    if (!hasNumber || prefix.length !== start || !requestId.startsWith(prefix)) {
      const text = hasNumber ? requestId.slice(0, start) : requestId;
      this.prefix = hasNumber ? text : "";
      this.prefixAt = this.textLength;
      this.isPrefixWide = this.writeText(text);
    }
    this.view.setUint32(at + TEXT, this.prefixAt);
    const number = hasNumber ? HAS_NUMBER | (numberFrom(requestId, start) << NUMBER_SHIFT) : 0;
    return HAS_REQUEST_ID | (this.isPrefixWide ? IS_WIDE : 0) | (start << LENGTH_SHIFT) | number;
  }

  /** True when it takes two bytes for each character. */
  private writeText(text: string): boolean {
    const { length } = text;
    const from = this.textLength;
    this.ensure(length);
    const bytes = this.text;
    let units = 0;
    for (let index = 0; index < length; index += 1) {
      const unit = text.charCodeAt(index);
      units |= unit;
      bytes[from + index] = unit;
    }
    if (units <= 0xff) {
      this.textLength = from + length;
      return false;
    }
    this.ensure(2 * length);
    this.textLength = from + this.text.write(text, from, "utf16le");
    return true;
  }

  private ensure(length: number): void {
    let { length: room } = this.text;
    if (this.textLength + length <= room) return;
    while (room < this.textLength + length) room = Math.max(2 * room, TEXT_BYTES_FIRST);
    this.resize(room);
  }

  private resize(room: number): void {
    const text = Buffer.alloc(room);
    this.text.copy(text, 0, 0, this.textLength);
    this.text = text;
  }
}
