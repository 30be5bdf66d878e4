/** The lease clock: monotonic, and standing still whenever the leader could not have heard a heartbeat, so that a stall expires nothing. */
import type { Clock } from "../../../contracts/ports.ts";

/** A tick that comes later than its period by more than this counts for nothing: the event loop stood still. ms. */
const LATE_MS_MAX = 250;

/**
 * Invariant: `elapsed()` never counts an interval in which the event loop was late or `stalled` was said.
 * `upperBound()` is what a new deadline counts from: never less than the time that will turn out to have counted.
 */
export class LeaseClock {
  readonly #clock: Clock;
  readonly #periodMs: number;
  #countedMs = 0;
  #tickedMs: number;

  constructor(clock: Clock, periodMs: number) {
    this.#clock = clock;
    this.#periodMs = periodMs;
    this.#tickedMs = clock.monotonicMs();
  }

  /** Ends an interval. `stalled`: no ack came for too long, or requests could not reach us. Returns whether it counted. */
  tick(stalled: boolean): boolean {
    const nowMs = this.#clock.monotonicMs();
    const intervalMs = nowMs - this.#tickedMs;
    this.#tickedMs = nowMs;
    const counted = !stalled && intervalMs <= this.#periodMs + LATE_MS_MAX;
    if (counted) this.#countedMs += intervalMs;
    return counted;
  }

  /** What has surely counted. ms. Expiry compares with this. */
  elapsed(): number {
    return this.#countedMs;
  }

  /** What has counted at most, with the interval under way. ms. Deadlines are set, and remainders told, from this. */
  upperBound(): number {
    return this.#countedMs + (this.#clock.monotonicMs() - this.#tickedMs);
  }
}
