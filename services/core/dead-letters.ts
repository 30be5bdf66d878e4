/** The verbs `redrive` and `purge`: bring dead letters back, or end them. By id alone, so that a repeat takes no others: whoever has a filter lists them first. */
import type { RequestOf } from "../../contracts/commands.ts";
import { type ErrorBody, errorBody } from "../../contracts/errors.ts";
import type { EventOf } from "../../contracts/events.ts";
import { DELAY_MS_MAX, LOG_VERSION_TERMS } from "../../contracts/limits.ts";
import type { EndedRecord } from "./ended-record.ts";
import { frameFull } from "./enqueue.ts";
import type { Item } from "./item.ts";
import { versionRefusal } from "./item-terms.ts";
import {
  type Context,
  cite,
  Emitter,
  type EventSink,
  logPressureRefusal,
  type Outcome,
  Results,
  refuse,
} from "./outcome.ts";
import { eventLength } from "./sizes.ts";
import type { ShardState } from "./state.ts";

type Request = RequestOf<"purge">;
type Taken = EventOf<"redriven"> | EventOf<"purged">;
interface Taking {
  /** Decides one dead letter; `count` were taken before it. */
  readonly take: (item: Item, count: number) => Taken | ErrorBody;
  /** Whether an earlier request of this kind has made of a dead letter what is there now. */
  readonly isRepeat: (item: Item | undefined, record: EndedRecord | undefined) => boolean;
}

/**
 * Brings dead letters back to their old places, with no attempt charged and without an end of their time.
 *
 * Shapes: one `redriven` for each; one that was redriven before is a duplicate.
 * Refuses with: unsupported_version, backpressure (the log is near its byte limit); per entry: item_not_found, conflict (it has ended, or its
 * unique key has another item), unavailable (frame full).
 */
export function executeRedrive(
  state: ShardState,
  request: RequestOf<"redrive">,
  context: Context,
  sink: EventSink,
): Outcome {
  if (context.logPressure !== undefined) return refuse(logPressureRefusal(), false);
  const { everyMs = 0 } = request;
  const take: Taking["take"] = (item, count) => {
    const { itemId, resourceType, resourceId } = item;
    const holder = item.terms?.uniqueKey === undefined ? undefined : state.unique.get(item.terms.uniqueKey);
    if (holder !== undefined)
      return errorBody("conflict", `the unfinished item ${holder.itemId} has its unique key`, {
        details: { itemId: holder.itemId },
      });
    const delayMs = Math.min(everyMs * count, DELAY_MS_MAX);
    const notBefore = delayMs === 0 ? undefined : { notBefore: context.at + delayMs };
    return { type: "redriven", actor: 0, itemId, resourceType, resourceId, ...notBefore };
  };
  const isRepeat: Taking["isRepeat"] = (item) => (item?.extra?.redrives ?? 0) > 0;
  return takeAll(state, request, context, sink, { take, isRepeat });
}

/**
 * Ends dead letters.
 *
 * Shapes: one `purged` for each; one that was purged before is a duplicate.
 * Refuses with: unsupported_version; per entry: item_not_found, conflict (it is no dead letter), unavailable (frame full).
 */
export function executePurge(state: ShardState, request: Request, context: Context, sink: EventSink): Outcome {
  const take: Taking["take"] = ({ itemId, resourceType, resourceId }) => ({
    ...{ type: "purged", actor: 0, itemId, resourceType, resourceId },
  });
  const isRepeat: Taking["isRepeat"] = (_item, record) => record?.ending === "purged";
  return takeAll(state, request, context, sink, { take, isRepeat });
}

function takeAll(state: ShardState, request: Request, context: Context, sink: EventSink, taking: Taking): Outcome {
  if (state.logVersion < LOG_VERSION_TERMS) return refuse(versionRefusal(state.logVersion, LOG_VERSION_TERMS), true);
  const emitter = new Emitter(state, context, sink);
  const results = new Results();
  let count = 0;
  for (const itemId of request.itemIds) {
    const item = state.items.get(itemId);
    const decided = item?.status === "deadLettered" ? taking.take(item, count) : undefined;
    if (decided === undefined) tellOther(state, itemId, taking, results);
    else if ("code" in decided) results.refuse(decided);
    else if (eventLength(decided) > emitter.bytesLeft) results.refuse(frameFull());
    else {
      emitter.emit(decided);
      results.add({ itemId, duplicate: false });
      count += 1;
    }
  }
  return { reply: { ...cite(state), results: results.entries }, confirm: results.confirm, validity: [] };
}

/** What is said of an item that is no dead letter. */
function tellOther(state: ShardState, itemId: string, { isRepeat }: Taking, results: Results): void {
  const item = state.items.get(itemId);
  const record = state.records.get(itemId);
  if (item === undefined && record === undefined)
    results.refuse(errorBody("item_not_found", "the shard knows no such item, or has forgotten it"));
  else if (isRepeat(item, record)) results.add({ itemId, duplicate: true });
  else results.refuse(errorBody("conflict", `the item is no dead letter: ${item?.status ?? record?.ending}`));
}
