/** What the wheel of deadlines promises: never early, at most a slot late, and one timer for all. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { Deadline, DeadlineWheel } from "../../services/client/deadline-wheel.ts";
import { FakeClock } from "../../services/testing/fake-clock.ts";

class Recorded extends Deadline {
  readonly firedMs: number[] = [];
  readonly onDue: (() => void) | undefined;

  constructor(onDue?: () => void) {
    super();
    this.onDue = onDue;
  }
  due(nowMs: number): void {
    this.firedMs.push(nowMs);
    this.onDue?.();
  }
}

test("every deadline fires once, never early and at most one slot late", () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 2_000 }), { minLength: 1, maxLength: 50 }), (times) => {
      const clock = new FakeClock();
      const wheel = new DeadlineWheel(clock);
      const deadlines = times.map((timeMs) => ({ timeMs, deadline: new Recorded() }));
      for (const { timeMs, deadline } of deadlines) wheel.set(deadline, timeMs);
      expect(clock.timerCount).toBe(1);
      clock.advance(3_000);
      for (const { timeMs, deadline } of deadlines) {
        expect(deadline.firedMs).toHaveLength(1);
        expect(deadline.firedMs[0]).toBeGreaterThanOrEqual(timeMs);
        expect(deadline.firedMs[0]).toBeLessThan(timeMs + 5);
      }
      expect([wheel.size, clock.timerCount]).toEqual([0, 0]);
    }),
  );
});

test("deadlines that are further away than one turn of the wheel fire in their own turn", () => {
  const clock = new FakeClock();
  const wheel = new DeadlineWheel(clock);
  const times = [100, 5_220, 10_340, 60_000, 60_002, 3_600_000];
  const deadlines = times.map((timeMs) => ({ timeMs, deadline: new Recorded() }));
  for (const { timeMs, deadline } of deadlines) wheel.set(deadline, timeMs);
  clock.advance(4_000_000);
  for (const { timeMs, deadline } of deadlines) {
    expect(deadline.firedMs).toHaveLength(1);
    expect(deadline.firedMs[0]).toBeGreaterThanOrEqual(timeMs);
    expect(deadline.firedMs[0]).toBeLessThan(timeMs + 5);
  }
  expect([wheel.size, clock.timerCount]).toEqual([0, 0]);
});

test("a cleared deadline does not fire and leaves no timer", () => {
  const clock = new FakeClock();
  const wheel = new DeadlineWheel(clock);
  const deadline = new Recorded();
  wheel.set(deadline, 100);
  wheel.clear(deadline);
  wheel.clear(deadline);
  expect(clock.timerCount).toBe(0);
  clock.advance(200);
  expect(deadline.firedMs).toEqual([]);
});

test("a deadline can be moved in both directions", () => {
  const clock = new FakeClock();
  const wheel = new DeadlineWheel(clock);
  const [earlier, later] = [new Recorded(), new Recorded()];
  wheel.set(earlier, 500);
  wheel.set(later, 500);
  wheel.set(earlier, 100);
  wheel.set(later, 900);
  clock.advance(1_000);
  expect([earlier.firedMs, later.firedMs]).toEqual([[100], [900]]);
});

test("what a deadline sets or clears while it fires is heeded", () => {
  const clock = new FakeClock();
  const wheel = new DeadlineWheel(clock);
  const next = new Recorded();
  const neighbour = new Recorded();
  const first = new Recorded(() => {
    wheel.set(next, clock.monotonicMs() + 50);
    wheel.clear(neighbour);
  });
  wheel.set(first, 100);
  wheel.set(neighbour, 100);
  clock.advance(1_000);
  expect([first.firedMs, next.firedMs, neighbour.firedMs]).toEqual([[100], [150], []]);
});

test("deadlines that were slept over fire in order of their time", () => {
  const clock = new FakeClock();
  const wheel = new DeadlineWheel(clock);
  const order: string[] = [];
  wheel.set(new Recorded(() => order.push("second")), 200);
  wheel.set(new Recorded(() => order.push("first")), 100);
  clock.stall(10_000);
  clock.advance(0);
  expect(order).toEqual(["first", "second"]);
});
