/** When a frame that could be sent waits for more: an empty one for others that want one, a small one for callers that are about to come back. */
import type { Clock } from "../../../contracts/ports.ts";

/** Time between two empty frames. ms. */
const CONFIRM_EVERY_MS = 10;
/** Time between two small frames at most, while callers are awaited. ms. */
const GATHER_MS = 2;
/** Fewer callers than this are not worth waiting for. */
const CALLERS_MIN = 4;
/** A frame with as many events is not small. */
const EVENTS_ENOUGH = 64;

/**
 * A frame costs as much as dozens of its events. Callers that wait for their answers fall into groups, each answered by a frame of its own while
 * the others ask: so a frame waits until as many ask as were answered last, which makes one group of two, and never keeps a caller that is alone.
 */
export class FramePace {
  readonly #clock: Clock;
  readonly #again: () => void;
  /** When the last empty frame was sent, and the last at all. ms, monotonic. */
  #confirmedMs = Number.NEGATIVE_INFINITY;
  #answeredMs = Number.NEGATIVE_INFINITY;
  /** Requests that the last frame answered. */
  #answered = 0;
  /** When we ask again; what is later needs no timer of its own. ms, monotonic. */
  #dueMs = Number.POSITIVE_INFINITY;

  /** `again`: called when a frame that was told to wait may have waited long enough. */
  constructor(clock: Clock, again: () => void) {
    this.#clock = clock;
    this.#again = again;
  }

  /** A frame has come to its end, with so many requests answered. */
  answered(requests: number): void {
    this.#answeredMs = this.#clock.monotonicMs();
    this.#answered = requests;
  }

  /** Whether an empty frame should wait: a flood of refusals must not become a flood of frames. If not, it is sent now. */
  holdsEmpty(): boolean {
    if (this.#waitsUntil(this.#confirmedMs + CONFIRM_EVERY_MS)) return true;
    this.#confirmedMs = this.#clock.monotonicMs();
    return false;
  }

  /** Whether a frame with so many events, which answers so many requests, should wait for more. */
  holds(events: number, requests: number): boolean {
    const isWorthIt = events < EVENTS_ENOUGH && this.#answered >= CALLERS_MIN && requests < this.#answered;
    return isWorthIt && this.#waitsUntil(this.#answeredMs + GATHER_MS);
  }

  #waitsUntil(untilMs: number): boolean {
    const nowMs = this.#clock.monotonicMs();
    if (nowMs >= untilMs) return false;
    if (untilMs < this.#dueMs) {
      this.#dueMs = untilMs;
      this.#clock.setTimer(untilMs - nowMs, () => {
        if (this.#dueMs === untilMs) this.#dueMs = Number.POSITIVE_INFINITY;
        this.#again();
      });
    }
    return true;
  }
}
