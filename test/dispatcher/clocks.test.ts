/** The two clocks of a leader: log time never decreases, the lease clock never counts a stall. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { LeaseClock } from "../../services/dispatcher/node/lease-clock.ts";
import { LogTime } from "../../services/dispatcher/node/log-time.ts";
import { FakeClock } from "../../services/testing/fake-clock.ts";

describe("log time", () => {
  test("jumps to the server's clock when nobody led for long", () => {
    const clock = new FakeClock();
    expect(new LogTime(clock, 1_000, 900_000).now()).toBe(900_000);
  });
  test("runs at half speed while it is ahead of the server's clock", () => {
    const clock = new FakeClock();
    const time = new LogTime(clock, 10_000, 4_000);
    expect(time.now()).toBe(10_000);
    clock.advance(1_000);
    expect(time.now()).toBe(10_500);
    expect(time.aheadMs()).toBe(5_500);
  });
  test("takes nothing from the host's wall clock", () => {
    const clock = new FakeClock();
    const time = new LogTime(clock, 0, 50_000);
    time.now();
    clock.wallLeadMs += 1e12;
    clock.advance(10);
    expect(time.now()).toBe(50_010);
  });
  test("closes a small lag at twice the speed instead of jumping", () => {
    const clock = new FakeClock();
    const time = new LogTime(clock, 100_000, 100_000);
    time.observe(101_000);
    clock.advance(100);
    expect(time.now()).toBe(100_200);
  });
  test("never decreases, whatever the server says", () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(5_000), fc.option(fc.integer({ min: -1e6, max: 1e6 })))), (steps) => {
        const clock = new FakeClock();
        const time = new LogTime(clock, 500_000, 500_000);
        let last = time.now();
        for (const [advanceMs, jump] of steps) {
          clock.advance(advanceMs);
          if (jump !== null) time.observe(500_000 + clock.monotonicMs() + jump);
          const now = time.now();
          expect(now).toBeGreaterThanOrEqual(last);
          last = now;
        }
      }),
    );
  });
});

describe("lease clock", () => {
  test("counts the intervals between punctual ticks", () => {
    const clock = new FakeClock();
    const lease = new LeaseClock(clock, 50);
    for (let tick = 0; tick < 10; tick += 1) {
      clock.advance(50);
      expect(lease.tick(false)).toBe(true);
    }
    expect(lease.elapsed()).toBe(500);
  });
  test("stands still over an interval in which the event loop was more than 250 ms late", () => {
    const clock = new FakeClock();
    const lease = new LeaseClock(clock, 50);
    clock.stall(60_000);
    expect(lease.tick(false)).toBe(false);
    expect(lease.elapsed()).toBe(0);
  });
  test("stands still while the leader is stalled", () => {
    const clock = new FakeClock();
    const lease = new LeaseClock(clock, 50);
    clock.advance(50);
    lease.tick(true);
    expect(lease.elapsed()).toBe(0);
  });
  test("a deadline set between two ticks is never reached before its whole length", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 49 }), fc.integer({ min: 1, max: 500 }), (intoTick, lengthMs) => {
        const clock = new FakeClock();
        const lease = new LeaseClock(clock, 50);
        clock.advance(intoTick);
        const setAt = clock.monotonicMs();
        const deadline = lease.upperBound() + lengthMs;
        clock.advance(50 - intoTick);
        lease.tick(false);
        while (lease.elapsed() < deadline) {
          clock.advance(50);
          lease.tick(false);
        }
        expect(clock.monotonicMs() - setAt).toBeGreaterThanOrEqual(lengthMs);
      }),
    );
  });
});
