/** When cron expressions tick, by the library croner and the time zones that this Node knows. The one place that knows either. */
import { Cron } from "croner";
import { SCHEDULES_MAX } from "../../contracts/limits.ts";
import type { NextTick, ScheduleProblem } from "../../contracts/schedules.ts";

/** Expressions that were read before: a schedule asks for the same one at each tick. */
const read = new Map<string, Cron | ScheduleProblem>();

/** Whole seconds, strictly after `afterMs`. An expression that never ticks, or not before the year 10,000, is a problem of its own. */
export const nextTick: NextTick = (cron, timeZone, afterMs) => {
  const key = `${timeZone} ${cron}`;
  const expression = read.get(key) ?? readExpression(cron, timeZone);
  if (read.size >= SCHEDULES_MAX) read.clear();
  read.set(key, expression);
  if (!(expression instanceof Cron)) return expression;
  const tick = expression.nextRun(new Date(afterMs));
  return tick === null ? { path: "cron", message: "never ticks: there is no such time" } : tick.getTime();
};

function readExpression(cron: string, timeZone: string): Cron | ScheduleProblem {
  if (!isZone(timeZone)) return { path: "timeZone", message: `${timeZone} is no time zone that this dispatcher knows` };
  try {
    return new Cron(cron, { timezone: timeZone, mode: "5-or-6-parts", paused: true });
  } catch (error) {
    const reason = error instanceof Error ? error.message.replace(/^CronPattern: /, "") : String(error);
    return { path: "cron", message: `is no cron expression: ${reason}` };
  }
}

function isZone(timeZone: string): boolean {
  try {
    return new Intl.DateTimeFormat("en", { timeZone }).resolvedOptions().timeZone !== "";
  } catch (error) {
    if (error instanceof RangeError) return false;
    throw error;
  }
}
