/** Virtual time and processes that die, stand still and have clocks of their own. */
import { expect, test } from "vitest";
import { Scheduler, SimProcess } from "./scheduler.ts";

const PLAIN = { drift: 0, startMs: 0, wallMs: 0 };

test("events run in order of time and then of registration, and what is deferred runs before the next", () => {
  const scheduler = new Scheduler();
  const seen: string[] = [];
  for (const [atMs, name] of [
    [5, "c"],
    [1, "a"],
    [1, "b"],
    [9, "e"],
  ] as const)
    scheduler.at(atMs, () => {
      seen.push(name);
      if (name === "c") scheduler.defer(() => void seen.push("d"));
    });
  scheduler.runUntil(8);
  expect(seen).toEqual(["a", "b", "c", "d"]);
  expect(scheduler.nowMs).toBe(8);
});

test("what comes while a process stands still waits, and its clock goes on", () => {
  const scheduler = new Scheduler();
  const process = new SimProcess("p", scheduler, PLAIN);
  const seen: number[] = [];
  process.setTimer(10, () => void seen.push(process.monotonicMs()));
  process.pause(100);
  scheduler.runUntil(50);
  expect(seen).toEqual([]);
  scheduler.runUntil(200);
  expect(seen).toEqual([100]);
});

test("a timer that is cleared behind a pause does not run", () => {
  const scheduler = new Scheduler();
  const process = new SimProcess("p", scheduler, PLAIN);
  const seen: string[] = [];
  const second = process.setTimer(11, () => void seen.push("second"));
  process.setTimer(10, () => process.clearTimer(second));
  process.pause(100);
  scheduler.runUntil(200);
  expect(seen).toEqual([]);
});

test("nothing of a dead process runs, and it has no timers", () => {
  const scheduler = new Scheduler();
  const process = new SimProcess("p", scheduler, PLAIN);
  const seen: string[] = [];
  process.setTimer(10, () => void seen.push("timer"));
  process.defer(() => void seen.push("deferred"));
  process.kill();
  scheduler.runUntil(100);
  expect(seen).toEqual([]);
  expect(process.timerCount).toBe(0);
});

test("a clock that runs fast reaches its timers early in true time", () => {
  const scheduler = new Scheduler();
  const process = new SimProcess("p", scheduler, { ...PLAIN, drift: 0.01 });
  let firedMs = 0;
  process.setTimer(1_010, () => {
    firedMs = scheduler.nowMs;
  });
  scheduler.runUntil(2_000);
  expect(firedMs).toBeCloseTo(1_000);
});
