/**
 * The state hash: per table a sum modulo 2^64 of record hashes, kept up with each change, so that reading it costs the same at any size.
 *
 * Fields, in the order in which they are hashed; those of state version 2 only where they are there, so that older logs keep their hashes:
 * - item, fixed part: itemId, sequence, enqueuedAt, principal, exclusivity, resourceType, resourceId, partitionKey, payloadEncoding,
 *   body, maxAttempts, requestId, digest, attributes (count, then name and value sorted by name); version 2: terms (priority, boost,
 *   notAfter, leaseDurationMs, retry as text, uniqueKey; group and quotaKey where one of them is there; schedule: name, tick)
 * - item, changing part: the fixed part's hash, status, attempt, charged, lease (token, principal, peerId, grantedAt, grantMs, requestId;
 *   renewedAt, durationMs, expiresAt), last end (token, kind, principal, digest, outcome), last error (reason, code, attempt, peerId, at),
 *   dead letter (reason, code, at, halts); version 2: delayedTo, extra (redrives, cancel: reason,
 *   principal, at; progress: text, at; redrivenAt where it is not 0; flow where there is one: the sum over its dependencies of policy, place,
 *   itemId, outcome, result, truncated)
 * - record: itemId, principal, requestId, digest, token, settledBy, settleDigest, endedSequence; version 2: ending, where it is no completion
 * - lease request: principal, requestId, digest
 * - schedule (version 2): name, cron, timeZone, catchUp, paused, digest of its item, principal, sequence, next
 * - meta: logVersion, logId, term, leader, tokenEpoch, sequence, paused, horizon, recordCount, pending, active, deadLettered,
 *   enqueuedTotal, completedTotal, bodyBytes, removedTotal and resultCount (version 2), options (name and value sorted by name; those of version 2 only where they are not the default), followers (count, then name, kind,
 *   logVersionMax, keepBytes, keepMs sorted by name); version 2, where they are there: quotas (count, then name, leasesMax, weight, rate: count, perMs,
 *   burst), the sum of the buckets that are not full (kind, name, fullAtUs), the sum of turns (resource type, time; resource type, group, ahead),
 *   drains as text, pressedAt, count and sum of the schedules
 */
import assert from "node:assert/strict";
import type { EnqueueItem } from "../../contracts/commands.ts";
import { DEPENDENCY_OUTCOMES, type Dependency, FAILURE_POLICIES, type FailurePolicy } from "../../contracts/flows.ts";
import { EXCLUSIVITIES, OPTIONS_OF_TERMS, SHARD_OPTIONS_DEFAULT } from "../../contracts/options.ts";
import { drainText } from "./drain-state.ts";
import type { EndedRecord } from "./ended-record.ts";
import { OwnPart } from "./fixed-part.ts";
import { type Hash64, Hasher, hexOf } from "./hasher.ts";
import type {
  DeadLetter,
  Item,
  ItemExtra,
  ItemTerms,
  LastErrorRecord,
  LeaseEnd,
  LeaseRequestRecord,
  LiveLease,
} from "./item.ts";
import { retryText } from "./item-terms.ts";
import type { Meter } from "./meters.ts";
import type { Schedule, ScheduleFields } from "./schedules.ts";
import type { ShardState } from "./state.ts";

/** Scratch space: between `begin` and reading `high` and `low` nothing else runs. */
const hasher = new Hasher();

const STATUS_NUMBER = { pending: 1, leased: 2, deadLettered: 3 } as const;

/** 64-bit hash of a text, 16 hex digits. */
export function digest64(text: string): string {
  return hasher.begin().text(text).end().hex();
}

/** Digest of texts and absences in a fixed order, 16 hex digits. */
export function digestFields(fields: readonly (string | number | undefined)[]): string {
  hasher.begin();
  for (const field of fields) hasher.optional(typeof field === "number" ? String(field) : field);
  return hasher.end().hex();
}

/** Of a completion that left nothing. */
export const NO_RESULT_DIGEST = digestFields([undefined]);

/** Digest of what an item asks for; its attributes in any order. */
export function payloadDigest(payload: EnqueueItem): string {
  hasher.begin().text(payload.resourceType).text(payload.resourceId).optional(payload.partitionKey);
  hasher.optional(payload.payloadEncoding).optional(payload.body).optional(payload.exclusivity);
  hasher.optionalNumber(payload.maxAttempts);
  hashAttributes(payload.attributes);
  const { priority, delayMs, notBefore, notAfter, leaseDurationMs, retry, uniqueKey, group, quotaKey } = payload;
  if ((priority ?? delayMs ?? notBefore ?? notAfter ?? leaseDurationMs ?? retry ?? uniqueKey) !== undefined) {
    const policy = retry === undefined ? undefined : retryText(retry);
    const terms = [priority, delayMs, notBefore, notAfter, leaseDurationMs, policy, uniqueKey];
    hasher.text(JSON.stringify(terms.map((term) => term ?? null)));
  }
  if (group !== undefined || quotaKey !== undefined) hasher.text("group").optional(group).optional(quotaKey);
  const { dependsOn, onDependencyFailure } = payload;
  if (dependsOn !== undefined) hasher.text("flow").text(JSON.stringify(dependsOn)).optional(onDependencyFailure);
  return hasher.end().hex();
}

function hashAttributes(attributes: Readonly<Record<string, string>> | undefined): void {
  if (attributes === undefined) {
    hasher.int(-1);
    return;
  }
  const names = Object.keys(attributes).sort();
  hasher.int(names.length);
  for (const name of names) hasher.text(name).text(attributes[name] as string);
}

/** Computes both hashes of a new item, and the length of its body on the way. */
export function hashNewItem(item: Item): void {
  hasher.begin().text(item.itemId).number(item.sequence).number(item.enqueuedAt).text(item.principal);
  hasher.int(EXCLUSIVITIES.indexOf(item.exclusivity));
  hasher.text(item.resourceType).text(item.resourceId).optional(item.partitionKey).optional(item.payloadEncoding);
  const { part } = item;
  if (!(part instanceof OwnPart)) assert.fail("a new item has its own texts");
  if (part.body === undefined) hasher.int(-1);
  else part.bodyBytes = hasher.int(1).measured(part.body);
  hasher.optionalNumber(item.maxAttempts).optional(item.requestId).optional(item.digest);
  hashAttributes(item.attributes);
  if (item.terms !== undefined) hashTerms(item.terms);
  hasher.end();
  part.high = hasher.high;
  part.low = hasher.low;
  hashItem(item);
}

function hashTerms(terms: ItemTerms): void {
  const { priority, boost, notAfter, leaseDurationMs, retry, uniqueKey, group, quotaKey, schedule } = terms;
  hasher.int(priority).number(boost).optionalNumber(notAfter).optionalNumber(leaseDurationMs);
  hasher.optional(retry === undefined ? undefined : retryText(retry)).optional(uniqueKey);
  if (group !== undefined || quotaKey !== undefined) hasher.text("group").optional(group).optional(quotaKey);
  if (schedule !== undefined) hasher.text(schedule.name).number(schedule.tick);
}

/** Computes an item's hash from its fixed part and what has changed. */
export function hashItem(item: Item): void {
  const { part, sequence } = item;
  hasher.begin().int(part.highOf(sequence)).int(part.lowOf(sequence));
  hasher.int(STATUS_NUMBER[item.status]).int(item.attempt).int(item.charged);
  const lease = item.lease;
  if (lease === undefined) hasher.int(-1);
  else hasher.hash(lease).number(lease.renewedAt).number(lease.durationMs).number(lease.expiresAt);
  hashOptional(item.lastEnd);
  hashOptional(item.lastError);
  hashOptional(item.deadLetter);
  if (item.delayedTo !== 0) hasher.number(item.delayedTo);
  if (item.extra !== undefined) hashExtra(item.extra);
  hasher.end();
  item.high = hasher.high;
  item.low = hasher.low;
}

function hashExtra({ redrives, redrivenAt, cancel, progress, flow }: ItemExtra): void {
  hasher.int(redrives).optional(cancel?.principal).optional(cancel?.reason).optionalNumber(cancel?.at);
  hasher.optional(progress?.text).optionalNumber(progress?.at);
  if (redrivenAt !== 0) hasher.number(redrivenAt);
  if (flow !== undefined) hasher.text("flow").hash(flow);
}

/** `index`: its place among the dependencies of its item. */
export function hashDependency(
  policy: FailurePolicy,
  index: number,
  { itemId, outcome, result, truncated }: Dependency,
): Hash64 {
  hasher.begin().int(FAILURE_POLICIES.indexOf(policy)).int(index).text(itemId);
  return hasher
    .int(DEPENDENCY_OUTCOMES.indexOf(outcome))
    .optional(result)
    .int(truncated === true ? 1 : 0)
    .end();
}

function hashOptional(value: Hash64 | undefined): void {
  if (value === undefined) hasher.int(-1);
  else hasher.int(1).hash(value);
}

/** Hash of a lease's fixed fields. */
export function hashLease(lease: Omit<LiveLease, "high" | "low" | "renewedAt" | "durationMs" | "expiresAt">): Hash64 {
  hasher.begin().number(lease.token).text(lease.principal).text(lease.peerId);
  return hasher.number(lease.grantedAt).number(lease.grantMs).optional(lease.request?.requestId).end();
}

export function hashLeaseEnd(end: Omit<LeaseEnd, "high" | "low">): Hash64 {
  return hasher.begin().number(end.token).text(end.kind).text(end.principal).text(end.digest).text(end.outcome).end();
}

export function hashLastError(error: Omit<LastErrorRecord, "high" | "low">): Hash64 {
  hasher.begin().text(error.reason).optional(error.code);
  return hasher.int(error.attempt).text(error.peerId).number(error.at).end();
}

export function hashDeadLetter(letter: Omit<DeadLetter, "high" | "low">): Hash64 {
  return hasher
    .begin()
    .text(letter.reason)
    .optional(letter.code)
    .number(letter.at)
    .int(letter.halts ? 1 : 0)
    .end();
}

export function hashRecord(record: EndedRecord): Hash64 {
  hasher.begin().text(record.itemId).text(record.principal).optional(record.requestId).optional(record.digest);
  hasher.number(record.token).text(record.settledBy).text(record.settleDigest).number(record.endedSequence);
  if (record.ending !== "completed") hasher.text(record.ending);
  return hasher.end();
}

export function hashLeaseRequest(request: LeaseRequestRecord): Hash64 {
  return hasher.begin().text(request.principal).text(request.requestId).text(request.digest).end();
}

/** Hash of a bucket that is not full. */
export function hashMeter({ kind, name, fullAtUs }: Pick<Meter, "kind" | "name" | "fullAtUs">): Hash64 {
  return hasher.begin().text(kind).text(name).number(fullAtUs).end();
}

/** Hash of the time of a resource type, where fairness is on. */
export function hashTurn(resourceType: string, time: number): Hash64 {
  return hasher.begin().text(resourceType).number(time).end();
}

/** Hash of how far a group is ahead. */
export function hashPass(resourceType: string, group: string, ahead: number): Hash64 {
  return hasher.begin().text(resourceType).text(group).number(ahead).end();
}

function hashQuotas({ quotas, ready: { lanes } }: ShardState): void {
  if (quotas.size > 0) hasher.text("quotas").int(quotas.size);
  for (const [name, { leasesMax, rate, weight }] of quotas) {
    hasher.text(name).optionalNumber(leasesMax).optionalNumber(weight);
    hasher.optionalNumber(rate?.count).optionalNumber(rate?.perMs).optionalNumber(rate?.burst);
  }
  if (lanes.meters.buckets.size > 0) hasher.text("buckets").hash(lanes.meters.sum);
  if (lanes.shares.types.size > 0) hasher.text("turns").hash(lanes.shares.sum);
}

/** Of what a schedule says; its place and its next tick are no part of it. */
export function specDigest(spec: Omit<ScheduleFields, "sequence" | "next">): string {
  const { name, cron, timeZone, catchUp, paused, item, principal } = spec;
  return digestFields([name, cron, timeZone, catchUp, paused ? 1 : 0, payloadDigest(item), principal]);
}

export function hashSchedule({ digest, sequence, next }: Schedule): Hash64 {
  return hasher.begin().text(digest).number(sequence).optionalNumber(next).end();
}

/** The hash of the whole state, 16 hex digits. */
export function stateHash(state: ShardState): string {
  hasher.begin().int(state.logVersion).text(state.logId).number(state.term).text(state.leader);
  hasher
    .number(state.tokenEpoch)
    .number(state.sequence)
    .int(state.paused ? 1 : 0);
  hasher.number(state.horizon).number(state.records.size);
  hasher.number(state.pending).number(state.active).number(state.deadLettered);
  hasher.number(state.enqueuedTotal).number(state.completedTotal).number(state.bodyBytes);
  if (state.removedTotal !== 0 || state.records.resultCount !== 0)
    hasher.number(state.removedTotal).number(state.records.resultCount);
  const options: Readonly<Record<string, string | number>> = state.options;
  const defaults: Readonly<Record<string, string | number>> = SHARD_OPTIONS_DEFAULT;
  for (const name of Object.keys(options).sort()) {
    if (OPTIONS_OF_TERMS.has(name) && options[name] === defaults[name]) continue;
    hasher.text(name).text(String(options[name]));
  }
  hasher.int(state.followers.size);
  for (const [name, follower] of state.followers)
    hasher
      .text(name)
      .text(follower.kind)
      .int(follower.logVersionMax)
      .number(follower.keepBytes)
      .number(follower.keepMs);
  hashQuotas(state);
  hasher.hash(state.itemSum).hash(state.records.sum).hash(state.leaseRequestSum);
  const drains = drainText(state);
  if (drains !== undefined) hasher.text(drains);
  if (state.pressedAt !== undefined) hasher.int(-1).number(state.pressedAt);
  if (state.schedules.size > 0) hasher.int(state.schedules.size).hash(state.schedules.sum);
  return hexOf(hasher.end());
}
