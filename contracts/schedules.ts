/** What a schedule is made of besides its item: names, cron expressions, time zones, what becomes of missed ticks; and the port that knows when it ticks. */
import { z } from "zod";
import { LogTimeMs, RequestId } from "./ids.ts";
import { CRON_LENGTH_MAX, PAGE_SIZE_MAX, TIME_ZONE_LENGTH_MAX } from "./limits.ts";

/** `none`: a missed tick is skipped. `last`: one item for the newest of them. `all`: one item for each, in order. */
export const CATCH_UPS = ["none", "last", "all"] as const;
export const ScheduleName = RequestId;

const Cron = z
  .string()
  .max(CRON_LENGTH_MAX)
  .regex(/^[A-Za-z0-9*,/?#+@ -]+$/, { error: "must be a cron expression" });
const TimeZone = z
  .string()
  .max(TIME_ZONE_LENGTH_MAX)
  .regex(/^[A-Za-z][A-Za-z0-9_+/-]*$/, { error: "must be the IANA name of a time zone" });

/** What stands beside `name` and `item`. */
export const scheduleFields = {
  cron: Cron.describe("Five fields (minute, hour, day of month, month, day of week), or six with seconds first."),
  timeZone: TimeZone.default("UTC").describe("IANA name of the zone that the cron expression is read in."),
  catchUp: z
    .enum(CATCH_UPS)
    .default("last")
    .describe("What becomes of ticks that nobody was there for: none, one item for the last, or one for each."),
  paused: z
    .boolean()
    .default(false)
    .describe("No ticks while it is; put again without it the schedule goes on from then."),
} as const;

/** What an item that a schedule made says of it. */
export const TickName = z.strictObject({ name: ScheduleName, tick: LogTimeMs });

/** Filter of `schedule-list`. */
export const schedulePage = {
  limit: z.int().min(1).max(PAGE_SIZE_MAX).optional(),
  cursor: ScheduleName.optional().describe("The name that a page before ended with."),
} as const;

/** Why a schedule can not be kept. */
export interface ScheduleProblem {
  readonly path: "cron" | "timeZone";
  readonly message: string;
}

/**
 * The first tick after a time, in ms; or why there is none. The core is handed it, for what it says follows from the zones that a machine
 * knows: what it has said stands in the log.
 */
export type NextTick = (cron: string, timeZone: string, afterMs: number) => number | ScheduleProblem;
