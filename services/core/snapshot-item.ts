/** Reads one item from its row of a snapshot, with everything that has happened to it. */
import { RetryPolicy } from "../../contracts/commands.ts";
import { EXCLUSIVITIES } from "../../contracts/options.ts";
import { hashDeadLetter, hashLastError, hashLease, hashLeaseEnd, hashLeaseRequest, hashNewItem } from "./hash.ts";
import {
  type DeadLetter,
  Item,
  type ItemExtra,
  type ItemTerms,
  type LastErrorRecord,
  type LeaseEnd,
  LeaseRequestRecord,
} from "./item.ts";
import { sequenceOfNumber } from "./item-id.ts";
import { FlowRow, readFlow } from "./snapshot-flow.ts";
import {
  END_FIELDS,
  END_KINDS,
  END_OUTCOMES,
  ERROR_FIELDS,
  EXTRA_FIELDS,
  EXTRA_FIELDS_FLOW,
  EXTRA_FIELDS_MARKED,
  ITEM_FIELDS,
  ITEM_FIELDS_TERMS,
  LEASE_FIELDS,
  LETTER_FIELDS,
  STATUSES,
  TERMS_FIELDS,
  TERMS_FIELDS_MORE,
} from "./snapshot-format.ts";
import { Row } from "./snapshot-row.ts";
import type { ShardState } from "./state.ts";

/** Scratch space: each is read to its end before the next row of its kind begins. */
const leaseRow = new Row("lease");
const endRow = new Row("lease end");
const errorRow = new Row("last error");
const letterRow = new Row("dead letter");
const termsRow = new Row("terms");
const extraRow = new Row("extra");

export function readItem(state: ShardState, row: Row): Item {
  const { terms, delayedTo } = row.length === ITEM_FIELDS_TERMS ? readTerms(row) : NO_TERMS;
  const names = {
    resourceType: row.text(6),
    payloadEncoding: row.optionalText(9),
    maxAttempts: row.optionalCount(12),
    group: terms?.group,
    quotaKey: terms?.quotaKey,
  };
  const [number, sequence, enqueuedAt] = [row.count(1), row.count(2), row.count(3)];
  if (sequenceOfNumber(number) !== sequence) throw row.damaged(`item ${number} at sequence ${sequence}`);
  const kind = state.kinds.of(
    state.intern(row.text(4)),
    row.choice(5, EXCLUSIVITIES),
    names,
    enqueuedAt,
    number - sequence,
  );
  const fields = {
    sequence,
    enqueuedAt,
    resourceId: row.text(7),
    partitionKey: row.optionalText(8),
    body: row.optionalText(10),
    attributes: row.attributes(11),
    requestId: row.optionalText(13),
    digest: row.optionalText(14),
    terms: terms && kind.share(terms),
    delayedTo,
  };
  const item = new Item(fields, kind);
  if (row.length === ITEM_FIELDS_TERMS) item.extra = readExtra();
  if (row.length !== ITEM_FIELDS) readChanges(state, item, row);
  hashNewItem(item);
  return item;
}

const NO_TERMS = { terms: undefined, delayedTo: 0 };

function readTerms(item: Row): Pick<Item, "terms" | "delayedTo"> {
  const row = item.inner(22, termsRow, TERMS_FIELDS, TERMS_FIELDS_MORE);
  if (row === undefined) throw item.damaged("terms that are none");
  const terms = {
    priority: row.count(1),
    boost: row.count(2),
    notAfter: row.optionalCount(3),
    leaseDurationMs: row.optionalCount(4),
    retry: row.optionalOf(5, RetryPolicy),
    uniqueKey: row.optionalText(6),
    ...(row.length === TERMS_FIELDS ? NO_MORE : readMore(row)),
  };
  const isEmpty = Object.values(terms).every((value) => value === undefined || value === 0);
  return { terms: isEmpty ? undefined : terms, delayedTo: row.count(0) };
}

const NO_MORE = { group: undefined, quotaKey: undefined };

function readMore(row: Row): Pick<ItemTerms, "group" | "quotaKey" | "schedule"> {
  const name = row.optionalText(10);
  const names = { group: row.optionalText(8), quotaKey: row.optionalText(9) };
  return name === undefined ? names : { ...names, schedule: { name, tick: row.count(11) } };
}

/** After its terms were read: they hold it. */
function readExtra(): ItemExtra | undefined {
  const row = termsRow.inner(7, extraRow, EXTRA_FIELDS, EXTRA_FIELDS_MARKED, EXTRA_FIELDS_FLOW);
  if (row === undefined) return undefined;
  const principal = row.optionalText(1);
  const progress = row.optionalText(4);
  const flow = row.length === EXTRA_FIELDS_FLOW ? row.optionalOf(7, FlowRow) : undefined;
  return {
    redrives: row.count(0),
    redrivenAt: row.length === EXTRA_FIELDS ? 0 : row.count(6),
    cancel: principal === undefined ? undefined : { principal, reason: row.optionalText(2), at: row.count(3) },
    progress: progress === undefined ? undefined : { text: progress, at: row.count(5) },
    flow: flow && readFlow(flow),
  };
}

function readChanges(state: ShardState, item: Item, row: Row): void {
  item.status = row.choice(15, STATUSES);
  item.attempt = row.count(16);
  const charged = row.count(17);
  if (charged > 0) item.charged = charged;
  const lease = row.inner(18, leaseRow, LEASE_FIELDS);
  if (lease !== undefined) readLease(state, item, lease);
  const end = row.inner(19, endRow, END_FIELDS);
  if (end !== undefined) item.lastEnd = readEnd(state, end);
  const error = row.inner(20, errorRow, ERROR_FIELDS);
  if (error !== undefined) item.lastError = readError(state, error);
  const letter = row.inner(21, letterRow, LETTER_FIELDS);
  if (letter !== undefined) item.deadLetter = readLetter(letter);
  if ((item.status === "leased") !== (lease !== undefined)) throw row.damaged(`a lease of a ${item.status} item`);
  if ((item.status === "deadLettered") !== (letter !== undefined))
    throw row.damaged(`a dead letter of a ${item.status} item`);
  if (charged > item.attempt) throw row.damaged(`${charged} of ${item.attempt} attempts are charged`);
}

function readLease(state: ShardState, item: Item, row: Row): void {
  const principal = state.intern(row.text(1));
  const lease = {
    token: row.count(0),
    principal,
    peerId: state.intern(row.text(2)),
    grantedAt: row.count(3),
    grantMs: row.count(4),
    request: readRequest(state, principal, row),
    high: 0,
    low: 0,
    renewedAt: row.count(7),
    durationMs: row.count(8),
    expiresAt: row.count(9),
  };
  const { high, low } = hashLease(lease);
  lease.high = high;
  lease.low = low;
  item.lease = lease;
  if (lease.request === undefined) return;
  lease.request.items.push(item);
  lease.request.liveCount += 1;
}

/** The lease request of a lease, which the first of its leases makes. */
function readRequest(state: ShardState, principal: string, row: Row): LeaseRequestRecord | undefined {
  const requestId = row.optionalText(5);
  if (requestId === undefined) return undefined;
  const digest = row.text(6);
  const known = state.leaseRequests.find(principal, requestId);
  if (known !== undefined) {
    if (known.digest !== digest) throw row.damaged(`lease request ${requestId} has two digests`);
    return known;
  }
  const request = new LeaseRequestRecord(principal, requestId, digest);
  state.leaseRequests.add(request);
  const { high, low } = hashLeaseRequest(request);
  state.leaseRequestSum.add(high, low);
  return request;
}

function readEnd(state: ShardState, row: Row): LeaseEnd {
  const end = {
    token: row.count(0),
    kind: row.choice(1, END_KINDS),
    principal: state.intern(row.text(2)),
    digest: row.text(3),
    outcome: row.choice(4, END_OUTCOMES),
  };
  const { high, low } = hashLeaseEnd(end);
  return { ...end, high, low };
}

function readError(state: ShardState, row: Row): LastErrorRecord {
  const error = {
    reason: row.text(0),
    code: row.optionalText(1),
    attempt: row.count(2),
    peerId: state.intern(row.text(3)),
    at: row.count(4),
  };
  const { high, low } = hashLastError(error);
  return { ...error, high, low };
}

function readLetter(row: Row): DeadLetter {
  const letter = {
    reason: row.text(0),
    code: row.optionalText(1),
    at: row.count(2),
    halts: row.choice(3, ["no", "yes"]) === "yes",
  };
  const { high, low } = hashDeadLetter(letter);
  return { ...letter, high, low };
}
