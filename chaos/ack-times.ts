/** When acknowledgements came, and the longest time without one: what a drill says about availability. */

export class AckTimes {
  /** ms, `performance.now()`. */
  readonly #times: number[] = [];

  /** An acknowledgement has come now. */
  add(): void {
    this.#times.push(performance.now());
  }

  /** Acknowledgements since `fromMs`. */
  countSince(fromMs: number): number {
    return this.#times.length - this.#indexAfter(fromMs);
  }

  /** The longest time between two acknowledgements since `fromMs`, the one before it and the present included; and when it ended. ms. */
  longestGap(fromMs: number): { readonly gapMs: number; readonly endMs: number } {
    const first = this.#indexAfter(fromMs);
    let before = this.#times[first - 1] ?? fromMs;
    let longest = { gapMs: 0, endMs: fromMs };
    for (const time of [...this.#times.slice(first), performance.now()]) {
      if (time - before > longest.gapMs) longest = { gapMs: time - before, endMs: time };
      before = time;
    }
    return longest;
  }

  #indexAfter(fromMs: number): number {
    return this.#times.findLastIndex((time) => time <= fromMs) + 1;
  }
}
