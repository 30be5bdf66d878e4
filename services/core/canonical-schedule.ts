/** Schedules in `canonicalState` and `assertInvariants`. */
import assert from "node:assert/strict";
import { HashSum, hexOf } from "./hasher.ts";
import { Schedule, type ScheduleFields } from "./schedules.ts";
import type { ShardState } from "./state.ts";

export function scheduleFieldsOf(schedule: ScheduleFields, sortedItem: object): object {
  const { name, cron, timeZone, catchUp, paused, principal, sequence, next } = schedule;
  return { name, cron, timeZone, catchUp, paused, item: sortedItem, principal, sequence, next };
}

/** Asserts which schedules tick, and that their hashes are those of schedules made anew. */
export function checkSchedules({ schedules: { byName, ticking, sum } }: ShardState): void {
  const expected = new HashSum();
  let count = 0;
  for (const [name, schedule] of byName) {
    assert.equal(name, schedule.name, "name of a schedule");
    assert.equal(schedule.next !== undefined, ticking.entries[schedule.slot] === schedule, `next tick of ${name}`);
    assert(!schedule.paused || schedule.next === undefined, `${name} is paused and ticks`);
    if (schedule.next !== undefined) count += 1;
    const { high, low } = new Schedule(schedule);
    expected.add(high, low);
  }
  assert.equal(ticking.size, count, "schedules that tick");
  assert.equal(hexOf(sum), hexOf(expected), "hash of schedules");
}
