/**
 * The text of a snapshot: JSON lines, one record each. Rows are arrays, for a million of them are read before a shard serves.
 *
 * Format 2, in this order: a header, schedules by name (`scheduleLine`), items by sequence (`itemLine`), ended records by end (`recordLine`), a footer. In a row 0 stands
 * for an absent field (in format 1 items had no terms), and an item id as the number that it is in base 36: a million short texts are looked up one by one when they are
 * parsed. Lease requests have no rows: each is told by its leases, for it is remembered while one of them lives.
 */

import type { DrainFields, EndedDrain } from "../../contracts/drain.ts";
import { OperatingError } from "../../contracts/errors.ts";
import type { Follower } from "../../contracts/followers.ts";
import { EXCLUSIVITIES, type ShardOptions } from "../../contracts/options.ts";
import { QUOTA_KINDS, type Quota } from "../../contracts/quotas.ts";
import { CATCH_UPS } from "../../contracts/schedules.ts";
import { drainFields } from "./drain-state.ts";
import { ENDINGS, type EndedRecord } from "./ended-record.ts";
import { digest64, stateHash } from "./hash.ts";
import type { Item, ItemExtra, LiveLease } from "./item.ts";
import type { ScheduleFields } from "./schedules.ts";
import { flowRow } from "./snapshot-flow.ts";
import type { ShardState } from "./state.ts";

export const SNAPSHOT_FORMAT = 2;
/** Longest line that is worth reading: a frame holds any item, and what happened to it since is short. Characters. */
export const SNAPSHOT_LINE_LENGTH_MAX = 4 * 1_024 * 1_024;

/** Base of item ids. */
export const ID_BASE = 36;
/** First field of a row. */
export const ROW_ITEM = 1;
export const ROW_RECORD = 2;
export const ROW_SCHEDULE = 3;
export const ROW_BUCKET = 4;
export const ROW_TURN = 5;
export const ROW_PASS = 6;
/** Fields of each of these three. */
export const ROW_SHARE_FIELDS = 4;
/** Fields of an item that is as it was enqueued, and of one to which something happened. */
export const ITEM_FIELDS = 15;
export const ITEM_FIELDS_CHANGED = 22;
/** The same with terms, or a delay. */
export const ITEM_FIELDS_TERMS = 23;
export const TERMS_FIELDS = 8;
/** With a group, a quota key, or the schedule and the tick that made it. */
export const TERMS_FIELDS_MORE = 12;
export const SCHEDULE_FIELDS = 10;
/** Redrives, cancel (principal, reason, time), progress (text, time). */
export const EXTRA_FIELDS = 6;
/** The same with the sequence of a redrive during a drain. */
export const EXTRA_FIELDS_MARKED = 7;
/** The same with what it depends on. */
export const EXTRA_FIELDS_FLOW = 8;
export const LEASE_FIELDS = 10;
export const END_FIELDS = 5;
export const ERROR_FIELDS = 5;
export const LETTER_FIELDS = 4;
export const RECORD_FIELDS = 9;
/** Of an item that was not completed. */
export const RECORD_FIELDS_REMOVED = 10;
/** Of one whose result is kept. */
export const RECORD_FIELDS_RESULT = 11;
/** Written as numbers: where they stand here must never change. */
export const STATUSES = ["pending", "leased", "deadLettered"] as const;
export const END_KINDS = ["completed", "failed", "expired", "released", "drained", "evicted"] as const;
export const END_OUTCOMES = ["requeued", "deadLettered"] as const;

/** Everything of a state that is not an item or a record. The counts say what must follow. */
export interface SnapshotHeader {
  readonly kind: "state";
  readonly format: number;
  readonly logVersion: number;
  readonly logId: string;
  readonly sequence: number;
  readonly hash: string;
  readonly at: number;
  readonly term: number;
  readonly leader: string;
  readonly tokenEpoch: number;
  readonly paused: boolean;
  readonly horizon: number;
  readonly pending: number;
  readonly active: number;
  readonly deadLettered: number;
  readonly enqueuedTotal: number;
  readonly completedTotal: number;
  /** Absent in format 1. */
  readonly removedTotal: number;
  readonly bodyBytes: number;
  readonly records: number;
  readonly leaseRequests: number;
  /** Absent while enqueue is taken. */
  readonly pressedAt?: number;
  /** Absent where there are none. */
  readonly schedules?: number;
  readonly options: ShardOptions;
  readonly followers: Readonly<Record<string, Follower>>;
  /** Absent where there are none. */
  readonly quotas?: Readonly<Record<string, Quota>>;
  /** Absent in a shard that is not being drained, or never was. */
  readonly drain?: DrainFields | undefined;
  readonly endedDrains?: readonly EndedDrain[] | undefined;
}

/** What of an item changes while it lives. */
export type ItemChanges = Pick<
  Item,
  "status" | "attempt" | "charged" | "delayedTo" | "extra" | "lease" | "lastEnd" | "lastError" | "deadLetter"
>;

/** The header of a state as it is now. */
export function headerOf(state: ShardState): SnapshotHeader {
  return {
    kind: "state",
    format: SNAPSHOT_FORMAT,
    logVersion: state.logVersion,
    logId: state.logId,
    sequence: state.sequence,
    hash: stateHash(state),
    at: state.at,
    term: state.term,
    leader: state.leader,
    tokenEpoch: state.tokenEpoch,
    paused: state.paused,
    horizon: state.horizon,
    pending: state.pending,
    active: state.active,
    deadLettered: state.deadLettered,
    enqueuedTotal: state.enqueuedTotal,
    completedTotal: state.completedTotal,
    removedTotal: state.removedTotal,
    bodyBytes: state.bodyBytes,
    records: state.records.size,
    leaseRequests: state.leaseRequests.size,
    ...(state.pressedAt === undefined ? undefined : { pressedAt: state.pressedAt }),
    ...(state.schedules.size === 0 ? undefined : { schedules: state.schedules.size }),
    options: state.options,
    followers: Object.fromEntries(state.followers),
    ...(state.quotas.size === 0 ? undefined : { quotas: Object.fromEntries(state.quotas) }),
    ...(state.drain === undefined ? undefined : { drain: drainFields(state.drain) }),
    ...(state.endedDrains.length === 0 ? undefined : { endedDrains: state.endedDrains }),
  };
}

export function itemLine(item: Item, now: ItemChanges): string {
  const isNew = now.attempt === 0 && now.charged === 0 && now.status === "pending" && now.lastEnd === undefined;
  const isPlain = item.terms === undefined && now.delayedTo === 0 && now.extra === undefined;
  return JSON.stringify(isNew && isPlain && now.lastError === undefined ? newRow(item) : changedRow(item, now));
}

/** Literals, for this runs a million times. */
function newRow(item: Item): unknown[] {
  return [
    ROW_ITEM,
    item.number,
    item.sequence,
    item.enqueuedAt,
    item.principal,
    EXCLUSIVITIES.indexOf(item.exclusivity),
    item.resourceType,
    item.resourceId,
    item.partitionKey ?? 0,
    item.payloadEncoding ?? 0,
    item.body ?? 0,
    item.attributes ?? 0,
    item.maxAttempts ?? 0,
    item.requestId ?? 0,
    item.digest ?? 0,
  ];
}

function changedRow(item: Item, now: ItemChanges): unknown[] {
  const { status, attempt, charged, delayedTo, extra, lease, lastEnd, lastError, deadLetter } = now;
  const row = newRow(item);
  row.push(STATUSES.indexOf(status), attempt, charged);
  row.push(lease === undefined ? 0 : leaseRow(lease));
  row.push(
    lastEnd === undefined
      ? 0
      : [
          lastEnd.token,
          END_KINDS.indexOf(lastEnd.kind),
          lastEnd.principal,
          lastEnd.digest,
          END_OUTCOMES.indexOf(lastEnd.outcome),
        ],
  );
  row.push(
    lastError === undefined
      ? 0
      : [lastError.reason, lastError.code ?? 0, lastError.attempt, lastError.peerId, lastError.at],
  );
  row.push(
    deadLetter === undefined ? 0 : [deadLetter.reason, deadLetter.code ?? 0, deadLetter.at, deadLetter.halts ? 1 : 0],
  );
  if (item.terms !== undefined || delayedTo !== 0 || extra !== undefined) row.push(termsRow(item, now));
  return row;
}

function termsRow({ terms }: Item, { delayedTo, extra }: ItemChanges): unknown[] {
  const more = extra === undefined ? 0 : extraRow(extra);
  if (terms === undefined) return [delayedTo, 0, 0, 0, 0, 0, 0, more];
  const { priority, boost, notAfter, leaseDurationMs, retry, uniqueKey, group, quotaKey, schedule } = terms;
  const row = [delayedTo, priority, boost, notAfter ?? 0, leaseDurationMs ?? 0, retry ?? 0, uniqueKey ?? 0, more];
  if (group !== undefined || quotaKey !== undefined || schedule !== undefined)
    row.push(group ?? 0, quotaKey ?? 0, schedule?.name ?? 0, schedule?.tick ?? 0);
  return row;
}

function extraRow({ redrives, redrivenAt, cancel, progress, flow }: ItemExtra): unknown[] {
  const asked = cancel === undefined ? [0, 0, 0] : [cancel.principal, cancel.reason ?? 0, cancel.at];
  const told = progress === undefined ? [0, 0] : [progress.text, progress.at];
  const rest = flow !== undefined ? [redrivenAt, flowRow(flow)] : redrivenAt === 0 ? [] : [redrivenAt];
  return [redrives, ...asked, ...told, ...rest];
}

function leaseRow(lease: LiveLease): unknown[] {
  const { token, principal, peerId, grantedAt, grantMs, request, renewedAt, durationMs, expiresAt } = lease;
  const requestFields = request === undefined ? [0, 0] : [request.requestId, request.digest];
  return [token, principal, peerId, grantedAt, grantMs, ...requestFields, renewedAt, durationMs, expiresAt];
}

export function recordLine(record: EndedRecord): string {
  const { result } = record;
  const end =
    result !== undefined ? [0, result] : record.ending === "completed" ? [] : [ENDINGS.indexOf(record.ending)];
  return JSON.stringify([
    ROW_RECORD,
    record.number,
    record.principal,
    record.requestId ?? 0,
    record.digest ?? 0,
    record.token,
    record.settledBy,
    record.settleDigest,
    record.endedSequence,
    ...end,
  ]);
}

export function scheduleLine(schedule: ScheduleFields): string {
  const { name, cron, timeZone, catchUp, paused, item, principal, sequence, next } = schedule;
  const when = [CATCH_UPS.indexOf(catchUp), paused ? 1 : 0, sequence, next ?? 0];
  return JSON.stringify([ROW_SCHEDULE, name, cron, timeZone, ...when, principal, item]);
}

/** `lines` stand before it. The digest covers what no hash of the state does: log time, and that the header is whole. */
/** What is taken of rates, and whose turn it is: after the records, where there is any. */
export function shareLines({ ready: { lanes } }: ShardState): readonly string[] {
  const rows: unknown[][] = [];
  for (const { kind, name, fullAtUs } of lanes.meters.buckets.entries)
    rows.push([ROW_BUCKET, QUOTA_KINDS.indexOf(kind), name, fullAtUs]);
  for (const { resourceType, time, byPass } of lanes.shares.types.values()) {
    rows.push([ROW_TURN, resourceType, "", time]);
    for (const { group, rank } of byPass.entries) rows.push([ROW_PASS, resourceType, group, rank]);
  }
  return rows.map((row) => JSON.stringify(row));
}

export function footerLine(lines: number, headerLine: string): string {
  return JSON.stringify({ kind: "end", lines, header: digest64(headerLine) });
}

/** A snapshot that is not what was written; `line` is 1-based, 0 when it is about the whole. */
export function damaged(line: number, what: string, cause?: unknown): OperatingError {
  const where = line === 0 ? "" : `line ${line}: `;
  return new OperatingError("snapshot_damaged", `the snapshot is damaged: ${where}${what}`, {
    definite: true,
    details: { line },
    cause,
  });
}
