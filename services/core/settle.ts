/** The verbs `complete`, `fail` and `release`: end leases on purpose, once. */
import type { RequestOf } from "../../contracts/commands.ts";
import { errorBody } from "../../contracts/errors.ts";
import type { EventOf, LogEvent } from "../../contracts/events.ts";
import { LOG_VERSION_TERMS } from "../../contracts/limits.ts";
import { frameFull } from "./enqueue.ts";
import { digestFields, NO_RESULT_DIGEST } from "./hash.ts";
import { type Item, notAfterOf } from "./item.ts";
import { retryDelayMs, versionRefusal } from "./item-terms.ts";
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
/** Log time, caller, and chance for the delays of retries. */
export type SettleTerms = Pick<Context, "at" | "principal" | "random">;
type Fate = Pick<EventOf<"failed">, "outcome" | "notBefore">;

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
  decide: (state: ShardState, entry: Entry, terms: SettleTerms) => Decision<LogEvent & { actor: number }, object>,
): Outcome {
  const emitter = new Emitter(state, context, sink);
  const results = new Results();
  for (const entry of entries) {
    const decision = decide(state, entry, context);
    if (decision.kind === "refused") results.refuse(decision.error);
    else if (decision.kind === "unchanged") results.add(decision.result);
    else {
      const bytes = eventLength(decision.event);
      if (bytes > emitter.bytesLeft) {
        results.refuse(frameFull());
        continue;
      }
      emitter.emit(decision.event, bytes);
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
  { principal }: SettleTerms,
): Decision<EventOf<"completed">, { duplicate: boolean }> {
  const digest = entry.result === undefined ? NO_RESULT_DIGEST : digestFields([entry.result]);
  const check = checkLease(state, entry, principal, "completed");
  if (check.kind === "refused") return check;
  if (check.kind === "repeat")
    return check.digest === digest ? { kind: "unchanged", result: { duplicate: true } } : conflict("result");
  const { token, result } = entry;
  const { itemId, resourceType, resourceId } = check.item;
  // Fields are named one by one where every item passes: a spread takes ten times as long.
  const event = { type: "completed" as const, actor: 0, itemId, resourceType, resourceId, token, digest };
  return {
    kind: "accepted",
    event: result === undefined ? event : { ...event, result },
    result: { duplicate: false },
  };
}

/**
 * Decides the failure of one attempt: the item goes back to its place, or becomes a dead letter at its last charged attempt or on request.
 *
 * Shapes: one `failed`; or the earlier outcome with `duplicate: true` for a repeat with the same contents.
 * Refuses with: unsupported_version (delay and penalty in an old log), permission_denied, conflict, item_not_found, stale_token (first that applies).
 */
export function decideFail(
  state: ShardState,
  entry: FailEntry,
  terms: SettleTerms,
): Decision<EventOf<"failed">, { outcome: FailOutcome; duplicate: boolean }> {
  const { reason, code, delayMs, penalty = true } = entry;
  const isPlain = delayMs === undefined && penalty;
  if (!isPlain && state.logVersion < LOG_VERSION_TERMS)
    return refused(versionRefusal(state.logVersion, LOG_VERSION_TERMS));
  const digest = digestFields([
    ...[reason, code, entry.requeue ? "requeue" : "discard"],
    ...(isPlain ? [] : [delayMs, penalty ? "charged" : "free"]),
  ]);
  const check = checkLease(state, entry, terms.principal, "failed");
  if (check.kind === "refused") return check;
  if (check.kind === "repeat") {
    if (check.digest !== digest || check.outcome === "completed")
      return conflict("reason, code, requeue, delay or penalty");
    return { kind: "unchanged", result: { outcome: check.outcome, duplicate: true } };
  }
  const fate = fateOf(state, check.item, entry, terms);
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
      ...fate,
    },
    result: { outcome: fate.outcome, duplicate: false },
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
  { principal }: SettleTerms,
): Decision<EventOf<"released"> & { actor: number }, { duplicate: boolean }> {
  const check = checkLease(state, entry, principal, "released");
  if (check.kind === "refused") return check;
  if (check.kind === "repeat") return { kind: "unchanged", result: { duplicate: true } };
  return {
    kind: "accepted",
    event: {
      type: "released",
      actor: 0,
      ...named(check.item),
      token: entry.token,
      ...(check.item.extra?.cancel === undefined ? undefined : { outcome: "cancelled" }),
    },
    result: { duplicate: false },
  };
}

/**
 * What becomes of an item whose running attempt is charged, and from when on it is granted again: after `delayMs`, or as its policy says.
 * Without chance after the shortest delay.
 */
export function chargeOf(
  state: ShardState,
  item: Item,
  { at, random = () => 0 }: Pick<Context, "at" | "random">,
  delayMs?: number,
): Fate {
  const charged = item.charged + 1;
  if (item.extra?.cancel !== undefined) return { outcome: "cancelled" };
  if (charged >= maxAttemptsOf(state, item)) return { outcome: "deadLettered" };
  return requeuedFor(delayMs ?? retryDelayMs(item, state.options, charged, random), item, at);
}

function fateOf(state: ShardState, item: Item, { requeue, delayMs, penalty = true }: FailEntry, terms: SettleTerms) {
  const free = penalty ? undefined : { charged: false as const };
  if (item.extra?.cancel !== undefined) return { outcome: "cancelled" as const, ...free };
  if (!requeue) return { outcome: "deadLettered" as const, ...free };
  const fate = penalty ? chargeOf(state, item, terms, delayMs) : requeuedFor(delayMs ?? 0, item, terms.at);
  return { ...fate, ...free };
}

/** A requeued item: where its time would be over before its delay, it is a dead letter at once. */
function requeuedFor(delayMs: number, item: Item, at: number): Fate {
  const notBefore = at + delayMs;
  const notAfter = notAfterOf(item);
  if (notAfter !== undefined && notAfter <= notBefore) return { outcome: "deadLettered" };
  return delayMs === 0 ? { outcome: "requeued" } : { outcome: "requeued", notBefore };
}

function named(item: Item) {
  return { itemId: item.itemId, resourceType: item.resourceType, resourceId: item.resourceId };
}

function conflict(what: string) {
  return refused(errorBody("conflict", `the lease was settled before with another ${what}`));
}
