/** Tells a client whose requests nobody answers that its server may be cut off from the mesh, where another one may not be. */

/** How long nobody may be heard after the first attempt without an answer: longer than a takeover. ms. */
const DEAF_MS = 4_000;

export class Deafness {
  #sinceMs: number | undefined;
  readonly #onDeaf: () => void;

  /** `onDeaf`: at most once in `DEAF_MS`. */
  constructor(onDeaf: () => void) {
    this.#onDeaf = onDeaf;
  }

  /** A dispatcher's answer or beat has come, or the connection is another one. */
  heard(): void {
    this.#sinceMs = undefined;
  }

  /** An attempt has ended without an answer. ms on the monotonic clock. */
  unanswered(nowMs: number): void {
    this.#sinceMs ??= nowMs;
    if (nowMs - this.#sinceMs < DEAF_MS) return;
    this.#sinceMs = undefined;
    this.#onDeaf();
  }
}
