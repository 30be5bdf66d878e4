/** When a frame that could be sent waits for more: an empty one for others that want one, a small one for callers that are about to come back. */
import type { Clock } from "../../../contracts/ports.ts";

/** Time between two empty frames. ms. */
const CONFIRM_EVERY_MS = 10;
/** Time for which a small frame waits for callers at most; nor longer than the frame before took, nor at all where that was no time to wait for. ms. */
const GATHER_MS_MAX = 2;
const GATHER_MS_MIN = 0.5;
/** Frames after which it is tried again whether all callers come together in time. */
const APART_FRAMES = 32;
/** Fewer callers than this are not worth waiting for. */
const CALLERS_MIN = 4;
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
  /** When the last empty frame was sent, and until when callers are waited for. ms, monotonic. */
  #confirmedMs = Number.NEGATIVE_INFINITY;
  #gatherUntilMs = Number.NEGATIVE_INFINITY;
  /** Callers that are waited for. */
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

  /** A frame was acknowledged `tookMs` after its sending: so many callers are answered, and so many have events in the next one already. */
  answered(callers: number, open: number, tookMs: number): void {
    if (this.#apartFrames > 0) this.#apartFrames -= 1;
    const awaited = this.#apartFrames > 0 ? callers : callers + open;
    this.#awaited = awaited < CALLERS_MIN || tookMs < GATHER_MS_MIN ? 0 : awaited;
    this.#gatherUntilMs = this.#clock.monotonicMs() + Math.min(GATHER_MS_MAX, tookMs);
  }

  /** Whether an empty frame should wait: a flood of refusals must not become a flood of frames. If not, it is sent now. */
  holdsEmpty(): boolean {
    if (this.#waitsUntil(this.#confirmedMs + CONFIRM_EVERY_MS)) return true;
    this.#confirmedMs = this.#clock.monotonicMs();
    return false;
  }

  /** Whether a frame with so many events of so many callers should wait for more. */
  holds(events: number, callers: number): boolean {
    if (events >= EVENTS_ENOUGH || callers >= this.#awaited) return false;
    if (this.#waitsUntil(this.#gatherUntilMs)) return true;
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
