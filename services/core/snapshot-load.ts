/** Builds a state from the text of a snapshot, and trusts none of it: what it returns is the state of the cut, or it throws. */
import assert from "node:assert/strict";
import { QUOTA_KINDS } from "../../contracts/quotas.ts";
import { enterFlow } from "./apply-flow.ts";
import { enterUnfinished } from "./apply-item.ts";
import { countMarked } from "./drain-state.ts";
import { ENDINGS, EndedRecord } from "./ended-record.ts";
import { digestFields, hashRecord, stateHash } from "./hash.ts";
import type { Item } from "./item.ts";
import {
  damaged,
  ITEM_FIELDS,
  ITEM_FIELDS_CHANGED,
  ITEM_FIELDS_TERMS,
  RECORD_FIELDS,
  RECORD_FIELDS_REMOVED,
  RECORD_FIELDS_RESULT,
  ROW_BUCKET,
  ROW_ITEM,
  ROW_PASS,
  ROW_RECORD,
  ROW_SCHEDULE,
  ROW_SHARE_FIELDS,
  ROW_TURN,
  SCHEDULE_FIELDS,
  SNAPSHOT_LINE_LENGTH_MAX,
  type SnapshotHeader,
} from "./snapshot-format.ts";
import { checkFooter, readHeader } from "./snapshot-header.ts";
import { readItem } from "./snapshot-item.ts";
import { Row } from "./snapshot-row.ts";
import { readSchedule } from "./snapshot-schedule.ts";
import { createState, mergeNamed, rememberedOf, type ShardState, setQuotas } from "./state.ts";

/** Scratch space: each is read to its end before the next row of its kind begins. */
const itemRow = new Row("item");
const recordRow = new Row("record");
const shareRow = new Row("share");
const scheduleRow = new Row("schedule");

/**
 * `header`, `rows`, `complete`: as far as the text was read. `over`: it threw, or the state was handed out.
 * `add` and `finish` throw: OperatingError snapshot_damaged or snapshot_version, both definite.
 */
export class SnapshotLoader {
  private readonly state: ShardState = createState();
  private phase: "header" | "rows" | "complete" | "over" = "header";
  private header: SnapshotHeader | undefined;
  private headerLine = "";
  /** The line that is not complete yet, and how many were complete. */
  private rest = "";
  private lines = 0;
  private lastSequence = 0;
  private hasShares = false;

  /** Takes the next part of the text, cut anywhere. */
  add(text: string): void {
    assert(this.phase !== "over", "the snapshot was refused, or its state handed out");
    try {
      this.readLines(text);
    } catch (error) {
      this.phase = "over";
      throw error;
    }
  }

  /** The state of the cut, once all of the text was added. */
  finish(): ShardState {
    const { header, phase, state } = this;
    assert(phase !== "over", "the snapshot was refused, or its state handed out");
    this.phase = "over";
    if (phase !== "complete" || header === undefined)
      throw damaged(0, `it was truncated: there are ${this.lines} whole lines without an end`);
    if (this.rest !== "") throw damaged(this.lines + 1, "text after the end");
    takeHeader(state, header);
    linkRequests(state);
    compare(state, header);
    return state;
  }

  private readLines(text: string): void {
    let start = 0;
    for (let end = text.indexOf("\n"); end !== -1; end = text.indexOf("\n", start)) {
      const line = this.rest + text.slice(start, end);
      this.rest = "";
      start = end + 1;
      this.lines += 1;
      this.readLine(line);
    }
    // Joined lazily: a line that comes character by character costs no more.
    if (start < text.length) this.rest += text.slice(start);
    if (this.rest.length > SNAPSHOT_LINE_LENGTH_MAX) throw damaged(this.lines + 1, "a line without an end");
  }

  private readLine(line: string): void {
    const value = parseLine(line, this.lines);
    if (this.phase === "rows") {
      if (Array.isArray(value)) this.readRow(value);
      else {
        checkFooter(value, this.lines, this.headerLine);
        this.phase = "complete";
      }
    } else if (this.phase === "header") {
      this.header = readHeader(value);
      this.headerLine = line;
      this.phase = "rows";
    } else throw damaged(this.lines, "a line after the end");
  }

  private readRow(value: readonly unknown[]): void {
    const { state } = this;
    if (value[0] === ROW_ITEM) {
      const item = readItem(
        state,
        itemRow.begin(value, this.lines, ITEM_FIELDS, ITEM_FIELDS_CHANGED, ITEM_FIELDS_TERMS),
      );
      if (state.records.size > 0 || this.hasShares) throw damaged(this.lines, "an item after records");
      this.rise(item.sequence);
      insertItem(state, item, itemRow);
      return;
    }
    if (value[0] === ROW_BUCKET || value[0] === ROW_TURN || value[0] === ROW_PASS) {
      insertShare(state, shareRow.begin(value, this.lines, ROW_SHARE_FIELDS));
      this.hasShares = true;
      return;
    }
    if (value[0] === ROW_SCHEDULE) {
      insertSchedule(state, scheduleRow.begin(value, this.lines, SCHEDULE_FIELDS));
      return;
    }
    if (value[0] !== ROW_RECORD) throw damaged(this.lines, "a row of an unknown kind");
    if (this.hasShares) throw damaged(this.lines, "a record after what is taken of rates");
    const record = readRecord(
      recordRow.begin(value, this.lines, RECORD_FIELDS, RECORD_FIELDS_REMOVED, RECORD_FIELDS_RESULT),
    );
    if (state.records.size === 0) this.lastSequence = this.header?.horizon ?? 0;
    // Many are discarded by one event.
    this.rise(record.endedSequence, record.ending === "discarded");
    insertRecord(state, record, recordRow);
  }

  /** Rows are in order, so that none is missing twice or there twice. */
  private rise(sequence: number, mayRepeat = false): void {
    if (sequence < this.lastSequence || (sequence === this.lastSequence && !mayRepeat))
      throw damaged(this.lines, `sequence ${sequence} after sequence ${this.lastSequence}`);
    if (sequence > (this.header?.sequence ?? 0))
      throw damaged(this.lines, `sequence ${sequence}, the snapshot ends at ${this.header?.sequence}`);
    this.lastSequence = sequence;
  }
}

function parseLine(line: string, number: number): unknown {
  try {
    return JSON.parse(line);
  } catch (error) {
    throw damaged(number, "not JSON", error);
  }
}

/** Puts an item in every table that it belongs to. */
function insertItem(state: ShardState, item: Item, row: Row): void {
  const { lease } = item;
  if (!state.enqueueRequests.addNew(item)) throw row.damaged(`request id ${item.requestId} has two items`);
  state.items.set(item);
  state.packer.admit(item);
  state.itemSum.add(item.high, item.low);
  if (!state.ready.restore(item)) throw row.damaged(`a ${item.status} item is held back by an older one of its key`);
  if (item.extra?.flow !== undefined) {
    for (const { itemId, outcome } of item.extra.flow.dependencies)
      if (outcome === "pending" && state.items.get(itemId) === undefined)
        throw row.damaged(`it waits for ${itemId}, which is not there`);
    enterFlow(state, item);
  }
  if (item.status === "deadLettered") {
    state.deadLetters.insert(item);
    state.deadLettered += 1;
    return;
  }
  const uniqueKey = item.terms?.uniqueKey;
  if (uniqueKey !== undefined && state.unique.has(uniqueKey))
    throw row.damaged(`unique key ${uniqueKey} has two items`);
  enterUnfinished(state, item);
  if (lease === undefined) {
    state.pending += 1;
    return;
  }
  item.slot = state.leased.length;
  state.leased.push(item);
  state.ready.lanes.meters.restore(item);
  state.leasesByPeer.set(lease.peerId, (state.leasesByPeer.get(lease.peerId) ?? 0) + 1);
  state.active += 1;
}

function readRecord(row: Row): EndedRecord {
  const item = {
    number: row.count(1),
    principal: row.text(2),
    requestId: row.optionalText(3),
    digest: row.optionalText(4),
  };
  const settleDigest = row.text(7);
  const ending = row.length === RECORD_FIELDS ? "completed" : row.choice(9, ENDINGS);
  const result = row.length === RECORD_FIELDS_RESULT ? row.text(10) : undefined;
  const record = new EndedRecord(item, row.count(5), row.text(6), settleDigest, row.count(8), ending, result);
  const { itemId, digest } = record;
  if (digest !== undefined && !isDigest(digest)) throw row.damaged(`the digest of ${itemId} is none`);
  if (settleDigest !== "" && !isDigest(settleDigest)) throw row.damaged(`the digest of the end of ${itemId} is none`);
  if (result !== undefined && digestFields([result]) !== settleDigest)
    throw row.damaged(`the result of ${itemId} is not its own`);
  return record;
}

const isDigest = (text: string): boolean => /^[0-9a-f]{16}$/.test(text);

function insertRecord(state: ShardState, record: EndedRecord, row: Row): void {
  const { itemId, principal, requestId } = record;
  if (requestId !== undefined && rememberedOf(state, principal, requestId) !== undefined)
    throw row.damaged(`request id ${requestId} has two items`);
  if (state.items.get(itemId) !== undefined) throw row.damaged(`item ${itemId} is ended and unfinished`);
  if (state.records.get(itemId) !== undefined) throw row.damaged(`item ${itemId} has ended twice`);
  const { high, low } = hashRecord(record);
  state.records.push(record, high, low);
}

/** Takes in what is taken of a rate, the time of a resource type, or how far a group is ahead. */
function insertShare({ ready: { lanes } }: ShardState, row: Row): void {
  const { meters, shares } = lanes;
  const kind = row.count(0);
  const isNew =
    kind === ROW_BUCKET
      ? meters.restoreBucket(row.choice(1, QUOTA_KINDS), row.text(2), row.count(3))
      : kind === ROW_TURN
        ? shares.restoreTurn(row.text(1), row.count(3))
        : lanes.restorePass(row.text(1), row.text(2), row.count(3));
  if (!isNew) throw row.damaged("what it tells of is told already, or cannot be");
}

function insertSchedule(state: ShardState, row: Row): void {
  const schedule = readSchedule(row);
  if (state.schedules.byName.has(schedule.name)) throw row.damaged(`there are two schedules ${schedule.name}`);
  state.schedules.put(schedule);
}

function takeHeader(state: ShardState, header: SnapshotHeader): void {
  state.logId = state.intern(header.logId);
  state.logVersion = header.logVersion;
  state.term = header.term;
  state.leader = header.leader;
  state.tokenEpoch = header.tokenEpoch;
  state.sequence = header.sequence;
  state.at = header.at;
  state.options = header.options;
  state.followers = mergeNamed(new Map(), header.followers);
  setQuotas(state, mergeNamed(new Map(), header.quotas ?? {}));
  state.paused = header.paused;
  state.enqueuedTotal = header.enqueuedTotal;
  state.completedTotal = header.completedTotal;
  state.removedTotal = header.removedTotal;
  state.horizon = header.horizon;
  state.endedDrains = header.endedDrains ?? [];
  if (header.drain !== undefined) state.drain = { ...header.drain, left: countMarked(state, header.drain) };
  state.pressedAt = header.pressedAt;
}

/** A repeat of a lease request is answered in the order of its grants, which is that of their tokens. */
function linkRequests(state: ShardState): void {
  for (const { items } of state.leaseRequests.values())
    items.sort((left, right) => (left.lease?.token ?? 0) - (right.lease?.token ?? 0));
}

/** Compares what the rows make with what the header says of them. */
function compare(state: ShardState, header: SnapshotHeader): void {
  const unfinished = header.pending + header.active;
  const found: readonly (readonly [string, number, number])[] = [
    ["pending", state.pending, header.pending],
    ["active", state.active, header.active],
    ["deadLettered", state.deadLettered, header.deadLettered],
    ["records", state.records.size, header.records],
    ["leaseRequests", state.leaseRequests.size, header.leaseRequests],
    ["schedules", state.schedules.size, header.schedules ?? 0],
    ["bodyBytes", state.bodyBytes, header.bodyBytes],
    ["item ids", state.items.size, unfinished + header.deadLettered],
  ];
  for (const [name, actual, expected] of found)
    if (actual !== expected) throw damaged(0, `${name}: there are ${actual}, the header says ${expected}`);
  const hash = stateHash(state);
  if (hash !== header.hash) throw damaged(0, `its state has the hash ${hash}, the header says ${header.hash}`);
}
