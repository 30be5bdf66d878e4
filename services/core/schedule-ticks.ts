/** What the leader writes when schedules tick: an item, or that ticks were skipped. */
import type { EventOf } from "../../contracts/events.ts";
import { TICK_LATE_MS_MAX } from "../../contracts/limits.ts";
import type { NextTick } from "../../contracts/schedules.ts";
import { apply } from "./apply.ts";
import { EVENT_BYTES } from "./limits.ts";
import { Emitter, type EventSink } from "./outcome.ts";
import type { Schedule } from "./schedules.ts";
import { eventLength } from "./sizes.ts";
import { itemIdOf, type ShardState } from "./state.ts";

/** What one turn may add to a frame, if its first tick is not longer by itself: others wait for it too. */
const TICKS_PER_TURN = 100;
const TICK_BYTES_MAX = 64 * 1_024;
/** Ticks are whole seconds. ms. */
const TICK_MS = 1_000;

/** Writes the ticks that are due, the oldest first, as many as fit. `bytesLeft`: what the frame takes. */
export function writeTicks(
  state: ShardState,
  at: number,
  bytesLeft: number,
  nextTick: NextTick,
  sink: EventSink,
): void {
  let bytes = 0;
  for (let count = 0; count < TICKS_PER_TURN && bytes < TICK_BYTES_MAX; count += 1) {
    const schedule = state.schedules.due(at);
    if (schedule === undefined) return;
    const event = decideTick(state, schedule, at, nextTick);
    // Its actor may be one that the frame has not yet.
    bytes += EVENT_BYTES + eventLength(event);
    if (bytes > bytesLeft) return;
    if (event.type === "enqueued") {
      const { principal } = schedule;
      new Emitter(state, { at, principal, peerId: principal }, sink).emit(event);
    } else {
      apply(state, event, { at, actor: undefined });
      sink.push(event);
    }
  }
}

/**
 * Decides what a schedule that is due does: one item for its oldest tick (`all`) or for its newest one, or none for ticks that were missed, or
 * while an unfinished item has its unique key. Neither backpressure nor a limit that was lowered since refuses it.
 */
function decideTick(
  state: ShardState,
  schedule: Schedule,
  at: number,
  nextTick: NextTick,
): EventOf<"enqueued"> | EventOf<"tickSkipped"> {
  const { name, catchUp, item } = schedule;
  const after = (ms: number): number | undefined => {
    const tick = nextTick(schedule.cron, schedule.timeZone, ms);
    // A zone that this leader does not know: the schedule stands still, and whoever lists it sees that.
    return typeof tick === "number" ? tick : undefined;
  };
  const tick = catchUp === "all" ? schedule.rank : newestTick(schedule.rank, at, after);
  const next = after(tick);
  const ticked = { name, tick, ...(next === undefined ? undefined : { next }) };
  if (catchUp === "none" && at - tick > TICK_LATE_MS_MAX) return { type: "tickSkipped", ...ticked, reason: "missed" };
  if (item.uniqueKey !== undefined && state.unique.has(item.uniqueKey))
    return { type: "tickSkipped", ...ticked, reason: "unique" };
  const itemId = itemIdOf(state.tokenEpoch, state.sequence + 1);
  return { type: "enqueued", actor: 0, itemId, item, schedule: ticked };
}

/** The last tick that is not after `at`, by few questions however many were missed. */
function newestTick(first: number, at: number, after: (ms: number) => number | undefined): number {
  const isBy = (tick: number | undefined): tick is number => tick !== undefined && tick <= at;
  if (!isBy(after(first))) return first;
  // The last tick is after `low` and not after `high`: from `low` on there is one, from `high` on none.
  let step = TICK_MS;
  while (at - step > first && !isBy(after(at - step))) step *= 2;
  let low = Math.max(first, at - step);
  let high = at;
  while (high - low > TICK_MS) {
    const middle = Math.floor((low + high) / 2);
    if (isBy(after(middle))) low = middle;
    else high = middle;
  }
  const last = after(low);
  return isBy(last) ? last : first;
}
