/** The verb `lease`: grants the first leasable items to one peer. */
import type { RequestOf } from "../../contracts/commands.ts";
import { errorBody } from "../../contracts/errors.ts";
import type { EventOf } from "../../contracts/events.ts";
import { FRAME_BYTES_MAX } from "../../contracts/limits.ts";
import { fenceKey } from "./fence-key.ts";
import { flowLength } from "./flow.ts";
import { digestFields } from "./hash.ts";
import { type Item, notAfterOf } from "./item.ts";
import type { TypeLanes } from "./lanes.ts";
import { EVENT_BYTES, FRAME_BYTES_RESERVE, LEASE_BYTES, LEASE_CAP_RETRY_AFTER_MS } from "./limits.ts";
import {
  type Context,
  cite,
  Emitter,
  type EventSink,
  logPressureRefusal,
  type Outcome,
  refuse,
  type Validity,
} from "./outcome.ts";
import { jsonLength, payloadLength } from "./sizes.ts";
import type { ShardState } from "./state.ts";
import { buryLapsed } from "./term.ts";
import { itemView, lastErrorView } from "./views.ts";

export interface GrantTerms {
  readonly at: number;
  /** What the worker asked for, if it did. */
  readonly durationMs: number | undefined;
  /** undefined stands for every type. */
  readonly lanes: readonly TypeLanes[] | undefined;
  readonly replyBytesLeft: number;
  readonly frameBytesLeft: number;
}

/**
 * Grants up to `maxItems` leases.
 *
 * Shapes: one `leased` per grant. A repeat of the request id answers those of its leases that still live and writes nothing.
 * Units: `leaseDurationMs` in ms; absent means the item's own, or the shard's default; above `leaseDurationMsMax` is refused, not clamped.
 * Refuses with: invalid_argument, resource_exhausted, conflict, backpressure (first that applies). Paused, draining or nothing leasable is an empty reply.
 */
export function executeLease(
  state: ShardState,
  request: RequestOf<"lease">,
  context: Context,
  sink: EventSink,
): Outcome {
  const { options } = state;
  const { leaseDurationMs: durationMs } = request;
  if (durationMs !== undefined && durationMs > options.leaseDurationMsMax)
    return refuse(durationRefusal("leaseDurationMs", durationMs, options.leaseDurationMsMax), true);
  const identity = request.requestId === undefined ? undefined : identityOf(request, request.requestId, context);
  const known = identity === undefined ? undefined : state.leaseRequests.find(context.principal, identity.requestId);
  if (known !== undefined && known.digest === identity?.digest)
    return replyLeases(
      state,
      known.items.filter((item) => item.lease?.request === known),
    );
  const held = state.leasesByPeer.get(context.peerId) ?? 0;
  const limit = options.leasesPerPeerMax;
  if (held >= limit)
    return refuse(
      errorBody("resource_exhausted", `the peer holds ${held} leases, the limit is ${limit}`, {
        retryAfterMs: LEASE_CAP_RETRY_AFTER_MS,
        details: { held, limit },
      }),
      true,
    );
  if (known !== undefined)
    return refuse(errorBody("conflict", "the request id was used before with other contents"), true);
  if (context.logPressure === "full") return refuse(logPressureRefusal(), false);
  if (state.paused) return replyEmpty(state, "paused");
  if (state.drain !== undefined) return replyEmpty(state, "draining");

  const frameBytesLeft = context.frameBytesLeft ?? FRAME_BYTES_MAX - FRAME_BYTES_RESERVE;
  const buriedBytes = buryLapsed(state, context, frameBytesLeft, sink);
  const emitter = new Emitter(state, { ...context, frameBytesLeft: frameBytesLeft - buriedBytes }, sink, identity);
  state.ready.release(context.at);
  const lanes = state.ready.lanes.of(request.resourceTypes);
  const granted: Item[] = [];
  let replyBytesLeft = FRAME_BYTES_MAX - FRAME_BYTES_RESERVE;
  const countMax = Math.min(request.maxItems, limit - held);
  while (granted.length < countMax) {
    const { at } = context;
    const grant = decideGrant(state, { at, durationMs, lanes, replyBytesLeft, frameBytesLeft: emitter.bytesLeft });
    if (grant === undefined) break;
    replyBytesLeft -= grant.replyBytes;
    emitter.emit(grant.event, grant.frameBytes);
    granted.push(grant.item);
  }
  return granted.length === 0 ? replyEmpty(state, "none") : replyLeases(state, granted);
}

interface Grant {
  readonly item: Item;
  readonly event: EventOf<"leased">;
  /** What it takes in the reply and in the frame. */
  readonly replyBytes: number;
  readonly frameBytes: number;
}

/** Decides one grant: the first leasable item, unless reply or frame cannot take it. undefined when there is none. */
export function decideGrant(state: ShardState, terms: GrantTerms): Grant | undefined {
  const item = state.ready.lanes.next(terms.lanes, terms.at);
  // One whose time is over, where the frame had no room for its end.
  if (item === undefined || (notAfterOf(item) ?? Number.POSITIVE_INFINITY) <= terms.at) return undefined;
  // Its texts are needed several times now.
  state.packer.open(item);
  const { itemId, resourceType, resourceId } = item;
  const { leaseDurationMsDefault, leaseDurationMsMax, leaseAgeMsMax } = state.options;
  const ownMs = Math.min(item.terms?.leaseDurationMs ?? leaseDurationMsDefault, leaseDurationMsMax);
  const durationMs = terms.durationMs ?? ownMs;
  const replyBytes = leaseLength(item);
  const frameBytes = leasedLength(item);
  if (replyBytes > terms.replyBytesLeft || frameBytes > terms.frameBytesLeft) return undefined;
  const event = {
    type: "leased" as const,
    actor: 0,
    itemId,
    resourceType,
    resourceId,
    attempt: item.attempt + 1,
    durationMs,
    expiresAt: terms.at + Math.min(durationMs, leaseAgeMsMax),
  };
  return { item, event, replyBytes, frameBytes };
}

export function durationRefusal(field: string, durationMs: number, limit: number) {
  return errorBody("invalid_argument", `${field}: ${durationMs} is above leaseDurationMsMax (${limit})`, {
    details: { issues: [{ path: field, message: `must be at most ${limit}` }] },
  });
}

/** The id of a lease request with the digest of what it asks for; how long it would wait is no part of that. */
function identityOf(request: RequestOf<"lease">, requestId: string, context: Context) {
  const types = request.resourceTypes === undefined ? [undefined] : [...request.resourceTypes].sort();
  return { requestId, digest: digestFields([context.peerId, request.maxItems, request.leaseDurationMs, ...types]) };
}

/** Bytes of a `leased` of the item, rounded up. */
function leasedLength(item: Item): number {
  return EVENT_BYTES + jsonLength(item.resourceType) + jsonLength(item.resourceId);
}

/** Bytes that a lease of the item takes in a reply, rounded up. */
function leaseLength(item: Item): number {
  const error = item.lastError;
  const errorBytes = error === undefined ? 0 : LEASE_BYTES + jsonLength(error.reason);
  return (
    LEASE_BYTES +
    payloadLength(item, item.bodyBytes) +
    6 * (item.requestId?.length ?? 0) +
    fenceKeyLength(item) +
    errorBytes +
    flowLength(item.extra?.flow)
  );
}

/** An upper bound without building the text: an escape makes three characters of one. */
function fenceKeyLength(item: Item): number {
  if (item.exclusivity === "none") return item.itemId.length + 8;
  return 16 + 3 * ((item.partitionKey ?? item.resourceType).length + item.resourceId.length) * 2;
}

function replyEmpty(state: ShardState, reason: "none" | "paused" | "draining"): Outcome {
  return { reply: { ...cite(state), leases: [], reason }, confirm: false, validity: [], empty: true };
}

function replyLeases(state: ShardState, items: readonly Item[]): Outcome {
  const validity: Validity[] = [];
  const leases: object[] = [];
  for (const item of items) {
    const lease = item.lease;
    if (lease === undefined) continue;
    const target = {
      itemId: item.itemId,
      token: lease.token,
      fenceKey: item.key?.fenceKey ?? fenceKey(item),
      attempt: item.attempt,
      expiresAt: lease.expiresAt,
      validMs: 0,
      heartbeatMs: Math.max(1, Math.floor(lease.durationMs / 3)),
      enqueuedAt: item.enqueuedAt,
      // JSON leaves out what is undefined; most have neither.
      lastError: item.lastError && lastErrorView(item.lastError),
      dependencies: item.extra?.flow?.dependencies,
      item: itemView(item, true),
    };
    leases.push(target);
    validity.push({ target, token: lease.token, lastsMs: lease.expiresAt - lease.renewedAt });
  }
  return { reply: { ...cite(state), leases }, confirm: false, validity };
}
