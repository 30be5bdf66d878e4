/** The state laid open, in O(n): as lines of text that can be compared, and checked against its own invariants. For tests, auditors and dumps. */
import assert from "node:assert/strict";
import { LOG_VERSION_TERMS } from "../../contracts/limits.ts";
import { isAbove } from "./backpressure.ts";
import { checkFlows, flowFields } from "./canonical-flow.ts";
import { checkSchedules, scheduleFieldsOf } from "./canonical-schedule.ts";
import { drainFields, isMarked } from "./drain-state.ts";
import type { EndedRecord } from "./ended-record.ts";
import { fenceKey } from "./fence-key.ts";
import { holdingFlow } from "./flow.ts";
import {
  hashDeadLetter,
  hashLastError,
  hashLease,
  hashLeaseEnd,
  hashLeaseRequest,
  hashNewItem,
  hashRecord,
} from "./hash.ts";
import { HashSum, hexOf } from "./hasher.ts";
import { isBefore } from "./indexed-heap.ts";
import { Item, type ItemExtra, type ItemTerms, notAfterOf } from "./item.ts";
import { retryText } from "./item-terms.ts";
import type { KeyQueue } from "./key-queue.ts";
import { checkHeap, checkLeasable, checkShares, shareRecords } from "./lane-checks.ts";
import { rememberedOf, type ShardState } from "./state.ts";

/** Lines of the state without what is derived. Equal states give equal lines. */
export function* canonicalState(state: ShardState): Generator<string> {
  yield canonicalLine("meta", {
    logVersion: state.logVersion,
    logId: state.logId,
    term: state.term,
    leader: state.leader,
    tokenEpoch: state.tokenEpoch,
    sequence: state.sequence,
    paused: state.paused,
    horizon: state.horizon,
    pressedAt: state.pressedAt,
  });
  yield canonicalLine("counts", {
    pending: state.pending,
    active: state.active,
    deadLettered: state.deadLettered,
    enqueuedTotal: state.enqueuedTotal,
    completedTotal: state.completedTotal,
    removedTotal: state.removedTotal,
    bodyBytes: state.bodyBytes,
    records: state.records.size,
  });
  if (state.drain !== undefined) yield canonicalLine("drain", drainFields(state.drain));
  for (const ended of state.endedDrains) yield canonicalLine("endedDrain", ended);
  yield canonicalLine("options", sorted(state.options));
  for (const [name, follower] of state.followers) yield canonicalLine("follower", { name, ...sorted(follower) });
  for (const [name, { leasesMax, rate, weight }] of state.quotas)
    yield canonicalLine("quota", { name, leasesMax, rate: rate && sorted(rate), weight });
  for (const schedule of state.schedules.inOrder())
    yield canonicalLine("schedule", scheduleFieldsOf(schedule, sorted(schedule.item)));
  const items = [...state.items.values()].sort((left, right) => left.sequence - right.sequence);
  for (const item of items) yield canonicalLine("item", itemFields(item));
  for (const record of state.records.values()) yield canonicalLine("record", recordFields(record));
  const requests = [...state.leaseRequests.values()].map((request) => {
    const { principal, requestId, digest, liveCount, items: granted } = request;
    const live = granted.filter((item) => item.lease?.request === request).map((item) => item.itemId);
    return canonicalLine("leaseRequest", { principal, requestId, digest, live, liveCount });
  });
  yield* requests.sort();
  yield* shareRecords(state)
    .map(([table, fields]) => canonicalLine(table, fields))
    .sort();
}

/** A table's name and the fields of a record; absent ones are left out. */
export function canonicalLine(table: string, fields: object): string {
  return `${table} ${JSON.stringify(fields)}`;
}

export function sorted(fields: Readonly<Record<string, unknown>>): object {
  return Object.fromEntries(Object.entries(fields).sort(([left], [right]) => (left < right ? -1 : 1)));
}

function itemFields(item: Item): object {
  return {
    itemId: item.itemId,
    sequence: item.sequence,
    enqueuedAt: item.enqueuedAt,
    principal: item.principal,
    exclusivity: item.exclusivity,
    resourceType: item.resourceType,
    resourceId: item.resourceId,
    partitionKey: item.partitionKey,
    payloadEncoding: item.payloadEncoding,
    body: item.body,
    attributes: item.attributes === undefined ? undefined : sorted(item.attributes),
    maxAttempts: item.maxAttempts,
    requestId: item.requestId,
    digest: item.digest,
    status: item.status,
    attempt: item.attempt,
    charged: item.charged,
    terms: item.terms && termsFields(item.terms),
    delayedTo: item.delayedTo === 0 ? undefined : item.delayedTo,
    extra: item.extra && extraFields(item.extra),
    lease: leaseFields(item),
    lastEnd: withoutHash(item.lastEnd),
    lastError: withoutHash(item.lastError),
    deadLetter: withoutHash(item.deadLetter),
  };
}

export function extraFields({ redrives, redrivenAt, cancel, progress, flow }: ItemExtra): object {
  const asked = cancel && { principal: cancel.principal, reason: cancel.reason, at: cancel.at };
  const marks = redrivenAt === 0 ? undefined : { redrivenAt };
  const told = progress && { text: progress.text, at: progress.at };
  return { redrives, cancel: asked, progress: told, ...marks, ...(flow && { flow: flowFields(flow) }) };
}

export function termsFields(terms: ItemTerms): object {
  const { retry, uniqueKey, ...fields } = terms;
  return { ...fields, retry: retry && retryText(retry), uniqueKey };
}

function leaseFields(item: Item): object | undefined {
  const lease = item.lease;
  if (lease === undefined) return undefined;
  return {
    token: lease.token,
    principal: lease.principal,
    peerId: lease.peerId,
    grantedAt: lease.grantedAt,
    grantMs: lease.grantMs,
    requestId: lease.request?.requestId,
    renewedAt: lease.renewedAt,
    durationMs: lease.durationMs,
    expiresAt: lease.expiresAt,
  };
}

function recordFields(record: EndedRecord): object {
  const { itemId, principal, requestId, digest, token, settledBy, settleDigest, endedSequence, ending, result } =
    record;
  const end = { token, settledBy, settleDigest, endedSequence, ending, result };
  return { itemId, principal, requestId, digest, ...end };
}

function withoutHash(value: { readonly high: number; readonly low: number } | undefined): object | undefined {
  if (value === undefined) return undefined;
  const { high: _high, low: _low, ...fields } = value;
  return fields;
}

/**
 * Asserts conservation (Q1), one live lease per item and key (F3), order of keys and lanes, all counters, and that the incremental
 * hashes are those of the records computed from scratch.
 */
export function assertInvariants(state: ShardState): void {
  const items = [...state.items.values()].sort((left, right) => left.sequence - right.sequence);
  checkCounts(state, items);
  checkIndexes(state, items);
  checkKeys(state, items);
  checkLanes(state, items);
  checkLeases(state, items);
  checkRecords(state, items);
  checkHeap(state.schedules.ticking);
  checkSchedules(state);
  checkFlows(state, items, isHeldBack);
  checkHashes(state, items);
}

const countOf = <Value>(values: Iterable<Value>, holds: (value: Value) => boolean): number => {
  let count = 0;
  for (const value of values) if (holds(value)) count += 1;
  return count;
};

function checkCounts(state: ShardState, items: readonly Item[]): void {
  const statusCount = (status: Item["status"]) => countOf(items, (item) => item.status === status);
  assert.equal(state.pending, statusCount("pending"), "pending");
  assert.equal(state.active, statusCount("leased"), "active");
  assert.equal(state.deadLettered, statusCount("deadLettered"), "deadLettered");
  const ended = state.completedTotal + state.removedTotal;
  const accounted = state.pending + state.active + state.deadLettered + ended;
  assert.equal(state.enqueuedTotal, accounted, "every enqueued item is pending, leased, dead-lettered or ended");
  if (state.logVersion >= LOG_VERSION_TERMS)
    assert(state.pressedAt !== undefined || !isAbove(state), "above a high watermark it is pressed");
  else assert(state.pressedAt === undefined, "an old log knows no pressure");
  const unfinished = items.filter((item) => item.status !== "deadLettered");
  const { drain } = state;
  const marked = drain === undefined ? 0 : countOf(unfinished, (item) => isMarked(drain, item));
  assert.equal(drain?.left ?? 0, marked, "items that the drain holds");
  const bodyBytes = unfinished.reduce((sum, item) => sum + item.bodyBytes, 0);
  assert.equal(state.bodyBytes, bodyBytes, "bodyBytes");
  for (const item of items) {
    assert.equal(item.lease !== undefined, item.status === "leased", `lease of ${item.itemId}`);
    assert.equal(item.deadLetter !== undefined, item.status === "deadLettered", `dead letter of ${item.itemId}`);
    assert(item.charged <= item.attempt, `charged of ${item.itemId}`);
    assert(state.items.get(item.itemId) === item, `id of ${item.itemId}`);
  }
}

function checkIndexes(state: ShardState, items: readonly Item[]): void {
  const unfinished = items.filter((item) => item.status !== "deadLettered");
  const dead = items.filter((item) => item.status === "deadLettered");
  assert.deepEqual([...state.unfinished.after(0)].map(idOf), unfinished.map(idOf), "index of unfinished items");
  assert.deepEqual([...state.deadLetters.after(0)].map(idOf), dead.map(idOf), "index of dead letters");
  const named = unfinished.filter((item) => item.terms?.uniqueKey !== undefined);
  assert.equal(state.unique.size, named.length, "unique keys");
  for (const item of named)
    assert(state.unique.get(item.terms?.uniqueKey ?? "") === item, `unique key of ${item.itemId}`);
  assert.equal(state.unfinished.size, unfinished.length);
  assert.equal(state.deadLetters.size, dead.length);
}

const idOf = (item: Item): string => item.itemId;

/** Keys as they follow from the items: unfinished ones in order, halted by a dead letter that halts; of a resource, who is not delayed. */
function checkKeys(state: ShardState, items: readonly Item[]): void {
  const expected = new Map<string, { ids: string[]; halted: boolean }>();
  for (const item of items) {
    const isFree = item.exclusivity === "resource" && isWaiting(state, item);
    const isOver = item.status === "deadLettered" && item.deadLetter?.halts !== true;
    if (item.exclusivity === "none" || isFree || isOver) {
      assert(item.key === undefined, `key of ${item.itemId}`);
      continue;
    }
    const name = fenceKey(item);
    const key = expected.get(name) ?? { ids: [], halted: false };
    expected.set(name, key);
    if (item.status === "deadLettered") key.halted = true;
    // An older one may have come back behind the one that is leased.
    else if (item.status === "leased" && item.exclusivity === "partition") key.ids.unshift(item.itemId);
    else key.ids.push(item.itemId);
  }
  assert.equal(state.ready.keys.size, expected.size, "keys vanish when they are empty and not halted");
  for (const key of state.ready.keys.values()) {
    const ids = key.head?.exclusivity === "resource" ? resourceIds(key) : partitionIds(key);
    assert.deepEqual({ ids, halted: key.halted }, expected.get(key.fenceKey), key.fenceKey);
  }
}

function partitionIds(key: KeyQueue): readonly string[] {
  const ids: string[] = [];
  let last: Item | undefined;
  for (let item = key.head; item !== undefined; item = item.nextOfKey) {
    assert(item.key === key, `key of ${item.itemId}`);
    ids.push(item.itemId);
    last = item;
  }
  assert(key.tail === last, `tail of ${key.fenceKey}`);
  assert(key.waiting === undefined, `nobody waits beside the list of ${key.fenceKey}`);
  return ids;
}

function resourceIds(key: KeyQueue): readonly string[] {
  const { head, waiting } = key;
  assert(head !== undefined && key.tail === undefined, `head of ${key.fenceKey}`);
  if (waiting !== undefined) checkHeap(waiting);
  const others = waiting?.entries ?? [];
  const first = waiting?.top();
  if (first !== undefined && head.status === "pending")
    assert(isBefore(head.rank, head.tie, first.rank, first.tie), `the first of ${key.fenceKey} is shown`);
  for (const item of [head, ...others]) assert(item.key === key, `key of ${item.itemId}`);
  return [head, ...others].sort((left, right) => left.sequence - right.sequence).map(idOf);
}

function checkLanes(state: ShardState, items: readonly Item[]): void {
  const { ready } = state;
  const isOpen = (item: Item): boolean => item.status === "pending" && !isHeldBack(item);
  const leasable = items.filter((item) => isOpen(item) && !isWaiting(state, item));
  checkTimes(state, items.filter(isOpen));
  checkLeasable(ready.lanes, leasable);
  checkShares(state, items);
}

/** For the end of its delay, or for what it depends on. */
const isWaiting = ({ ready }: ShardState, item: Item): boolean =>
  ready.isDelayed(item) || (item.status === "pending" && holdingFlow(item) !== undefined);

const isHeldBack = (item: Item): boolean => item.key !== undefined && (item.key.head !== item || item.key.halted);

/** What waits for the end of its delay, and what may be granted for some time only. */
function checkTimes({ ready }: ShardState, open: readonly Item[]): void {
  checkHeap(ready.delayed);
  for (const item of ready.delayed.entries) {
    assert(item.delayedTo > 0 && ready.delayed.rankAt(item.slot) === item.delayedTo, `delay of ${item.itemId}`);
    assert(open.includes(item), `${item.itemId} is delayed and held back`);
  }
  checkHeap(ready.lapses);
  const lapsing = open.filter((item) => notAfterOf(item) !== undefined);
  // Who waits for its resource may lapse too.
  const watched = new Set(ready.lapses.entries.map(({ item }) => item));
  assert.equal(watched.size, ready.lapses.size, "the end of a time is there once");
  for (const item of lapsing) assert(watched.has(item), `end of the time of ${item.itemId}`);
  for (const { item, rank } of ready.lapses.entries) {
    assert(item.status === "pending", `end of the time of ${item.itemId}`);
    assert.equal(rank, item.terms?.notAfter);
  }
}

function checkLeases(state: ShardState, items: readonly Item[]): void {
  const leased = items.filter((item) => item.lease !== undefined);
  assert.equal(state.leased.length, leased.length);
  const byPeer = new Map<string, number>();
  const tokens = new Set<number>();
  const keys = new Set<string>();
  for (const item of leased) {
    const lease = item.lease;
    assert(lease !== undefined && state.leased[item.slot] === item, `slot of ${item.itemId}`);
    byPeer.set(lease.peerId, (byPeer.get(lease.peerId) ?? 0) + 1);
    assert(!tokens.has(lease.token), "a token is granted once");
    tokens.add(lease.token);
    const key = fenceKey(item);
    assert(!keys.has(key), `one live lease of ${key}`);
    keys.add(key);
    const { request } = lease;
    if (request === undefined) continue;
    assert(
      state.leaseRequests.find(request.principal, request.requestId) === request,
      "the request of a lease is known",
    );
    assert(request.items.includes(item), "the request of a lease lists it");
  }
  assert.deepEqual(new Map(state.leasesByPeer), byPeer, "leases by peer");
  for (const request of state.leaseRequests.values()) {
    const live = countOf(leased, (item) => item.lease?.request === request);
    assert(live > 0, "a lease request is forgotten with its last lease");
    assert.equal(request.liveCount, live);
  }
}

function checkRecords(state: ShardState, items: readonly Item[]): void {
  const records = [...state.records.values()];
  assert.equal(state.records.size, records.length);
  assert(records.length <= state.options.recordsMax, "records above the maximum");
  const withResult = records.filter(({ result }) => result !== undefined);
  assert.equal(state.records.resultCount, withResult.length, "results");
  const { oldestResult } = state.records;
  assert.deepEqual(
    oldestResult === undefined ? undefined : state.records.at(oldestResult),
    withResult[0],
    "oldest result",
  );
  assert(withResult.length <= state.options.resultsMax, "results above the maximum");
  let before = state.horizon;
  for (const record of records) {
    // Many are discarded by one event.
    const least = record.ending === "discarded" ? before : before + 1;
    assert(record.endedSequence >= least, "records are in order of their end, above the horizon");
    before = record.endedSequence;
    assert.deepEqual(state.records.get(record.itemId), record);
    assert(state.items.get(record.itemId) === undefined, "nothing is ended and unfinished");
  }
  for (const entry of [...items, ...records]) {
    if (entry.requestId === undefined) continue;
    assert.deepEqual(rememberedOf(state, entry.principal, entry.requestId), entry, "a request id finds its item");
  }
  assert.equal(state.enqueueRequests.size, items.filter(({ requestId }) => requestId !== undefined).length);
}

function checkHashes(state: ShardState, items: readonly Item[]): void {
  const itemSum = new HashSum();
  for (const item of items) {
    const copy = Object.assign(new Item(item, item.kind), {
      status: item.status,
      attempt: item.attempt,
      charged: item.charged,
      extra: item.extra,
      lease: item.lease && { ...item.lease, ...pair(hashLease(item.lease)) },
      lastEnd: item.lastEnd && { ...item.lastEnd, ...pair(hashLeaseEnd(item.lastEnd)) },
      lastError: item.lastError && { ...item.lastError, ...pair(hashLastError(item.lastError)) },
      deadLetter: item.deadLetter && { ...item.deadLetter, ...pair(hashDeadLetter(item.deadLetter)) },
    });
    hashNewItem(copy);
    itemSum.add(copy.high, copy.low);
  }
  const recordSum = new HashSum();
  for (const record of state.records.values()) {
    const { high, low } = hashRecord(record);
    recordSum.add(high, low);
  }
  const requestSum = new HashSum();
  for (const request of state.leaseRequests.values()) {
    const { high, low } = hashLeaseRequest(request);
    requestSum.add(high, low);
  }
  assert.equal(hexOf(state.itemSum), hexOf(itemSum), "hash of items");
  assert.equal(hexOf(state.records.sum), hexOf(recordSum), "hash of records");
  assert.equal(hexOf(state.leaseRequestSum), hexOf(requestSum), "hash of lease requests");
}

const pair = ({ high, low }: { high: number; low: number }) => ({ high, low });
