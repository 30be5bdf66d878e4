/** Writes down the state as it was at one moment, some records at a time, while it goes on changing. */
import assert from "node:assert/strict";
import { EndedRecord } from "./ended-record.ts";
import type { EndedRecords } from "./ended-records.ts";
import type { Item } from "./item.ts";
import type { Schedule } from "./schedules.ts";
import { SequenceIndex } from "./sequence-index.ts";
import {
  footerLine,
  headerOf,
  type ItemChanges,
  itemLine,
  recordLine,
  type SnapshotHeader,
  scheduleLine,
  shareLines,
} from "./snapshot-format.ts";
import type { ShardState } from "./state.ts";

/** A slice ends after this many characters, however few records it holds: bodies may be large, and a slice holds up the shard. */
const SLICE_LENGTH_AIM = 256 * 1_024;

/** An item of the cut that changed before it was written. */
class KeptItem implements ItemChanges {
  readonly sequence: number;
  readonly item: Item;
  readonly status: Item["status"];
  readonly attempt: number;
  readonly charged: number;
  readonly delayedTo: number;
  readonly extra: Item["extra"];
  readonly lease: Item["lease"];
  readonly lastEnd: Item["lastEnd"];
  readonly lastError: Item["lastError"];
  readonly deadLetter: Item["deadLetter"];

  constructor(item: Item) {
    this.sequence = item.sequence;
    this.item = item;
    this.status = item.status;
    this.attempt = item.attempt;
    this.charged = item.charged;
    this.delayedTo = item.delayedTo;
    this.extra = item.extra;
    // A renewal changes the lease itself; the others are replaced as a whole.
    this.lease = item.lease && { ...item.lease };
    this.lastEnd = item.lastEnd;
    this.lastError = item.lastError;
    this.deadLetter = item.deadLetter;
  }
}

/**
 * One cut of a state, made in O(1): apply tells it what it is about to change (`keep`, `keepRecord`), and what nobody touched is read
 * where it stands. So the text is that of the moment of the cut, and the same however it is sliced and whatever happens meanwhile.
 *
 * `schedules`, `items`, `records`, `shares`, `done`: left when everything of the cut was written, or by `cancel`.
 * Invariant: an item of the cut above `writtenTo` is unchanged or kept; a record of the cut is written, passed, or in the list from
 * `nextRecord` on.
 */
export class SnapshotCut {
  private readonly state: ShardState;
  private readonly header: SnapshotHeader;
  private readonly headerLine: string;
  private phase: "schedules" | "items" | "records" | "shares" | "done" = "schedules";
  private cancelled = false;
  private lines: string[] = [];
  private length = 0;
  private linesWritten = 0;

  /** They are few, and replaced when they change. */
  private readonly schedules: Schedule[];

  /** Items up to this sequence were written, or are not needed any more. */
  private writtenTo = 0;
  private itemsLeft: number;
  private readonly kept = new SequenceIndex<KeptItem>();

  private recordsLeft: number;
  /** The number of the next record to be written that is still there, and that of the first one after the cut. */
  private nextRecord: number;
  private readonly recordsEnd: number;
  /** Records that were forgotten before they were written, oldest first: what is left of the list is younger. */
  private passed: EndedRecord[] = [];
  private passedWritten = 0;
  /** Results that were forgotten before their records were written. */
  private readonly results = new Map<number, string>();

  /** What is taken of rates, and whose turn it is: copied at the cut, for it is little and changes with each grant. */
  private readonly shares: readonly string[];
  private sharesWritten = 0;

  /** Cuts the state as it is now, between two frames. A state has one cut at a time. */
  constructor(state: ShardState) {
    assert(state.cut === undefined, "a cut of this state is under way");
    this.state = state;
    this.header = headerOf(state);
    this.headerLine = JSON.stringify(this.header);
    this.itemsLeft = state.pending + state.active + state.deadLettered;
    this.schedules = state.schedules.inOrder().reverse();
    this.recordsLeft = state.records.size;
    this.nextRecord = state.records.first;
    this.recordsEnd = state.records.end;
    this.shares = shareLines(state);
    state.cut = this;
  }

  /** Event sequence of the cut. */
  get sequence(): number {
    return this.header.sequence;
  }

  /** The state hash at the cut. */
  get hash(): string {
    return this.header.hash;
  }

  /** Schedules, items and records that are not written yet. */
  get left(): number {
    return this.schedules.length + this.itemsLeft + this.recordsLeft + this.shares.length - this.sharesWritten;
  }

  /** The next whole lines: at most `recordsMax` records, fewer when they are long. undefined when everything was written. */
  next(recordsMax: number): string | undefined {
    assert(recordsMax >= 1, `a slice of ${recordsMax} records`);
    assert(!this.cancelled, "the cut was cancelled");
    if (this.phase === "done") return undefined;
    if (this.linesWritten === 0) this.write(this.headerLine);
    const linesMax = this.lines.length + recordsMax;
    if (this.phase === "schedules") this.writeSchedules(linesMax);
    if (this.phase === "items") this.writeItems(linesMax);
    if (this.phase === "records") this.writeRecords(linesMax);
    if (this.phase === "shares") this.writeShares(linesMax);
    // `phase` was narrowed before the calls that move it on.
    if ((this.phase as string) === "done") this.write(footerLine(this.linesWritten, this.headerLine));
    const text = `${this.lines.join("\n")}\n`;
    this.lines = [];
    this.length = 0;
    return text;
  }

  /** Gives up what is not written yet. Without effect on a complete cut. */
  cancel(): void {
    if (this.phase === "done") return;
    this.cancelled = true;
    this.end();
  }

  /** Told by apply before it changes or removes an item. */
  keep(item: Item): void {
    const { sequence } = item;
    if (sequence <= this.writtenTo || sequence > this.header.sequence) return;
    if (firstAfter(this.kept, sequence - 1)?.sequence === sequence) return;
    this.kept.insert(new KeptItem(item));
  }

  /** Told by apply before it forgets the oldest record. */
  keepRecord(): void {
    const { records } = this.state;
    if (records.first !== this.nextRecord || this.nextRecord === this.recordsEnd) return;
    this.passed.push(this.takeFrom(records));
  }

  /** Told by apply before it forgets the result of a record. */
  keepResult(ordinal: number): void {
    const result = this.state.records.resultAt(ordinal);
    if (result !== undefined && ordinal >= this.nextRecord && ordinal < this.recordsEnd)
      this.results.set(ordinal, result);
  }

  private write(line: string): void {
    this.lines.push(line);
    this.length += line.length;
    this.linesWritten += 1;
  }

  private isFull(linesMax: number): boolean {
    return this.lines.length >= linesMax || this.length >= SLICE_LENGTH_AIM;
  }

  private writeSchedules(linesMax: number): void {
    while (!this.isFull(linesMax)) {
      const schedule = this.schedules.pop();
      if (schedule === undefined) {
        this.phase = "items";
        return;
      }
      this.write(scheduleLine(schedule));
    }
  }

  /** Merges what is unfinished, dead-lettered and kept, by sequence. What is kept stands for what has become of it. */
  private writeItems(linesMax: number): void {
    const unfinished = this.state.unfinished.after(this.writtenTo);
    const dead = this.state.deadLetters.after(this.writtenTo);
    const kept = this.kept.after(this.writtenTo);
    let nextUnfinished = step(unfinished);
    let nextDead = step(dead);
    let nextKept = step(kept);
    const writtenKept: KeptItem[] = [];
    while (this.itemsLeft > 0 && !this.isFull(linesMax)) {
      const sequence = Math.min(sequenceOf(nextUnfinished), sequenceOf(nextDead), sequenceOf(nextKept));
      assert(sequence <= this.header.sequence, `${this.itemsLeft} items of the cut are missing`);
      const item = nextUnfinished?.sequence === sequence ? nextUnfinished : nextDead;
      if (nextKept?.sequence === sequence) {
        this.write(itemLine(nextKept.item, nextKept));
        writtenKept.push(nextKept);
        nextKept = step(kept);
      } else if (item !== undefined) this.write(itemLine(item, item));
      if (nextUnfinished?.sequence === sequence) nextUnfinished = step(unfinished);
      else if (nextDead?.sequence === sequence) nextDead = step(dead);
      this.itemsLeft -= 1;
      this.writtenTo = sequence;
    }
    for (const entry of writtenKept) this.kept.remove(entry);
    if (this.itemsLeft > 0) return;
    this.writtenTo = this.header.sequence;
    this.phase = "records";
  }

  private writeRecords(linesMax: number): void {
    for (; this.recordsLeft > 0 && !this.isFull(linesMax); this.recordsLeft -= 1)
      this.write(recordLine(this.takeRecord()));
    if (this.recordsLeft === 0) this.phase = "shares";
  }

  private writeShares(linesMax: number): void {
    for (; this.sharesWritten < this.shares.length && !this.isFull(linesMax); this.sharesWritten += 1)
      this.write(this.shares[this.sharesWritten] as string);
    if (this.sharesWritten === this.shares.length) this.end();
  }

  private takeRecord(): EndedRecord {
    const passed = this.passed[this.passedWritten];
    if (passed === undefined) return this.takeFrom(this.state.records);
    this.passedWritten += 1;
    return passed;
  }

  /** The next record as it was at the cut. */
  private takeFrom(records: EndedRecords): EndedRecord {
    const ordinal = this.nextRecord;
    assert(ordinal >= records.first && ordinal < this.recordsEnd, `${this.recordsLeft} records of the cut are missing`);
    const record = records.at(ordinal);
    const result = this.results.get(ordinal);
    this.results.delete(ordinal);
    this.nextRecord += 1;
    return result === undefined ? record : withResult(record, result);
  }

  private end(): void {
    this.phase = "done";
    this.state.cut = undefined;
    this.passed = [];
    this.results.clear();
  }
}

/** A record whose result was forgotten since. */
function withResult(record: EndedRecord, result: string): EndedRecord {
  const { token, settledBy, settleDigest, endedSequence, ending } = record;
  return new EndedRecord(record, token, settledBy, settleDigest, endedSequence, ending, result);
}

const sequenceOf = (entry: { readonly sequence: number } | undefined): number => entry?.sequence ?? Infinity;

function step<Value>(values: Generator<Value>): Value | undefined {
  const next = values.next();
  return next.done === true ? undefined : next.value;
}

function firstAfter<Entry extends { readonly sequence: number }>(index: SequenceIndex<Entry>, sequence: number) {
  return step(index.after(sequence));
}
