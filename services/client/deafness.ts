/** Tells a client whose requests nobody answers that its server may be cut off from the mesh, where another one may not be. */

/** How long nobody may be heard after the first attempt without an answer: longer than a takeover. ms. */
const DEAF_MS = 4_000;
/** The longest that it may become, doubled with each time that has not helped: then it is not the server. ms. */
const DEAF_MS_MAX = 120_000;

export class Deafness {
  #sinceMs: number | undefined;
  #deafMs = DEAF_MS;
  readonly #onDeaf: () => void;

  constructor(onDeaf: () => void) {
    this.#onDeaf = onDeaf;
  }

  /** A dispatcher's answer or beat has come. */
  heard(): void {
    this.#sinceMs = undefined;
    this.#deafMs = DEAF_MS;
  }

  /** The connection is another one, or gone. */
  connection(): void {
    this.#sinceMs = undefined;
  }

  /** An attempt has ended without an answer. ms on the monotonic clock. */
  unanswered(nowMs: number): void {
    this.#sinceMs ??= nowMs;
    if (nowMs - this.#sinceMs < this.#deafMs) return;
    this.#sinceMs = undefined;
    this.#deafMs = Math.min(this.#deafMs * 2, DEAF_MS_MAX);
    this.#onDeaf();
  }
}
