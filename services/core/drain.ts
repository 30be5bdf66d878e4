/** The verbs `drain`, `restore`, `discard` and `evict`: hold a shard's items still, let them go on, or end them; end the leases of a peer. */
import type { RequestOf } from "../../contracts/commands.ts";
import { type ErrorBody, errorBody } from "../../contracts/errors.ts";
import type { EventOf } from "../../contracts/events.ts";
import { ENTRIES_PER_REQUEST_MAX, LOG_VERSION_TERMS } from "../../contracts/limits.ts";
import { apply } from "./apply.ts";
import { markedItems } from "./drain-state.ts";
import { frameFull } from "./enqueue.ts";
import type { Item } from "./item.ts";
import { versionRefusal } from "./item-terms.ts";
import { EVENT_BYTES } from "./limits.ts";
import { type Context, cite, Emitter, type EventSink, type Outcome, refuse } from "./outcome.ts";
import { executeRestoreItems } from "./restore-items.ts";
import { eventLength, jsonLength } from "./sizes.ts";
import type { ShardState } from "./state.ts";

/**
 * Marks what is unfinished and stops granting until the drain is restored or discarded. With `leases: "expire"` live leases end, now and as
 * later frames have room; with "wait" they end as always.
 *
 * Shapes: one `drained`, then `released` with the reason `drained`; a repeat answers what is left of it with `duplicate: true`.
 * Refuses with: unsupported_version, conflict (another drain is on, this one is on with other leases, or it is over).
 */
export function executeDrain(
  state: ShardState,
  { drainId, leases }: RequestOf<"drain">,
  context: Context,
  sink: EventSink,
): Outcome {
  if (state.logVersion < LOG_VERSION_TERMS) return refuse(versionRefusal(state.logVersion, LOG_VERSION_TERMS), true);
  const { drain } = state;
  const problem = drainProblem(state, drainId, leases);
  if (problem !== undefined) return refuse(problem, true);
  if (drain === undefined) {
    const emitter = new Emitter(state, context, sink);
    emitter.emit({ type: "drained", actor: 0, drainId, leases });
    endDrainedLeases(state, context.at, emitter.bytesLeft, sink);
  }
  const { active } = state;
  const marked = state.drain?.left ?? 0;
  const reply = { ...cite(state), drainId, marked, active, duplicate: drain !== undefined };
  return { reply, confirm: false, validity: [] };
}

function drainProblem(state: ShardState, drainId: string, leases: "wait" | "expire"): ErrorBody | undefined {
  const { drain } = state;
  if (drain !== undefined && drain.drainId !== drainId)
    return errorBody("conflict", `the drain ${drain.drainId} is on: restore or discard it first`, {
      details: { drainId: drain.drainId },
    });
  if (drain !== undefined && drain.leases !== leases)
    return errorBody("conflict", `this drain is on with leases ${drain.leases}`, { details: { leases: drain.leases } });
  const ended = endedDrain(state, drainId);
  if (ended === undefined) return undefined;
  return errorBody("conflict", `this drain is over: ${ended.outcome}; take another id`, {
    details: { outcome: ended.outcome },
  });
}

const endedDrain = (state: ShardState, drainId: string) => state.endedDrains.find((each) => each.drainId === drainId);

const notFound = (): ErrorBody => errorBody("drain_not_found", "the shard knows no such drain, or has forgotten it");

/**
 * Lets the items of a drain go on; or, with items, makes items of an export anew.
 *
 * Shapes: one `restored`; `duplicate: true` when that was done before. With items: see `executeRestoreItems`.
 * Refuses with: unsupported_version, conflict (it is discarded, or partly), drain_not_found.
 */
export function executeRestore(
  state: ShardState,
  request: RequestOf<"restore">,
  context: Context,
  sink: EventSink,
): Outcome {
  if (state.logVersion < LOG_VERSION_TERMS) return refuse(versionRefusal(state.logVersion, LOG_VERSION_TERMS), true);
  const { drainId, origin, items } = request;
  if (origin !== undefined && items !== undefined)
    return executeRestoreItems(state, { drainId, origin, items }, context, sink);
  const { drain } = state;
  const isOn = drain?.drainId === drainId;
  const ended = endedDrain(state, drainId);
  if (!isOn && ended === undefined) return refuse(notFound(), true);
  if (isOn ? drain.discarding : ended?.outcome === "discarded") {
    const how = isOn ? "partly discarded: discard the rest" : "discarded";
    return refuse(errorBody("conflict", `the drain is ${how}; what was exported can be restored from there`), true);
  }
  if (isOn) new Emitter(state, context, sink).emit({ type: "restored", actor: 0, drainId });
  return { reply: { ...cite(state), drainId, duplicate: !isOn, results: [] }, confirm: false, validity: [] };
}

/**
 * Ends items of a drain, at most 1,000 and as many as the frame holds: whoever asks repeats it until none is left.
 *
 * Shapes: one `discarded`; `duplicate: true` when the drain was discarded before.
 * Refuses with: unsupported_version, conflict (an item is leased, or the drain was restored), drain_not_found, unavailable (frame full).
 */
export function executeDiscard(
  state: ShardState,
  { drainId }: RequestOf<"discard">,
  context: Context,
  sink: EventSink,
): Outcome {
  if (state.logVersion < LOG_VERSION_TERMS) return refuse(versionRefusal(state.logVersion, LOG_VERSION_TERMS), true);
  const { drain, active } = state;
  if (drain?.drainId !== drainId) {
    const ended = endedDrain(state, drainId);
    if (ended === undefined) return refuse(notFound(), true);
    if (ended.outcome === "restored") return refuse(errorBody("conflict", "the drain was restored"), true);
    const reply = { ...cite(state), drainId, discarded: 0, left: 0, duplicate: true };
    return { reply, confirm: false, validity: [] };
  }
  if (active > 0)
    return refuse(
      errorBody("conflict", `${active} of its items are leased: wait for their ends, or evict their holders`, {
        details: { active },
      }),
      true,
    );
  const emitter = new Emitter(state, context, sink);
  const itemIds: string[] = [];
  let bytesLeft = emitter.bytesLeft - EVENT_BYTES - jsonLength(drainId);
  for (const { itemId } of markedItems(state, drain)) {
    bytesLeft -= jsonLength(itemId) + 1;
    if (itemIds.length >= ENTRIES_PER_REQUEST_MAX || bytesLeft < 0) break;
    itemIds.push(itemId);
  }
  if (bytesLeft < 0 && itemIds.length === 0) return refuse(frameFull(), false);
  emitter.emit({ type: "discarded", actor: 0, drainId, itemIds });
  const reply = { ...cite(state), drainId, discarded: itemIds.length, left: drain.left, duplicate: false };
  return { reply, confirm: false, validity: [] };
}

/**
 * Ends leases of a peer, at most 1,000 and as many as the frame holds; their attempts are not charged.
 *
 * Shapes: one `released` with the reason `evicted` for each. A peer that holds none, or that nobody knows, is answered with 0.
 */
export function executeEvict(
  state: ShardState,
  { peerId }: RequestOf<"evict">,
  context: Context,
  sink: EventSink,
): Outcome {
  if (state.logVersion < LOG_VERSION_TERMS) return refuse(versionRefusal(state.logVersion, LOG_VERSION_TERMS), true);
  const emitter = new Emitter(state, context, sink);
  const held = state.leased.filter(({ lease }) => lease?.peerId === peerId);
  let evicted = 0;
  for (const item of held) {
    const event = { ...endOf(item, "evicted"), actor: 0 };
    if (evicted >= ENTRIES_PER_REQUEST_MAX || eventLength(event) > emitter.bytesLeft) break;
    emitter.emit(event);
    evicted += 1;
  }
  if (evicted === 0 && held.length > 0) return refuse(frameFull(), false);
  const reply = { ...cite(state), peerId, evicted, left: held.length - evicted };
  return { reply, confirm: false, validity: [] };
}

/** Whether the leader has leases to end for the drain that is on. */
export const endsLeases = ({ drain, active }: ShardState): boolean => drain?.leases === "expire" && active > 0;

/** Ends leases for the drain that is on, as many as fit. */
export function endDrainedLeases(state: ShardState, at: number, bytesMax: number, sink: Pick<EventSink, "push">): void {
  let bytesLeft = bytesMax;
  while (endsLeases(state)) {
    const event = endOf(state.leased.at(-1) as Item, "drained");
    bytesLeft -= eventLength(event);
    if (bytesLeft < 0) return;
    apply(state, event, { at, actor: undefined });
    sink.push(event);
  }
}

function endOf({ itemId, resourceType, resourceId, lease, extra }: Item, reason: "drained" | "evicted") {
  return {
    ...{ type: "released", itemId, resourceType, resourceId, token: lease?.token ?? 0, reason },
    ...(extra?.cancel === undefined ? undefined : { outcome: "cancelled" }),
  } as const satisfies EventOf<"released">;
}
