/** When a frame that could be sent waits for more: an empty one for others that want one, a small one for callers that are about to come back. */
import type { Clock } from "../../../contracts/ports.ts";

/** Time between two empty frames. ms. */
const CONFIRM_EVERY_MS = 10;
/** Time for which a small frame waits for callers at most. ms. */
const GATHER_MS = 2;
/** Frames after which it is tried again whether all callers come together in time. */
const APART_FRAMES = 32;
/** Fewer callers than this are not worth waiting for. */
const CALLERS_MIN = 8;
/** A frame with as many events is not small. */
const EVENTS_ENOUGH = 64;

/**
 * A frame costs as much as dozens of its events. Callers that ask again when they are answered fall into groups, each answered by a frame of its own
 * while the others ask. So a frame waits until all of them have asked, which makes one group of them; where that takes too long, because they have
 * better things to do, until as many have asked as were answered last. A few callers are never kept.
 */
export class FramePace {
  readonly #clock: Clock;
  readonly #again: () => void;
  /** When the last empty frame was sent, and when the last frame was acknowledged. ms, monotonic. */
  #confirmedMs = Number.NEGATIVE_INFINITY;
  #answeredMs = Number.NEGATIVE_INFINITY;
  /** Requests that are waited for. */
  #awaited = 0;
  /** Frames for which nobody waits for more callers than were answered last. */
  #apartFrames = 0;
  /** When we ask again; what is later needs no timer of its own. ms, monotonic. */
  #dueMs = Number.POSITIVE_INFINITY;

  /** `again`: called when a frame that was told to wait may have waited long enough. */
  constructor(clock: Clock, again: () => void) {
    this.#clock = clock;
    this.#again = again;
  }

  /** A frame has come to its end: so many requests are answered, and so many stand in the next one already. */
  answered(requests: number, open: number): void {
    this.#answeredMs = this.#clock.monotonicMs();
    if (this.#apartFrames > 0) this.#apartFrames -= 1;
    this.#awaited = this.#apartFrames > 0 ? requests : requests + open;
    if (this.#awaited < CALLERS_MIN) this.#awaited = 0;
  }

  /** Whether an empty frame should wait: a flood of refusals must not become a flood of frames. If not, it is sent now. */
  holdsEmpty(): boolean {
    if (this.#waitsUntil(this.#confirmedMs + CONFIRM_EVERY_MS)) return true;
    this.#confirmedMs = this.#clock.monotonicMs();
    return false;
  }

  /** Whether a frame with so many events, which answers so many requests, should wait for more. */
  holds(events: number, requests: number): boolean {
    if (events >= EVENTS_ENOUGH || requests >= this.#awaited) return false;
    if (this.#waitsUntil(this.#answeredMs + GATHER_MS)) return true;
    if (this.#apartFrames === 0) this.#apartFrames = APART_FRAMES;
    return false;
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
