/** The production clock: the only place besides tests where the node's code meets real timers. */
import type { Clock, TimerHandle } from "../../contracts/ports.ts";

/** A clock on Node's timers. `defer` is `setImmediate`: after all sockets of this turn were read, so that a frame groups what they brought. */
export function createClock(): Clock {
  return {
    wallMs: () => Date.now(),
    monotonicMs: () => performance.now(),
    // Rounded up: Node cuts fractions off, and a timer must not fire before its time.
    setTimer: (delayMs, callback) => setTimeout(callback, Math.ceil(Math.max(0, delayMs))),
    clearTimer: (timer: TimerHandle) => clearTimeout(timer as NodeJS.Timeout),
    defer: (callback) => void setImmediate(callback),
  };
}
