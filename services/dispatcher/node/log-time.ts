/** Log time: the leader's monotonic clock led by the server's clock, never decreasing, never standing still. */
import type { Clock } from "../../../contracts/ports.ts";

/** Speed while log time is ahead of, and behind, the server's clock. */
const SPEED_AHEAD = 0.5;
const SPEED_BEHIND = 2;

/**
 * Invariant: `now()` never decreases, and is at least the log time that it was started with.
 * The host's wall clock plays no part: a leader whose wall clock is wrong writes the same times.
 */
export class LogTime {
  readonly #clock: Clock;
  #logMs: number;
  #monotonicMs: number;
  /** Server time minus monotonic time. ms. */
  #leadMs: number;

  /** Starts from the log time of the last frame and the server's clock as just read. */
  constructor(clock: Clock, lastAt: number, serverTimeMs: number) {
    this.#clock = clock;
    this.#monotonicMs = clock.monotonicMs();
    this.#leadMs = serverTimeMs - this.#monotonicMs;
    // Behind the server's clock, nobody was leading: there is nothing to slew.
    this.#logMs = Math.max(lastAt, serverTimeMs);
  }

  /** Takes a new reading of the server's clock; log time moves towards it by its speed alone. */
  observe(serverTimeMs: number): void {
    this.#leadMs = serverTimeMs - this.#clock.monotonicMs();
  }

  /** How far log time is ahead of the server's clock. ms; negative when behind. */
  aheadMs(): number {
    return this.#logMs - (this.#clock.monotonicMs() + this.#leadMs);
  }

  /** Log time as an integer. ms. */
  now(): number {
    const monotonicMs = this.#clock.monotonicMs();
    const elapsedMs = Math.max(0, monotonicMs - this.#monotonicMs);
    const serverMs = monotonicMs + this.#leadMs;
    this.#monotonicMs = monotonicMs;
    if (this.#logMs > serverMs) this.#logMs += elapsedMs * SPEED_AHEAD;
    else this.#logMs = Math.min(serverMs, this.#logMs + elapsedMs * SPEED_BEHIND);
    return Math.floor(this.#logMs);
  }
}
