/** A clock that stands still until it is told to move: timers and deferred work run in a fixed order, so a test never sleeps. */
import type { Clock, TimerHandle } from "../../contracts/ports.ts";

interface Timer {
  readonly atMs: number;
  readonly order: number;
  readonly callback: () => void;
}

/** Invariant: callbacks run in order of their time, then of their registration; time never moves while one runs. */
export class FakeClock implements Clock {
  /** What `wallMs` adds to the monotonic clock; may be changed at any time, as an operator might. */
  wallLeadMs: number;
  #nowMs = 0;
  #order = 0;
  readonly #timers = new Set<Timer>();
  #deferred: (() => void)[] = [];

  constructor(wallMs = 1_000_000) {
    this.wallLeadMs = wallMs;
  }

  wallMs(): number {
    return this.wallLeadMs + this.#nowMs;
  }

  monotonicMs(): number {
    return this.#nowMs;
  }

  setTimer(delayMs: number, callback: () => void): TimerHandle {
    this.#order += 1;
    const timer: Timer = { atMs: this.#nowMs + Math.max(0, delayMs), order: this.#order, callback };
    this.#timers.add(timer);
    return timer;
  }

  clearTimer(timer: TimerHandle): void {
    this.#timers.delete(timer as Timer);
  }

  defer(callback: () => void): void {
    this.#deferred.push(callback);
  }

  /** Timers that are set: a test that ends with some has leaked them. */
  get timerCount(): number {
    return this.#timers.size;
  }

  /** Runs what is deferred, and what that defers, without moving time. */
  settle(): void {
    while (this.#deferred.length > 0) for (const callback of this.#deferred.splice(0)) callback();
  }

  /** Moves time forward, running each timer at its own time. */
  advance(byMs: number): void {
    const untilMs = this.#nowMs + byMs;
    this.settle();
    for (let next = this.#next(untilMs); next !== undefined; next = this.#next(untilMs)) {
      this.#timers.delete(next);
      this.#nowMs = Math.max(this.#nowMs, next.atMs);
      next.callback();
      this.settle();
    }
    this.#nowMs = untilMs;
  }

  /** Moves time without running any timer on the way: the process was stopped, or its event loop was blocked. */
  stall(byMs: number): void {
    this.#nowMs += byMs;
  }

  /** Advances in small steps until the condition holds; fails after `limitMs`. */
  until(condition: () => boolean, limitMs = 60_000, stepMs = 1): void {
    const endMs = this.#nowMs + limitMs;
    this.settle();
    while (!condition()) {
      if (this.#nowMs >= endMs) throw new Error(`the condition does not hold after ${limitMs} ms of virtual time`);
      this.advance(stepMs);
    }
  }

  #next(untilMs: number): Timer | undefined {
    let next: Timer | undefined;
    for (const timer of this.#timers) {
      if (timer.atMs > untilMs) continue;
      if (next === undefined || timer.atMs < next.atMs || (timer.atMs === next.atMs && timer.order < next.order))
        next = timer;
    }
    return next;
  }
}
