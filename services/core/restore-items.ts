/** The verb `restore` with items: makes items of an export anew, each once. */
import type { DrainItem } from "../../contracts/commands.ts";
import type { DrainOrigin, ItemOrigin } from "../../contracts/drain.ts";
import { errorBody } from "../../contracts/errors.ts";
import type { EventOf } from "../../contracts/events.ts";
import { restoredDependencies } from "./dependencies.ts";
import { EndedRecord } from "./ended-record.ts";
import { bodyProblem, frameFull } from "./enqueue.ts";
import type { Remembered } from "./item.ts";
import {
  type Context,
  cite,
  type Decision,
  Emitter,
  type EventSink,
  logPressureRefusal,
  type Outcome,
  Results,
  refuse,
  refused,
} from "./outcome.ts";
import { eventLength } from "./sizes.ts";
import { itemIdOf, restoredFrom, type ShardState, sequenceOfItemId } from "./state.ts";
import { endedStatus } from "./views.ts";

interface Restoring {
  readonly drainId: string;
  readonly origin: DrainOrigin;
  readonly items: readonly DrainItem[];
}
interface RestoreResult {
  readonly itemId: string;
  readonly duplicate: boolean;
  /** Of one that has ended since. */
  readonly status?: string;
}

/**
 * Makes the items of an export anew, each under an id of its own, with its attempts, its times and whoever enqueued it.
 *
 * Shapes: one `restored` for each; one that was made of it before, or that is here itself, is a duplicate.
 * Refuses with: backpressure (the log is near its byte limit); per entry: see `decideRestore`.
 */
export function executeRestoreItems(
  state: ShardState,
  { drainId, origin, items }: Restoring,
  context: Context,
  sink: EventSink,
): Outcome {
  if (context.logPressure === "full") return refuse(logPressureRefusal(), false);
  const emitter = new Emitter(state, context, sink);
  const results = new Results();
  let isFull = false;
  for (const entry of items) {
    // Whoever comes after one that did not fit would be before it in their partition.
    if (isFull) {
      results.refuse(frameFull());
      continue;
    }
    const decision = decideRestore(state, drainId, entry, { logId: origin.logId, itemId: entry.itemId });
    if (decision.kind === "refused") results.refuse(decision.error);
    else if (decision.kind === "unchanged") {
      results.add(decision.result);
      results.confirm ||= decision.confirm === true;
    } else if (eventLength(decision.event) > emitter.bytesLeft) {
      isFull = true;
      results.refuse(frameFull());
    } else {
      emitter.emit(decision.event);
      results.add(decision.result);
    }
  }
  return { reply: { ...cite(state), drainId, results: results.entries }, confirm: results.confirm, validity: [] };
}

/**
 * Decides one item of an export.
 *
 * Refuses with: item_not_found and request_expired (an item of this log that never was, or whose end is forgotten), conflict (another item has
 * its unique key), payload_too_large, invalid_argument (it would wait twice for one item) (first that applies).
 */
function decideRestore(
  state: ShardState,
  drainId: string,
  entry: DrainItem,
  origin: ItemOrigin,
): Decision<EventOf<"restored"> & { actor: number }, RestoreResult> {
  const made = restoredFrom(state, origin);
  if (made !== undefined) return duplicate(made);
  if (origin.logId === state.logId) {
    const own = state.items.get(entry.itemId) ?? state.records.get(entry.itemId);
    if (own === undefined) return refused(forgotten(state, entry.itemId));
    if (!(own instanceof EndedRecord) || own.ending !== "discarded") return duplicate(own);
  }
  const { sequence: _sequence, itemId: _itemId, item, dependencies, ...past } = entry;
  const holder = item.uniqueKey === undefined ? undefined : state.unique.get(item.uniqueKey);
  if (holder !== undefined)
    return refused(
      errorBody("conflict", `the unfinished item ${holder.itemId} has its unique key`, {
        details: { itemId: holder.itemId },
      }),
    );
  const tooLarge = bodyProblem(state, item.body);
  if (tooLarge !== undefined) return refused(tooLarge);
  const itemId = itemIdOf(state.tokenEpoch, state.sequence + 1);
  const waits = dependencies && restoredDependencies(state, dependencies, origin);
  if (waits !== undefined && "error" in waits) return refused(waits.error);
  return {
    kind: "accepted",
    event: { type: "restored", actor: 0, drainId, entry: { itemId, origin, ...past, ...waits, item } },
    result: { itemId, duplicate: false },
  };
}

/** Confirmed: another leader may have seen its end, and then it would be lost. */
function duplicate(known: Remembered) {
  const ended = known instanceof EndedRecord ? { status: endedStatus(known) } : undefined;
  return { kind: "unchanged", confirm: true, result: { itemId: known.itemId, duplicate: true, ...ended } } as const;
}

function forgotten({ horizon }: ShardState, itemId: string) {
  // What has ended at or below the horizon was enqueued below it.
  if (sequenceOfItemId(itemId) < horizon)
    return errorBody("request_expired", "the item is of this log and has ended so long ago that its end is forgotten", {
      details: { horizon },
    });
  return errorBody("item_not_found", "the item is of this log, and the log has no such item");
}
