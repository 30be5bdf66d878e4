/** What the folds of all events do to items: their tables, their records, their hashes. */
import assert from "node:assert/strict";
import { enterFlow, leaveFlow, tellDependents } from "./apply-flow.ts";
import { isMarked } from "./drain-state.ts";
import { EndedRecord, type Ending } from "./ended-record.ts";
import { hashDeadLetter, hashItem, hashNewItem, hashRecord } from "./hash.ts";
import type { DeadLetter, Item, ItemExtra } from "./item.ts";
import type { ShardState } from "./state.ts";

export function itemOf(state: ShardState, itemId: string): Item {
  const item = state.items.get(itemId);
  if (item === undefined) assert.fail(`there is no item ${itemId}`);
  return item;
}

const NO_EXTRA: ItemExtra = { redrives: 0, redrivenAt: 0, cancel: undefined, progress: undefined, flow: undefined };

/** What happens to few items: what is named changes. Nothing is kept of an item to which none of it happened. */
export function setExtra(item: Item, patch: Partial<ItemExtra>): void {
  const extra = { ...(item.extra ?? NO_EXTRA), ...patch };
  const { redrives, cancel, progress, flow } = extra;
  const isEmpty = redrives === 0 && cancel === undefined && progress === undefined && flow === undefined;
  item.extra = isEmpty ? undefined : extra;
}

/** Takes in a new item. */
export function admitItem(state: ShardState, item: Item, at: number): void {
  hashNewItem(item);
  state.itemSum.add(item.high, item.low);
  state.items.set(item);
  state.packer.admit(item);
  state.enqueueRequests.add(item);
  enterUnfinished(state, item);
  state.ready.admit(item, at);
  if (item.extra !== undefined) enterFlow(state, item);
  state.pending += 1;
  state.enqueuedTotal += 1;
}

/** Makes an item that nothing holds any more a dead letter. */
export function bury(state: ShardState, item: Item, letter: Omit<DeadLetter, "high" | "low">): void {
  const { high, low } = hashDeadLetter(letter);
  item.deadLetter = { ...letter, high, low };
  item.status = "deadLettered";
  leaveUnfinished(state, item);
  state.deadLetters.insert(item);
  state.deadLettered += 1;
}

/** Takes an item out of what is pending or leased. */
export function leaveUnfinished(state: ShardState, item: Item): void {
  if (state.drain !== undefined && isMarked(state.drain, item)) state.drain.left -= 1;
  state.unfinished.remove(item);
  state.packer.open(item);
  state.bodyBytes -= item.bodyBytes;
  const uniqueKey = item.terms?.uniqueKey;
  if (uniqueKey !== undefined && state.unique.get(uniqueKey) === item) state.unique.delete(uniqueKey);
}

/** Takes an item in among what is pending or leased. */
export function enterUnfinished(state: ShardState, item: Item): void {
  state.unfinished.insert(item);
  state.bodyBytes += item.bodyBytes;
  const uniqueKey = item.terms?.uniqueKey;
  if (uniqueKey === undefined) return;
  if (state.unique.has(uniqueKey)) assert.fail(`two unfinished items with unique key ${uniqueKey}`);
  state.unique.set(uniqueKey, item);
}

/** Who ended an item, with which lease (0: none), contents and ending. */
export interface ItemEnd {
  readonly token: number;
  readonly principal: string;
  readonly digest: string;
  readonly ending: Ending;
  readonly result?: string | undefined;
}

/** Ends an item that is in no place any more: what is left of it is its record. */
export function endItem(state: ShardState, item: Item, end: ItemEnd): void {
  const { token, principal, digest, ending, result } = end;
  state.items.delete(item);
  state.itemSum.subtract(item.high, item.low);
  if (item.extra !== undefined) leaveFlow(state, item);
  if (ending === "completed") state.completedTotal += 1;
  else state.removedTotal += 1;
  const record = new EndedRecord(item, token, principal, digest, state.sequence, ending, result);
  tellDependents(state, record);
  state.enqueueRequests.remove(item);
  const { high, low } = hashRecord(record);
  state.records.push(record, high, low);
  evictRecords(state);
}

/** Forgets the oldest results and records above their maximum, and moves the horizon to the last forgotten record. */
export function evictRecords(state: ShardState): void {
  const { records, options } = state;
  while (records.resultCount > options.resultsMax) dropResult(state);
  while (records.size > options.recordsMax) {
    state.cut?.keepRecord();
    if (records.oldestResult === records.first) dropResult(state);
    state.horizon = records.shift();
  }
}

/** Forgets the oldest result. */
function dropResult({ records, cut }: ShardState): void {
  const { oldestResult } = records;
  assert(oldestResult !== undefined, "results are counted");
  cut?.keepResult(oldestResult);
  records.dropResult(oldestResult);
}

export function rehash(state: ShardState, item: Item): void {
  state.itemSum.subtract(item.high, item.low);
  hashItem(item);
  state.itemSum.add(item.high, item.low);
}
