/** A schedule that stands still beside a leader that writes on is caught; stops and changes of leaders excuse it. */
import { expect, test } from "vitest";
import { DueTicks } from "../../chaos/checker/due-ticks.ts";
import { NaiveSchedules } from "../../chaos/checker/naive-schedules.ts";
import { Tally } from "../../chaos/checker/tally.ts";

/** How often a schedule that is due from log time 1,000 on was found to stand still behind frames of these times and terms. */
function violations(frames: readonly (readonly [at: number, term: number])[]): number {
  const schedules = new NaiveSchedules(() => undefined);
  const item = { resourceType: "tick", resourceId: "s" };
  const spec = { name: "s", cron: "*/1 * * * * *", timeZone: "UTC", catchUp: "last", item, next: 1_000 } as const;
  const moment = { sequence: 1, at: 1 };
  schedules.take({ type: "scheduled", actor: 0, ...spec }, { principal: "p", peerId: "p" }, moment, () => false);
  const tally = new Tally();
  const ticks = new DueTicks(schedules, tally);
  for (const [at, term] of frames) ticks.wrote({ at, term });
  return tally.all()["V1"]?.violated ?? 0;
}
const every = (stepMs: number, untilMs: number, termOf: (at: number) => number) =>
  Array.from({ length: Math.floor(untilMs / stepMs) }, (_, index) => [index * stepMs, termOf(index * stepMs)] as const);

test("a schedule that never ticks is caught once its leader has written on for a while", () => {
  expect(violations(every(50, 3_000, () => 1))).toBe(0);
  expect(violations(every(50, 4_000, () => 1))).toBeGreaterThan(0);
});

test("a leader that stood still, and one that has just begun, are excused", () => {
  expect(
    violations([
      [900, 1],
      [1_100, 1],
      [60_000, 1],
      [120_000, 1],
    ]),
  ).toBe(0);
  expect(violations(every(50, 20_000, (at) => Math.floor(at / 1_500)))).toBe(0);
});
