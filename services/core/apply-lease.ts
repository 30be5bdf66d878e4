/** Folds the events of a lease's life: granted, renewed, and its four ends. */
import assert from "node:assert/strict";
import type { Actor, EventOf, OUTCOMES } from "../../contracts/events.ts";
import { tokenOf } from "../../contracts/ids.ts";
import { LOG_VERSION_TERMS } from "../../contracts/limits.ts";
import { bury, endItem, itemOf, leaveUnfinished, rehash, setExtra } from "./apply-item.ts";
import { holdingFlow } from "./flow.ts";
import { hashLastError, hashLease, hashLeaseEnd, hashLeaseRequest } from "./hash.ts";
import { type EndKind, type Item, type LeaseEnd, LeaseRequestRecord, type LiveLease } from "./item.ts";
import { haltsPartition } from "./ready.ts";
import type { ShardState } from "./state.ts";

type Outcome = (typeof OUTCOMES)[number];

export interface EventMeta {
  /** Log time of the event's frame. ms. */
  readonly at: number;
  /** Who caused it; undefined for what the leader does by itself. */
  readonly actor: Actor | undefined;
}

/** Reason and code that an expired lease leaves as the item's last error. */
const EXPIRED_REASON = {
  duration: "the lease ran out without a heartbeat",
  age: "the lease reached its maximum age",
} as const;
const EXPIRED_CODE = "lease_expired";

export function applyLeased(state: ShardState, event: EventOf<"leased">, meta: EventMeta): void {
  const actor = meta.actor;
  assert(actor !== undefined, "a lease belongs to somebody");
  const item = itemOf(state, event.itemId);
  // Messages are put together when they are needed: a million events make a million of each.
  if (item.status !== "pending") assert.fail(`leased while ${item.status}`);
  if (event.attempt !== item.attempt + 1) assert.fail(`attempt ${event.attempt} after ${item.attempt}`);
  if (holdingFlow(item) !== undefined) assert.fail(`leased while it waits for others`);
  if (item.delayedTo > meta.at) assert.fail(`leased at ${meta.at}, delayed to ${item.delayedTo}`);
  state.cut?.keep(item);
  state.packer.open(item);
  state.ready.take(item);
  takeOfQuotas(state, item, meta.at);
  const peerId = state.intern(actor.peerId);
  const request = requestOf(state, actor.principal, actor.requestId, actor.digest);
  const lease: LiveLease = {
    token: tokenOf(state.tokenEpoch, state.sequence),
    // A process that has given itself no name goes by its principal.
    principal: actor.principal === actor.peerId ? peerId : state.intern(actor.principal),
    peerId,
    grantedAt: meta.at,
    grantMs: event.durationMs,
    request,
    high: 0,
    low: 0,
    renewedAt: meta.at,
    durationMs: event.durationMs,
    expiresAt: event.expiresAt,
  };
  const { high, low } = hashLease(lease);
  lease.high = high;
  lease.low = low;
  item.lease = lease;
  item.status = "leased";
  item.attempt = event.attempt;
  item.slot = state.leased.length;
  state.leased.push(item);
  state.leasesByPeer.set(peerId, (state.leasesByPeer.get(peerId) ?? 0) + 1);
  if (request !== undefined) {
    request.items.push(item);
    request.liveCount += 1;
  }
  state.pending -= 1;
  state.active += 1;
  rehash(state, item);
}

/** The remembered request of a grant, made by its first grant. */
function requestOf(
  state: ShardState,
  principal: string,
  requestId: string | undefined,
  digest: string | undefined,
): LeaseRequestRecord | undefined {
  if (requestId === undefined) return undefined;
  const known = state.leaseRequests.find(principal, requestId);
  if (known !== undefined) return known;
  const request = new LeaseRequestRecord(state.intern(principal), requestId, digest ?? "");
  state.leaseRequests.add(request);
  const { high, low } = hashLeaseRequest(request);
  state.leaseRequestSum.add(high, low);
  return request;
}

export function applyRenewed(state: ShardState, event: EventOf<"renewed">, meta: EventMeta): void {
  for (const renewal of event.leases) {
    const item = itemOf(state, renewal.itemId);
    const lease = leaseOf(item, renewal.token);
    state.cut?.keep(item);
    lease.renewedAt = meta.at;
    lease.durationMs = renewal.durationMs;
    lease.expiresAt = renewal.expiresAt;
    if (renewal.progress !== undefined) setExtra(item, { progress: { text: renewal.progress, at: meta.at } });
    rehash(state, item);
  }
}

export function applyCompleted(state: ShardState, event: EventOf<"completed">, meta: EventMeta): void {
  const item = itemOf(state, event.itemId);
  const lease = endLease(state, item, event.token);
  state.ready.end(item, false, meta.at);
  leaveUnfinished(state, item);
  const { token, digest } = event;
  const result = state.logVersion < LOG_VERSION_TERMS ? undefined : event.result;
  endItem(state, item, { token, principal: lease.principal, digest, ending: "completed", result });
}

export function applyFailed(state: ShardState, event: EventOf<"failed">, meta: EventMeta): void {
  const item = itemOf(state, event.itemId);
  const lease = endLease(state, item, event.token);
  if (event.charged !== false) item.charged += 1;
  item.delayedTo = event.notBefore ?? item.delayedTo;
  const end = { kind: "failed", digest: event.digest, outcome: event.outcome } as const;
  become(state, item, lease, end, { reason: event.reason, code: event.code, at: meta.at });
}

export function applyExpired(state: ShardState, event: EventOf<"expired">, meta: EventMeta): void {
  const item = itemOf(state, event.itemId);
  const lease = endLease(state, item, event.token);
  item.charged += 1;
  item.delayedTo = event.notBefore ?? item.delayedTo;
  const end = { kind: "expired", digest: "", outcome: event.outcome } as const;
  become(state, item, lease, end, { reason: EXPIRED_REASON[event.reason], code: EXPIRED_CODE, at: meta.at });
}

export function applyReleased(state: ShardState, event: EventOf<"released">, meta: EventMeta): void {
  const item = itemOf(state, event.itemId);
  const lease = endLease(state, item, event.token);
  const end = { kind: event.reason ?? "released", digest: "", outcome: event.outcome ?? "requeued" } as const;
  become(state, item, lease, end, { at: meta.at });
}

function leaseOf(item: Item, token: number): LiveLease {
  const lease = item.lease;
  if (lease === undefined) assert.fail(`item ${item.itemId} is ${item.status}`);
  if (lease.token !== token) assert.fail(`token ${token} on a lease of token ${lease.token}`);
  return lease;
}

/** Counts a grant for the quotas of its item, and as a turn of its group. */
function takeOfQuotas({ ready: { lanes }, options }: ShardState, item: Item, at: number): void {
  lanes.meters.take(item, at);
  if (options.fairness === "groups") lanes.charge(item);
}

/** Takes the lease off an item and off everything that counts leases. The item is left without a place. */
function endLease(state: ShardState, item: Item, token: number): LiveLease {
  const lease = leaseOf(item, token);
  state.cut?.keep(item);
  const last = state.leased.pop();
  assert(last !== undefined, "leased items are listed");
  if (last !== item) {
    if (state.leased[item.slot] !== item) assert.fail(`item ${item.itemId} is not in its slot`);
    state.leased[item.slot] = last;
    last.slot = item.slot;
  }
  item.slot = -1;
  item.lease = undefined;
  state.ready.lanes.meters.giveBack(item);
  state.active -= 1;
  const held = state.leasesByPeer.get(lease.peerId) ?? 0;
  if (held === 0) assert.fail(`peer ${lease.peerId} holds no lease`);
  if (held === 1) state.leasesByPeer.delete(lease.peerId);
  else state.leasesByPeer.set(lease.peerId, held - 1);
  const request = lease.request;
  if (request !== undefined) {
    request.liveCount -= 1;
    if (request.liveCount === 0) forgetRequest(state, request);
  }
  return lease;
}

function forgetRequest(state: ShardState, request: LeaseRequestRecord): void {
  state.leaseRequests.remove(request);
  const { high, low } = hashLeaseRequest(request);
  state.leaseRequestSum.subtract(high, low);
}

function setLastEnd(item: Item, lease: LiveLease, kind: EndKind, digest: string, outcome: LeaseEnd["outcome"]): void {
  const end = { token: lease.token, kind, principal: lease.principal, digest, outcome };
  const { high, low } = hashLeaseEnd(end);
  item.lastEnd = { ...end, high, low };
}

function setLastError(item: Item, lease: LiveLease, reason: string, code: string | undefined, at: number): void {
  const error = { reason, code, attempt: item.attempt, peerId: lease.peerId, at };
  const { high, low } = hashLastError(error);
  item.lastError = { ...error, high, low };
}

/** Gives an item back whose lease has ended, makes it a dead letter, or ends it because that was asked for. */
function become(
  state: ShardState,
  item: Item,
  lease: LiveLease,
  end: { readonly kind: Exclude<EndKind, "completed">; readonly digest: string; readonly outcome: Outcome },
  error: { readonly reason?: string; readonly code?: string | undefined; readonly at: number },
): void {
  const { kind, digest, outcome } = end;
  const { reason = "", code, at } = error;
  if (outcome === "cancelled") {
    state.ready.end(item, false, at);
    leaveUnfinished(state, item);
    endItem(state, item, {
      token: lease.token,
      principal: lease.principal,
      digest: state.intern(digest),
      ending: kind,
    });
    return;
  }
  setLastEnd(item, lease, kind, digest, outcome);
  if (kind === "failed" || kind === "expired") setLastError(item, lease, reason, code, at);
  if (item.extra?.cancel !== undefined) assert.fail(`${outcome} although it was to be cancelled`);
  if (outcome === "requeued") {
    item.status = "pending";
    state.pending += 1;
    state.ready.giveBack(item, at);
  } else {
    const letter = { reason, code, at, halts: haltsPartition(item, state.options) };
    state.ready.end(item, letter.halts, at);
    bury(state, item, letter);
  }
  rehash(state, item);
}
