/** Virtual time: one heap of events, and processes that can die, stand still and have clocks of their own. */
import type { Clock, TimerHandle } from "../../contracts/ports.ts";

interface HeapEvent {
  readonly atMs: number;
  readonly order: number;
  readonly run: () => void;
  isCancelled: boolean;
}

/** Invariant: events run in order of time, then of registration; what is deferred runs before the next event. */
export class Scheduler {
  nowMs = 0;
  /** Events that ran. */
  count = 0;
  /** Changes with everything that ran, so that two runs can be compared. */
  trace = 0;
  readonly #heap: HeapEvent[] = [];
  readonly #deferred: (() => void)[] = [];
  #order = 0;

  at(atMs: number, run: () => void): HeapEvent {
    this.#order += 1;
    const event = { atMs: Math.max(atMs, this.nowMs), order: this.#order, run, isCancelled: false };
    this.#push(event);
    return event;
  }

  after(delayMs: number, run: () => void): HeapEvent {
    return this.at(this.nowMs + delayMs, run);
  }

  defer(run: () => void): void {
    this.#deferred.push(run);
  }

  drain(): void {
    for (let run = this.#deferred.shift(); run !== undefined; run = this.#deferred.shift()) run();
  }

  /** Runs events until a time, or until `isOver` says so behind one of them. */
  runUntil(untilMs: number, isOver: () => boolean = () => false): void {
    this.drain();
    for (let next = this.#heap[0]; next !== undefined && next.atMs <= untilMs; next = this.#heap[0]) {
      this.#pop();
      if (next.isCancelled) continue;
      this.nowMs = next.atMs;
      this.count += 1;
      this.trace = (Math.imul(this.trace, 31) + next.order + ((next.atMs * 1024) | 0)) | 0;
      next.run();
      this.drain();
      if (isOver()) return;
    }
    this.nowMs = Math.max(this.nowMs, untilMs);
  }

  #push(event: HeapEvent): void {
    const heap = this.#heap;
    let index = heap.length;
    heap.push(event);
    while (index > 0) {
      const parent = (index - 1) >> 1;
      const above = heap[parent] as HeapEvent;
      if (isBefore(above, event)) break;
      heap[index] = above;
      index = parent;
    }
    heap[index] = event;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop() as HeapEvent;
    if (heap.length === 0) return;
    let index = 0;
    for (;;) {
      let child = index * 2 + 1;
      if (child >= heap.length) break;
      const right = heap[child + 1];
      if (right !== undefined && isBefore(right, heap[child] as HeapEvent)) child += 1;
      const below = heap[child] as HeapEvent;
      if (isBefore(last, below)) break;
      heap[index] = below;
      index = child;
    }
    heap[index] = last;
  }
}

function isBefore(left: HeapEvent, right: HeapEvent): boolean {
  return left.atMs < right.atMs || (left.atMs === right.atMs && left.order < right.order);
}

export interface ClockFaults {
  /** How much faster the clock runs than time itself: 0.01 is 1 %. */
  readonly drift: number;
  readonly startMs: number;
  readonly wallMs: number;
}

/**
 * One life of a process. `run` is the only door to its code: what comes while it stands still waits, what comes behind its death is dropped.
 * Its monotonic clock goes on while it stands still, as CLOCK_MONOTONIC does.
 */
export class SimProcess implements Clock {
  readonly name: string;
  readonly scheduler: Scheduler;
  isAlive = true;
  wallLeadMs: number;
  /** What the process's code threw: a bug of it. */
  onCrash: (error: unknown) => void = (error) => {
    throw error;
  };
  readonly #faults: ClockFaults;
  readonly #timers = new Set<HeapEvent>();
  #isPaused = false;
  #waiting: (() => void)[] = [];

  constructor(name: string, scheduler: Scheduler, faults: ClockFaults) {
    this.name = name;
    this.scheduler = scheduler;
    this.#faults = faults;
    this.wallLeadMs = faults.wallMs;
  }

  get isPaused(): boolean {
    return this.#isPaused;
  }

  get timerCount(): number {
    return this.#timers.size;
  }

  /** Runs code of the process now, later or never. */
  run(code: () => void): void {
    if (!this.isAlive) return;
    if (this.#isPaused) {
      this.#waiting.push(code);
      return;
    }
    try {
      code();
    } catch (error) {
      this.onCrash(error);
    }
  }

  /** Stops the process for a while, as SIGSTOP or a blocked event loop does. */
  pause(forMs: number): void {
    if (!this.isAlive || this.#isPaused) return;
    this.#isPaused = true;
    this.scheduler.after(forMs, () => this.resume());
  }

  resume(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    for (const code of this.#waiting.splice(0)) {
      this.run(code);
      this.scheduler.drain();
    }
  }

  kill(): void {
    this.isAlive = false;
    for (const timer of this.#timers) timer.isCancelled = true;
    this.#timers.clear();
    this.#waiting = [];
  }

  wallMs(): number {
    return this.wallLeadMs + this.monotonicMs();
  }

  monotonicMs(): number {
    return this.#faults.startMs + this.scheduler.nowMs * (1 + this.#faults.drift);
  }

  setTimer(delayMs: number, callback: () => void): TimerHandle {
    const event = this.scheduler.after(Math.max(0, delayMs) / (1 + this.#faults.drift), () =>
      this.run(() => {
        // Cleared while it waited behind a pause.
        if (!this.#timers.delete(event)) return;
        callback();
      }),
    );
    this.#timers.add(event);
    return event;
  }

  clearTimer(timer: TimerHandle): void {
    const event = timer as HeapEvent;
    event.isCancelled = true;
    this.#timers.delete(event);
  }

  defer(callback: () => void): void {
    this.scheduler.defer(() => this.run(callback));
  }
}
