/** Many deadlines on one timer: a request sets and clears two or three, and a Node timer for each would cost more than the request. */
import type { Clock, TimerHandle } from "../../contracts/ports.ts";

/** Something with at most one deadline at a time. The wheel owns `slot`. */
export interface Deadline {
  /** Where the wheel holds it; -1 while it is not in the wheel. */
  slot: number;
  /** Called once, not before its time, after the wheel has let it go. */
  due(nowMs: number): void;
}

/** Width of a slot: how late a deadline may be noticed. ms. */
const SLOT_MS = 5;

/**
 * Deadlines by slot of 5 ms.
 * Invariant: `#armedSlot` is at most the lowest slot in use, or Infinity with no timer when none is.
 */
export class DeadlineWheel {
  readonly #clock: Clock;
  readonly #slots = new Map<number, Set<Deadline>>();
  #timer: TimerHandle | undefined;
  #armedSlot = Number.POSITIVE_INFINITY;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Deadlines that are set. */
  get size(): number {
    let count = 0;
    for (const slot of this.#slots.values()) count += slot.size;
    return count;
  }

  /** Sets the one deadline of `deadline`, in place of the one it had. ms on the monotonic clock. */
  set(deadline: Deadline, dueMs: number): void {
    const slot = Math.ceil(dueMs / SLOT_MS);
    if (deadline.slot === slot) return;
    this.clear(deadline);
    deadline.slot = slot;
    const others = this.#slots.get(slot);
    if (others === undefined) this.#slots.set(slot, new Set([deadline]));
    else others.add(deadline);
    if (slot < this.#armedSlot) this.#arm(slot);
  }

  clear(deadline: Deadline): void {
    if (deadline.slot === -1) return;
    const others = this.#slots.get(deadline.slot);
    others?.delete(deadline);
    if (others?.size === 0) this.#slots.delete(deadline.slot);
    deadline.slot = -1;
    if (this.#slots.size === 0) this.#disarm();
  }

  #arm(slot: number): void {
    this.#disarm();
    this.#armedSlot = slot;
    // Rounded up: Node cuts fractions off, and the turn would find nothing due.
    const delayMs = Math.max(Math.ceil(slot * SLOT_MS - this.#clock.monotonicMs()), 0);
    this.#timer = this.#clock.setTimer(delayMs, () => this.#turn());
  }

  #disarm(): void {
    if (this.#timer !== undefined) this.#clock.clearTimer(this.#timer);
    this.#timer = undefined;
    this.#armedSlot = Number.POSITIVE_INFINITY;
  }

  #turn(): void {
    this.#timer = undefined;
    this.#armedSlot = Number.POSITIVE_INFINITY;
    const nowMs = this.#clock.monotonicMs();
    const past = [...this.#slots.keys()].filter((slot) => slot * SLOT_MS <= nowMs).sort((a, b) => a - b);
    for (const slot of past)
      for (const deadline of [...(this.#slots.get(slot) ?? [])]) {
        if (deadline.slot !== slot) continue; // one before it cleared or moved it
        this.clear(deadline);
        deadline.due(nowMs);
      }
    if (this.#slots.size > 0) {
      const next = Math.min(...this.#slots.keys());
      if (next < this.#armedSlot) this.#arm(next);
    }
  }
}
