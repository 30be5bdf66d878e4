/** The verb `cancel`: ends what nobody has, and asks the holder of what somebody has. */
import type { RequestOf } from "../../contracts/commands.ts";
import { errorBody } from "../../contracts/errors.ts";
import type { EventOf } from "../../contracts/events.ts";
import { LOG_VERSION_TERMS } from "../../contracts/limits.ts";
import { frameFull } from "./enqueue.ts";
import { versionRefusal } from "./item-terms.ts";
import {
  type Context,
  cite,
  type Decision,
  Emitter,
  type EventSink,
  type Outcome,
  Results,
  refuse,
  refused,
} from "./outcome.ts";
import { eventLength } from "./sizes.ts";
import type { ShardState } from "./state.ts";
import { endedStatus } from "./views.ts";

interface CancelResult {
  readonly outcome: EventOf<"cancelled">["outcome"];
  readonly duplicate: boolean;
}

export function executeCancel(
  state: ShardState,
  request: RequestOf<"cancel">,
  context: Context,
  sink: EventSink,
): Outcome {
  if (state.logVersion < LOG_VERSION_TERMS) return refuse(versionRefusal(state.logVersion, LOG_VERSION_TERMS), true);
  const emitter = new Emitter(state, context, sink);
  const results = new Results();
  for (const itemId of request.itemIds) {
    const decision = decideCancel(state, itemId, request.reason);
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
 * Decides the cancellation of one item.
 *
 * Shapes: one `cancelled`: `ended` for a pending item or a dead letter, `requested` for a leased one; or `duplicate: true` for a repeat.
 * Refuses with: item_not_found, conflict (it is completed, or was purged or discarded).
 */
function decideCancel(
  state: ShardState,
  itemId: string,
  reason: string | undefined,
): Decision<EventOf<"cancelled"> & { actor: number }, CancelResult> {
  const item = state.items.get(itemId);
  if (item === undefined) {
    const record = state.records.get(itemId);
    if (record === undefined)
      return refused(errorBody("item_not_found", "the shard knows no such item, or has forgotten it"));
    const status = endedStatus(record);
    if (status !== "cancelled") return refused(errorBody("conflict", `the item has ended already: ${status}`));
    return { kind: "unchanged", result: { outcome: "ended", duplicate: true } };
  }
  if (item.extra?.cancel !== undefined) return { kind: "unchanged", result: { outcome: "requested", duplicate: true } };
  const { resourceType, resourceId } = item;
  const outcome = item.status === "leased" ? "requested" : "ended";
  return {
    kind: "accepted",
    event: {
      ...{ type: "cancelled", actor: 0, itemId, resourceType, resourceId, outcome },
      ...(reason === undefined ? undefined : { reason }),
    },
    result: { outcome, duplicate: false },
  };
}
