/** When schedules tick, where clocks change, and what is no schedule. Documents what docs/queue.md says of it. */
import { expect, test } from "vitest";
import { nextTick } from "../../services/runtime/cron.ts";

/** The next ticks behind a time, in UTC. */
function ticks(cron: string, timeZone: string, from: string, count: number): string[] {
  const found: string[] = [];
  for (let at: number | object = Date.parse(from); found.length < count; ) {
    at = nextTick(cron, timeZone, at as number);
    if (typeof at !== "number") throw new Error(JSON.stringify(at));
    found.push(new Date(at).toISOString().slice(0, 19));
  }
  return found;
}

test("five fields tick at the full minute, six with their seconds, each strictly behind the time", () => {
  expect(ticks("*/15 8 * * 1-5", "UTC", "2030-01-01T08:15:00Z", 3)).toEqual([
    "2030-01-01T08:30:00",
    "2030-01-01T08:45:00",
    "2030-01-02T08:00:00",
  ]);
  expect(ticks("*/20 * * * * *", "UTC", "2030-01-01T00:00:00.001Z", 3)).toEqual([
    "2030-01-01T00:00:20",
    "2030-01-01T00:00:40",
    "2030-01-01T00:01:00",
  ]);
  expect(ticks("@daily", "America/New_York", "2030-01-01T00:00:00Z", 1)).toEqual(["2030-01-01T05:00:00"]);
});

test("a day of the month and a day of the week are alternatives, with + both are wanted", () => {
  expect(ticks("0 0 13 * FRI", "UTC", "2030-01-01T00:00:00Z", 3).map((tick) => tick.slice(8, 10))).toEqual([
    "04",
    "11",
    "13",
  ]);
  expect(ticks("0 0 13 * +FRI", "UTC", "2030-01-01T00:00:00Z", 1)).toEqual(["2030-09-13T00:00:00"]);
});

// In Berlin 2030-03-31 has no 02:00 to 03:00, and 2030-10-27 has it twice, from 00:00 and from 01:00 UTC on.
test("a time that the clocks skip is made up for right behind the gap, on that day", () => {
  expect(ticks("30 2 * * *", "Europe/Berlin", "2030-03-30T12:00:00Z", 2)).toEqual([
    "2030-03-31T01:00:00",
    "2030-04-01T00:30:00",
  ]);
});

test("a time that comes twice ticks once, at the first of the two", () => {
  expect(ticks("30 2 * * *", "Europe/Berlin", "2030-10-26T12:00:00Z", 2)).toEqual([
    "2030-10-27T00:30:00",
    "2030-10-28T01:30:00",
  ]);
});

test("what ticks again and again goes on through both hours, and skips the one that is not there", () => {
  expect(ticks("*/30 * * * *", "Europe/Berlin", "2030-10-27T00:00:00Z", 4)).toEqual([
    "2030-10-27T00:30:00",
    "2030-10-27T01:00:00",
    "2030-10-27T01:30:00",
    "2030-10-27T02:00:00",
  ]);
  expect(ticks("*/30 * * * *", "Europe/Berlin", "2030-03-31T00:30:00Z", 2)).toEqual([
    "2030-03-31T01:00:00",
    "2030-03-31T01:30:00",
  ]);
});

test.each([
  ["0 0 30 2 *", "UTC", "cron", /never ticks/],
  ["0 0 31 4,6,9,11 *", "America/New_York", "cron", /never ticks/],
  ["0 0 31 2 +1#5", "UTC", "cron", /never ticks/],
  ["60 * * * *", "UTC", "cron", /minute/],
  ["* * * *", "UTC", "cron", /five/],
  ["0 0 0 1 1 * 2030", "UTC", "cron", /5 or 6/],
  ["@reboot", "UTC", "cron", /reboot/],
  ["0 0 * * *", "Mars/Olympus", "timeZone", /Mars\/Olympus/],
  ["0 0 * * *", "", "timeZone", /no time zone/],
])("%s in %s is refused: %s", (cron, timeZone, path, message) => {
  expect(nextTick(cron, timeZone, Date.UTC(2030, 0, 1))).toEqual({ path, message: expect.stringMatching(message) });
});
