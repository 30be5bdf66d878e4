/** Folds what happens to schedules: put, deleted, and moved from tick to tick. */
import assert from "node:assert/strict";
import type { EventOf } from "../../contracts/events.ts";
import type { EventMeta } from "./apply-lease.ts";
import { Schedule } from "./schedules.ts";
import type { ShardState } from "./state.ts";

export function applySchedule(
  state: ShardState,
  event: EventOf<"scheduled" | "unscheduled" | "tickSkipped">,
  meta: EventMeta,
): void {
  if (event.type === "scheduled") applyScheduled(state, event, meta);
  else if (event.type === "tickSkipped") applyTick(state, event, meta.at);
  else {
    assert(state.schedules.byName.has(event.name), `there is no schedule ${event.name}`);
    state.schedules.remove(event.name);
  }
}

function applyScheduled(state: ShardState, event: EventOf<"scheduled">, { actor }: EventMeta): void {
  const { name, cron, timeZone, catchUp, item, paused = false, next } = event;
  assert(actor !== undefined, "a schedule is put by somebody");
  const principal = state.intern(actor.principal);
  const { sequence } = state;
  state.schedules.put(new Schedule({ name, cron, timeZone, catchUp, paused, item, principal, sequence, next }));
}

/** A tick happened, or was skipped with those before it: the schedule waits for the next one. */
export function applyTick(
  state: ShardState,
  { name, tick, next }: Pick<EventOf<"tickSkipped">, "name" | "tick" | "next">,
  at: number,
): void {
  const schedule = state.schedules.byName.get(name);
  if (schedule?.next === undefined) assert.fail(`schedule ${name} does not tick`);
  if (tick < schedule.next || tick > at) assert.fail(`schedule ${name} ticks at ${tick}, not at ${schedule.next}`);
  if (next !== undefined && next <= tick) assert.fail(`the tick of ${name} after ${tick} is at ${next}`);
  state.schedules.put(new Schedule({ ...schedule, next }, schedule.digest));
}
