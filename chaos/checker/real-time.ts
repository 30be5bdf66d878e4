/** What real time says about sequences: what was shown before a moment, and what was asked for only after it. */
import type { Effect } from "./causes.ts";
import type { Operation, ShardOperation } from "./timed-operations.ts";

interface Shown {
  readonly at: number;
  readonly sequence: number;
}

/**
 * An operation that returned before another was invoked comes before it. So each operation has a window of sequences: above everything that
 * had been shown when it was invoked, below everything that was asked for after it had returned. Two sweeps find all windows.
 */
export class RealTime {
  /** By moment; sequences grow. */
  readonly #shown: readonly Shown[];
  readonly #asked: readonly Shown[];

  constructor(operations: readonly Operation[], effects: readonly Effect[]) {
    const replies = operations
      .filter((operation): operation is ShardOperation => operation.f !== "fenced_write" && operation.type === "ok")
      .map(({ returned, reply }) => ({ at: returned, sequence: reply?.sequence ?? 0 }));
    this.#shown = best(replies, (a, b) => a.at - b.at, Math.max);
    const asked = effects.map(({ invoked, sequence }) => ({ at: invoked, sequence }));
    this.#asked = best(asked, (a, b) => b.at - a.at, Math.min).reverse();
  }

  /** Highest sequence that somebody had been shown before this moment. 0 for none. */
  shownBefore(at: number): number {
    const count = countUntil(this.#shown, (shown) => shown.at < at);
    return this.#shown[count - 1]?.sequence ?? 0;
  }

  /** Lowest sequence that was asked for only after this moment. Infinity for none. */
  askedAfter(at: number): number {
    const count = countUntil(this.#asked, (asked) => asked.at <= at);
    return this.#asked[count]?.sequence ?? Number.POSITIVE_INFINITY;
  }
}

/** In this order, each with the best sequence up to it. */
function best(all: readonly Shown[], order: (a: Shown, b: Shown) => number, better: (a: number, b: number) => number) {
  let sequence: number | undefined;
  return [...all].sort(order).map((one) => {
    sequence = sequence === undefined ? one.sequence : better(sequence, one.sequence);
    return { at: one.at, sequence };
  });
}

/** How many at the beginning are such; behind the first that is not, none is. */
function countUntil(all: readonly Shown[], isSuch: (one: Shown) => boolean): number {
  let low = 0;
  let high = all.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (isSuch(all[middle] as Shown)) low = middle + 1;
    else high = middle;
  }
  return low;
}
