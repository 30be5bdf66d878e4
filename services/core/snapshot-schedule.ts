/** Reads one schedule from its row of a snapshot. */
import { ScheduleItem } from "../../contracts/commands.ts";
import { CATCH_UPS } from "../../contracts/schedules.ts";
import { Schedule } from "./schedules.ts";
import type { Row } from "./snapshot-row.ts";

export function readSchedule(row: Row): Schedule {
  const item = row.optionalOf(9, ScheduleItem);
  if (item === undefined) throw row.damaged("a schedule without an item");
  const next = row.optionalCount(7);
  const paused = row.choice(5, ["no", "yes"]) === "yes";
  if (paused && next !== undefined) throw row.damaged("a paused schedule that ticks");
  const catchUp = row.choice(4, CATCH_UPS);
  const named = { name: row.text(1), cron: row.text(2), timeZone: row.text(3), principal: row.text(8) };
  return new Schedule({ ...named, catchUp, paused, item, sequence: row.count(6), next });
}
