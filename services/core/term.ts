/** What the leader writes by itself: the log's first event, terms, expiries, state hashes. */
import type { EventOf, LogEvent } from "../../contracts/events.ts";
import { LOG_VERSION_MAX } from "../../contracts/limits.ts";
import type { ShardOptions } from "../../contracts/options.ts";
import { apply } from "./apply.ts";
import { stateHash } from "./hash.ts";
import type { EventSink } from "./outcome.ts";
import { chargeOf } from "./settle.ts";
import { eventLength } from "./sizes.ts";
import type { ShardState } from "./state.ts";

/** Log time of the open frame, and chance for the delays of retries. */
interface Moment {
  readonly at: number;
  readonly random?: (() => number) | undefined;
}

function write(state: ShardState, event: LogEvent, at: number, sink: EventSink): void {
  apply(state, event, { at, actor: undefined });
  sink.push(event);
}

/** Writes the first event of a log. */
export function createLog(
  state: ShardState,
  log: { readonly logId: string; readonly options: ShardOptions; readonly tokenEpoch: number },
  context: Moment,
  sink: EventSink,
): void {
  write(state, { type: "logCreated", logVersion: LOG_VERSION_MAX, ...log }, context.at, sink);
}

/** Writes the beginning of a term. */
export function startTerm(
  state: ShardState,
  term: { readonly term: number; readonly leader: string; readonly tokenEpoch: number },
  context: Moment,
  sink: EventSink,
): void {
  const { term: number, leader, tokenEpoch } = term;
  write(state, { type: "termStarted", term: number, leader, tokenEpoch }, context.at, sink);
}

/** Writes the end of the present term, at a planned stop or handover. `askedBy`: index of its actor in the frame. */
export function releaseTerm(
  state: ShardState,
  release: { readonly successor?: string | undefined; readonly askedBy?: number | undefined },
  context: Moment,
  sink: EventSink,
): void {
  const { term, leader } = state;
  const successor = release.successor === undefined ? undefined : { successor: release.successor };
  const askedBy = release.askedBy === undefined ? undefined : { askedBy: release.askedBy };
  write(state, { type: "termReleased", term, leader, ...successor, ...askedBy }, context.at, sink);
}

/** Writes the hash of the present state, by which followers check theirs. */
export function writeStateHash(state: ShardState, context: Moment, sink: EventSink): void {
  write(state, { type: "stateHash", hash: stateHash(state) }, context.at, sink);
}

/** Decides the expiry of a lease; undefined when the lease does not live any more. */
export function decideExpire(
  state: ShardState,
  itemId: string,
  token: number,
  reason: "duration" | "age",
  moment: Moment,
): EventOf<"expired"> | undefined {
  const item = state.items.get(itemId);
  if (item?.lease?.token !== token) return undefined;
  const { resourceType, resourceId } = item;
  return { type: "expired", itemId, resourceType, resourceId, token, reason, ...chargeOf(state, item, moment) };
}

/** Writes the expiry of a lease. Answers false, and writes nothing, when the lease does not live any more. */
export function expire(
  state: ShardState,
  itemId: string,
  token: number,
  reason: "duration" | "age",
  context: Moment,
  sink: EventSink,
): boolean {
  const event = decideExpire(state, itemId, token, reason, context);
  if (event === undefined) return false;
  write(state, event, context.at, sink);
  return true;
}

const LAPSED_REASON = "it was not granted before its notAfter";
const LAPSED_CODE = "not_after";

/** Writes the end of pending items whose time is over, as many as fit; answers the bytes that they take. */
export function buryLapsed(state: ShardState, { at }: Moment, bytesLeft: number, sink: EventSink): number {
  let bytes = 0;
  for (let item = state.ready.lapsed(at); item !== undefined; item = state.ready.lapsed(at)) {
    const { itemId, resourceType, resourceId } = item;
    const event = {
      type: "deadLettered",
      itemId,
      resourceType,
      resourceId,
      reason: LAPSED_REASON,
      code: LAPSED_CODE,
    } as const;
    bytes += eventLength(event);
    if (bytes > bytesLeft) return bytes - eventLength(event);
    write(state, event, at, sink);
  }
  return bytes;
}
