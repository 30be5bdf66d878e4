/** When cron expressions tick, by the library croner and the time zones that this Node knows. The one place that knows either. */
import { Cron } from "croner";
import type { NextTick } from "../../contracts/schedules.ts";

/** Whole seconds, strictly after `afterMs`. An expression that never ticks, or not before the year 10,000, is a problem of its own. */
export const nextTick: NextTick = (cron, timeZone, afterMs) => {
  if (!isZone(timeZone)) return { path: "timeZone", message: `${timeZone} is no time zone that this dispatcher knows` };
  let tick: Date | null;
  try {
    tick = new Cron(cron, { timezone: timeZone, mode: "5-or-6-parts", paused: true }).nextRun(new Date(afterMs));
  } catch (error) {
    const reason = error instanceof Error ? error.message.replace(/^CronPattern: /, "") : String(error);
    return { path: "cron", message: `is no cron expression: ${reason}` };
  }
  return tick === null ? { path: "cron", message: "never ticks: there is no such time" } : tick.getTime();
};

function isZone(timeZone: string): boolean {
  try {
    return new Intl.DateTimeFormat("en", { timeZone }).resolvedOptions().timeZone !== "";
  } catch (error) {
    if (error instanceof RangeError) return false;
    throw error;
  }
}
