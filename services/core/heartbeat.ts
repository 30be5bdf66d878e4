/** The verb `heartbeat`: keeps leases alive, and writes only when that is due. */
import assert from "node:assert/strict";
import type { RequestOf } from "../../contracts/commands.ts";
import type { EventOf } from "../../contracts/events.ts";
import { LOG_VERSION_TERMS } from "../../contracts/limits.ts";
import { frameFull } from "./enqueue.ts";
import type { LiveLease } from "./item.ts";
import { versionRefusal } from "./item-terms.ts";
import { durationRefusal } from "./lease.ts";
import { checkLease } from "./lease-check.ts";
import { EVENT_BYTES } from "./limits.ts";
import {
  type Context,
  cite,
  Emitter,
  type EventSink,
  type Outcome,
  Results,
  refuse,
  type Validity,
} from "./outcome.ts";
import { jsonLength } from "./sizes.ts";
import type { ShardState } from "./state.ts";

export type Renewal = EventOf<"renewed">["leases"][number];

/**
 * Renews the leases of one request.
 *
 * Shapes: one `renewed` for all that change, or none.
 * Units: `extendMs` in ms, the new length from now, shorter than what is left is allowed; above `leaseDurationMsMax` is refused.
 * Refuses with: invalid_argument, and unsupported_version (progress in an old log) for the request; unavailable (frame full), and what `checkLease` says, per entry.
 */
export function executeHeartbeat(
  state: ShardState,
  request: RequestOf<"heartbeat">,
  context: Context,
  sink: EventSink,
): Outcome {
  const { extendMs } = request;
  const limit = state.options.leaseDurationMsMax;
  if (extendMs !== undefined && extendMs > limit) return refuse(durationRefusal("extendMs", extendMs, limit), true);
  if (state.logVersion < LOG_VERSION_TERMS && request.leases.some(({ progress }) => progress !== undefined))
    return refuse(versionRefusal(state.logVersion, LOG_VERSION_TERMS), true);
  const emitter = new Emitter(state, context, sink);
  const results = new Results();
  const renewals = new Map<number, Renewal>();
  const validity: Validity[] = [];
  let bytesLeft = emitter.bytesLeft - EVENT_BYTES;
  for (const ref of request.leases) {
    const check = checkLease(state, ref, context.principal, undefined);
    if (check.kind === "refused") {
      results.refuse(check.error);
      continue;
    }
    assert(check.kind === "live", "a heartbeat settles nothing, so it repeats nothing");
    const { item, lease } = check;
    const isTold = ref.progress !== undefined;
    const renewal = renewals.get(ref.token) ?? decideRenewal(state, item.itemId, lease, context, extendMs, isTold);
    if (renewal !== undefined && !renewals.has(ref.token)) {
      const bytes = EVENT_BYTES + (ref.progress === undefined ? 0 : jsonLength(ref.progress));
      if (bytesLeft < bytes) {
        results.refuse(frameFull());
        continue;
      }
      bytesLeft -= bytes;
      renewals.set(ref.token, isTold ? { ...renewal, progress: ref.progress } : renewal);
    }
    const target = {
      expiresAt: renewal?.expiresAt ?? lease.expiresAt,
      validMs: 0,
      ...(item.extra?.cancel === undefined ? undefined : { cancelRequested: true }),
    };
    results.add(target);
    const lastsMs = renewal?.durationMs ?? lease.expiresAt - lease.renewedAt;
    validity.push({ target, token: ref.token, lastsMs });
  }
  if (renewals.size > 0) emitter.emit({ type: "renewed", actor: 0, leases: [...renewals.values()] });
  return { reply: { ...cite(state), results: results.entries }, confirm: results.confirm, validity };
}

/**
 * Decides whether and how a beat changes a lease; undefined when it changes nothing.
 *
 * With `extendMs`, or `mustWrite` because there is progress to tell, it always does. Otherwise only after a third of the lease has run, to the
 * length of the grant from now, and never to an earlier end. No lease outlives `leaseAgeMsMax`.
 */
export function decideRenewal(
  state: ShardState,
  itemId: string,
  lease: LiveLease,
  { at, now = at }: Pick<Context, "at" | "now">,
  extendMs: number | undefined,
  mustWrite = false,
): Renewal | undefined {
  const latest = lease.grantedAt + state.options.leaseAgeMsMax;
  const endFrom = (ms: number): number => Math.min(ms + (extendMs ?? lease.grantMs), latest);
  let expiresAt = endFrom(at);
  if (extendMs === undefined) {
    if (!mustWrite && (now - lease.renewedAt) * 3 < lease.durationMs) return undefined;
    if (!mustWrite && endFrom(now) <= lease.expiresAt) return undefined;
    // By the time of a frame that has long been open the end would be an earlier one.
    expiresAt = Math.max(expiresAt, lease.expiresAt);
  }
  return { itemId, token: lease.token, durationMs: Math.max(1, expiresAt - at), expiresAt };
}
