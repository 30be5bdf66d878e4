/** The verbs `complete`, `fail` and `release`: end leases on purpose, once. */
import type { RequestOf } from "../../contracts/commands.ts";
import { errorBody } from "../../contracts/errors.ts";
import type { EventOf, LogEvent } from "../../contracts/events.ts";
import { frameFull } from "./enqueue.ts";
import { digestFields } from "./hash.ts";
import type { Item } from "./item.ts";
import { checkLease, type LeaseRef } from "./lease-check.ts";
import {
  type Context,
  cite,
  type Decision,
  Emitter,
  type EventSink,
  type Outcome,
  Results,
  refused,
} from "./outcome.ts";
import { eventLength } from "./sizes.ts";
import { maxAttemptsOf, type ShardState } from "./state.ts";

type FailEntry = RequestOf<"fail">["leases"][number];
type CompleteEntry = RequestOf<"complete">["leases"][number];
export type FailOutcome = EventOf<"failed">["outcome"];

export const executeComplete = (state: ShardState, request: RequestOf<"complete">, context: Context, sink: EventSink) =>
  settle(state, request.leases, context, sink, decideComplete);
export const executeFail = (state: ShardState, request: RequestOf<"fail">, context: Context, sink: EventSink) =>
  settle(state, request.leases, context, sink, decideFail);
export const executeRelease = (state: ShardState, request: RequestOf<"release">, context: Context, sink: EventSink) =>
  settle(state, request.leases, context, sink, decideRelease);

function settle<Entry extends LeaseRef>(
  state: ShardState,
  entries: readonly Entry[],
  context: Context,
  sink: EventSink,
  decide: (state: ShardState, entry: Entry, principal: string) => Decision<LogEvent & { actor: number }, object>,
): Outcome {
  const emitter = new Emitter(state, context, sink);
  const results = new Results();
  for (const entry of entries) {
    const decision = decide(state, entry, context.principal);
    if (decision.kind === "refused") results.refuse(decision.error);
    else if (decision.kind === "unchanged") results.add(decision.result);
    else if (eventLength(decision.event) > emitter.bytesLeft) results.refuse(frameFull());
    else {
      emitter.emit(decision.event);
      results.add(decision.result);
    }
  }
  return { reply: { ...cite(state), results: results.entries }, confirm: results.confirm, validity: [] };
}

/**
 * Decides the completion of one item, which ends it.
 *
 * Shapes: one `completed`; or `duplicate: true` for a repeat with the same result.
 * Refuses with: permission_denied, conflict, item_not_found, stale_token (first that applies).
 */
export function decideComplete(
  state: ShardState,
  entry: CompleteEntry,
  principal: string,
): Decision<EventOf<"completed">, { duplicate: boolean }> {
  const digest = digestFields([entry.result]);
  const check = checkLease(state, entry, principal, "completed");
  if (check.kind === "refused") return check;
  if (check.kind === "repeat")
    return check.digest === digest ? { kind: "unchanged", result: { duplicate: true } } : conflict("result");
  const { result } = entry;
  return {
    kind: "accepted",
    event: {
      type: "completed",
      actor: 0,
      ...named(check.item),
      token: entry.token,
      digest,
      ...(result === undefined ? undefined : { result }),
    },
    result: { duplicate: false },
  };
}

/**
 * Decides the failure of one attempt: the item goes back to its place, or becomes a dead letter at its last charged attempt or on request.
 *
 * Shapes: one `failed`; or the earlier outcome with `duplicate: true` for a repeat with the same reason, code and requeue.
 * Refuses with: permission_denied, conflict, item_not_found, stale_token (first that applies).
 */
export function decideFail(
  state: ShardState,
  entry: FailEntry,
  principal: string,
): Decision<EventOf<"failed">, { outcome: FailOutcome; duplicate: boolean }> {
  const { reason, code } = entry;
  const digest = digestFields([reason, code, entry.requeue ? "requeue" : "discard"]);
  const check = checkLease(state, entry, principal, "failed");
  if (check.kind === "refused") return check;
  if (check.kind === "repeat") {
    if (check.digest !== digest || check.outcome === "completed") return conflict("reason, code or requeue");
    return { kind: "unchanged", result: { outcome: check.outcome, duplicate: true } };
  }
  const outcome = entry.requeue ? outcomeOfCharge(state, check.item) : "deadLettered";
  return {
    kind: "accepted",
    event: {
      type: "failed",
      actor: 0,
      ...named(check.item),
      token: entry.token,
      digest,
      reason,
      ...(code === undefined ? undefined : { code }),
      outcome,
    },
    result: { outcome, duplicate: false },
  };
}

/**
 * Decides the release of one lease: the item goes back to its place and the attempt is not charged.
 *
 * Shapes: one `released`; or `duplicate: true` for a repeat.
 * Refuses with: permission_denied, item_not_found, stale_token (first that applies).
 */
export function decideRelease(
  state: ShardState,
  entry: LeaseRef,
  principal: string,
): Decision<EventOf<"released">, { duplicate: boolean }> {
  const check = checkLease(state, entry, principal, "released");
  if (check.kind === "refused") return check;
  if (check.kind === "repeat") return { kind: "unchanged", result: { duplicate: true } };
  return {
    kind: "accepted",
    event: { type: "released", actor: 0, ...named(check.item), token: entry.token },
    result: { duplicate: false },
  };
}

/** What becomes of an item whose running attempt is charged. */
export function outcomeOfCharge(state: ShardState, item: Item): FailOutcome {
  return item.charged + 1 >= maxAttemptsOf(state, item) ? "deadLettered" : "requeued";
}

function named(item: Item) {
  return { itemId: item.itemId, resourceType: item.resourceType, resourceId: item.resourceId };
}

function conflict(what: string) {
  return refused(errorBody("conflict", `the lease was settled before with another ${what}`));
}
