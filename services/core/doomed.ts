/** The ends of items that will not run, for one that they depend on was not completed: written by the leader in its turn, in a partition when theirs has come. */
import type { LogEvent } from "../../contracts/events.ts";
import { apply } from "./apply.ts";
import { failedOf } from "./flow.ts";
import type { Item } from "./item.ts";
import type { EventSink } from "./outcome.ts";
import { eventLength } from "./sizes.ts";
import type { ShardState } from "./state.ts";

const FAILED_CODE = "dependency_failed";

/** Writes them in order of enqueue, as many as fit. The end of one may be what another one waits for. */
export function endDoomed(state: ShardState, at: number, bytesLeft: number, sink: EventSink): void {
  let bytes = 0;
  for (let item = firstOf(state); item !== undefined; item = firstOf(state)) {
    const event = endOf(item);
    bytes += eventLength(event);
    if (bytes > bytesLeft) return;
    apply(state, event, { at, actor: undefined });
    sink.push(event);
  }
}

function firstOf({ ready: { doomed } }: ShardState): Item | undefined {
  for (const item of doomed.after(0)) return item;
  return undefined;
}

function endOf({ itemId, resourceType, resourceId, extra }: Item): LogEvent {
  const flow = extra?.flow;
  const failed = flow && failedOf(flow);
  const reason = `${failed?.itemId}, which it depends on, was not completed: ${failed?.outcome}`;
  const item = { itemId, resourceType, resourceId, reason };
  // How one ended that was left behind by a restore, nobody knows: such an item is not lost.
  if (flow?.policy === "cancel" && failed?.outcome !== "unknown")
    return { type: "cancelled", ...item, outcome: "ended" };
  return { type: "deadLettered", ...item, code: FAILED_CODE };
}
