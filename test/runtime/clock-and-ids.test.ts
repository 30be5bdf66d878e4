/** Checks the production ports: timers that are never early, callbacks that are never inside the call, ids that do not repeat. */
import { expect, test } from "vitest";
import { createClock } from "../../services/runtime/clock.ts";
import { identityOf, partPeerId } from "../../services/runtime/identity.ts";
import { createIds } from "../../services/runtime/ids.ts";

test("a timer never fires before its time", async () => {
  const clock = createClock();
  const delays = [0, 0.4, 1, 5.7, ...Array.from({ length: 50 }, (_, index) => index / 3)];
  const waits = delays.map((delayMs) => {
    const startedAt = clock.monotonicMs();
    return new Promise<number>((resolve) => {
      clock.setTimer(delayMs, () => resolve(clock.monotonicMs() - startedAt - delayMs));
    });
  });
  for (const lateMs of await Promise.all(waits)) expect(lateMs).toBeGreaterThanOrEqual(0);
});

test("a timer that was cleared never fires, and clearing it again is allowed", async () => {
  const clock = createClock();
  let fired = false;
  const timer = clock.setTimer(0, () => {
    fired = true;
  });
  clock.clearTimer(timer);
  clock.clearTimer(timer);
  await new Promise<void>((resolve) => clock.setTimer(2, resolve));
  expect(fired).toBe(false);
});

test("what is deferred runs after the call that deferred it", async () => {
  const clock = createClock();
  const order: string[] = [];
  await new Promise<void>((resolve) => {
    clock.defer(() => {
      order.push("deferred");
      resolve();
    });
    order.push("call");
  });
  expect(order).toEqual(["call", "deferred"]);
});

test("ids fit a subject token and do not repeat; chance stays below one", () => {
  const ids = createIds();
  const drawn = Array.from({ length: 10_000 }, () => ids.id("test"));
  expect(new Set(drawn).size).toBe(drawn.length);
  for (const id of drawn) expect(id).toMatch(/^[A-Za-z0-9]{22}$/);
  for (let draw = 0; draw < 1_000; draw += 1) {
    const value = ids.random("test");
    expect(value >= 0 && value < 1).toBe(true);
  }
});

test("a peer id splits into principal and name, and parts of a process get names below it", () => {
  expect(identityOf("worker")).toEqual({ principal: "worker" });
  expect(identityOf("worker--a--b")).toEqual({ principal: "worker", peerName: "a--b" });
  expect(partPeerId("mesh", "worker-1")).toBe("mesh--worker-1");
  expect(partPeerId("mesh--a", "worker-1")).toBe("mesh--a-worker-1");
});
