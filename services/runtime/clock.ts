/** The production clock: the only place besides tests where the node's code meets real timers. */
import type { Clock, TimerHandle } from "../../contracts/ports.ts";

/** A timer of ours. Its Node timer changes when that fired too early. */
interface Timer {
  pending: NodeJS.Timeout;
}

/** A clock on Node's timers. `defer` is `setImmediate`: after all sockets of this turn were read, so that a frame groups what they brought. */
export function createClock(): Clock {
  return {
    wallMs: () => Date.now(),
    monotonicMs: () => performance.now(),
    setTimer: (delayMs, callback) => startTimer(Math.max(0, delayMs), callback),
    clearTimer: (timer: TimerHandle) => clearTimeout((timer as Timer).pending),
    defer: (callback) => void setImmediate(callback),
  };
}

/** Node counts whole milliseconds of another clock and may fire up to one early, but a lease must not end before its time: it waits for the rest. */
function startTimer(delayMs: number, callback: () => void): Timer {
  const dueMs = performance.now() + delayMs;
  const fire = (): void => {
    const leftMs = dueMs - performance.now();
    if (leftMs > 0) timer.pending = setTimeout(fire, Math.ceil(leftMs));
    else callback();
  };
  const timer: Timer = { pending: setTimeout(fire, Math.ceil(delayMs)) };
  return timer;
}
