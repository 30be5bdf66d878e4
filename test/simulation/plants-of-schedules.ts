/** Bugs of schedules that the simulator must find. */
import { CORE, NODE, type Plant, plant } from "./plant.ts";

export const PLANTS_OF_SCHEDULES: readonly Plant[] = [
  plant(
    "tick_not_moved_by_apply",
    `${CORE}/apply.ts`,
    "  if (event.schedule !== undefined) applyTick(state, event.schedule, meta.at);\n",
    "",
    "R1",
  ),
  plant(
    "all_catches_up_on_the_last",
    `${CORE}/schedule-ticks.ts`,
    'catchUp === "all" ? schedule.rank',
    'catchUp === "all" && schedule.rank + 2_000 > at ? schedule.rank',
    "R1",
  ),
  plant(
    "tick_counted_from_now",
    `${CORE}/schedule-ticks.ts`,
    "  const next = after(tick);",
    "  const next = after(at);",
    "Q6",
  ),
  plant(
    "ticks_stop_with_the_term",
    `${CORE}/apply.ts`,
    "  state.leader = event.leader;",
    "  state.leader = event.leader;\n  state.schedules.ticking.clear();",
    "crash",
  ),
  plant(
    "tick_beside_a_unique_key",
    `${CORE}/schedule-ticks.ts`,
    "item.uniqueKey !== undefined && state.unique.has(item.uniqueKey)",
    'item.uniqueKey !== undefined && state.unique.get(item.uniqueKey)?.status === "pending"',
    "crash",
  ),
  plant(
    "tick_in_the_name_of_the_leader",
    `${CORE}/schedule-ticks.ts`,
    "      const { principal } = schedule;",
    "      const principal = state.leader;",
    "Q6",
  ),
  plant(
    "paused_schedule_ticks",
    `${CORE}/schedule-verbs.ts`,
    "  const next = paused ? undefined : isSameTime",
    "  const next = paused && known === undefined ? undefined : isSameTime",
    "Q6",
  ),
  plant(
    "snapshot_forgets_the_next_tick",
    `${CORE}/snapshot-schedule.ts`,
    "  const next = row.optionalCount(7);",
    "  const next = row.optionalCount(7) === undefined ? undefined : row.count(7) + 1_000;",
    "crash",
  ),
  plant("deleted_schedule_stays", `${CORE}/schedules.ts`, "    this.byName.delete(name);\n", "", "F7"),
  plant(
    "ticks_wait_for_a_pause",
    `${NODE}/item-times.ts`,
    "state.schedules.due(at) !== undefined &&",
    "state.schedules.due(at) !== undefined && !state.paused &&",
    "V1",
  ),
];
