/** Many deadlines on one timer: a request sets and clears two or three, and a Node timer for each would cost more than the request. */
import type { Clock, TimerHandle } from "../../contracts/ports.ts";

/** Something with at most one deadline at a time. */
export abstract class Deadline {
  /** The wheel's: the slot that holds it, -1 while it is not in the wheel, and its place in there. */
  slot = -1;
  place = -1;

  /** Called once, not before its time, after the wheel has let it go. */
  abstract due(nowMs: number): void;
}

/** Width of a slot: how late a deadline may be noticed. ms. */
const SLOT_MS = 5;
/** Slots of one turn of the wheel; a power of 2. What is due later waits for a later turn in its place. */
const SLOTS = 1_024;

/**
 * Deadlines by slot of 5 ms. Lists that are used again hold them: maps and sets that many come to and go from leave tables behind that keep
 * each other, and all that ever stood in them, until the whole heap is collected.
 * Invariant: `#armedSlot` is at most the lowest slot in use, or Infinity with no timer when none is.
 */
export class DeadlineWheel {
  readonly #clock: Clock;
  readonly #slots: Deadline[][] = Array.from({ length: SLOTS }, () => []);
  #size = 0;
  #timer: TimerHandle | undefined;
  #armedSlot = Number.POSITIVE_INFINITY;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Deadlines that are set. */
  get size(): number {
    return this.#size;
  }

  /** Sets the one deadline of `deadline`, in place of the one it had. ms on the monotonic clock. */
  set(deadline: Deadline, dueMs: number): void {
    const slot = Math.max(Math.ceil(dueMs / SLOT_MS), 0);
    if (deadline.slot === slot) return;
    this.#take(deadline);
    deadline.slot = slot;
    deadline.place = this.#listOf(slot).push(deadline) - 1;
    this.#size += 1;
    if (slot < this.#armedSlot) this.#arm(slot);
  }

  clear(deadline: Deadline): void {
    this.#take(deadline);
    if (this.#size === 0) this.#disarm();
  }

  #listOf(slot: number): Deadline[] {
    return this.#slots[slot % SLOTS] as Deadline[];
  }

  #take(deadline: Deadline): void {
    if (deadline.slot === -1) return;
    const list = this.#listOf(deadline.slot);
    const last = list.pop() as Deadline;
    if (last !== deadline) {
      list[deadline.place] = last;
      last.place = deadline.place;
    }
    deadline.slot = -1;
    deadline.place = -1;
    this.#size -= 1;
  }

  #arm(slot: number): void {
    this.#disarm();
    this.#armedSlot = slot;
    // Rounded up: Node cuts fractions off, and the turn would find nothing due.
    const delayMs = Math.max(Math.ceil(slot * SLOT_MS - this.#clock.monotonicMs()), 0);
    this.#timer = this.#clock.setTimer(delayMs, () => this.#turn(slot));
  }

  #disarm(): void {
    if (this.#timer !== undefined) this.#clock.clearTimer(this.#timer);
    this.#timer = undefined;
    this.#armedSlot = Number.POSITIVE_INFINITY;
  }

  /** `from`: the lowest slot that may be in use. */
  #turn(from: number): void {
    this.#timer = undefined;
    this.#armedSlot = Number.POSITIVE_INFINITY;
    const nowMs = this.#clock.monotonicMs();
    const to = Math.floor(nowMs / SLOT_MS);
    const past: { readonly deadline: Deadline; readonly slot: number }[] = [];
    for (const list of to - from < SLOTS ? this.#lists(from, to) : this.#slots)
      for (const deadline of list) if (deadline.slot <= to) past.push({ deadline, slot: deadline.slot });
    past.sort((left, right) => left.slot - right.slot);
    for (const { deadline, slot } of past) {
      if (deadline.slot !== slot) continue; // one before it cleared or moved it
      this.#take(deadline);
      deadline.due(nowMs);
    }
    const next = this.#size === 0 ? Number.POSITIVE_INFINITY : this.#next(to + 1);
    if (next < this.#armedSlot) this.#arm(next);
  }

  #lists(from: number, to: number): readonly Deadline[][] {
    return Array.from({ length: Math.max(to - from + 1, 0) }, (_, index) => this.#listOf(from + index));
  }

  /** The lowest slot in use, or `from` when one before it is. */
  #next(from: number): number {
    let lowest = Number.POSITIVE_INFINITY;
    for (let slot = from; slot < from + SLOTS; slot += 1)
      for (const deadline of this.#listOf(slot)) {
        if (deadline.slot <= slot) return slot;
        lowest = Math.min(lowest, deadline.slot);
      }
    return lowest;
  }
}
