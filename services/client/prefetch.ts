/** How many leases a worker should hold beyond those that it handles, so that none of its handlers waits for the mesh. */

/** Weight of the newest time in an average. */
const NEWEST = 0.1;
/** A handler that does nothing still takes some time. ms. */
const HANDLING_MS_MIN = 0.01;
/** Leases that one question may bring. */
const PREFETCH_MAX = 1_000;

/** An average in which what is long ago counts less and less; 0 before the first. ms. */
class Average {
  value = 0;

  add(ms: number): void {
    this.value += this.value === 0 ? ms : (ms - this.value) * NEWEST;
  }
}

/**
 * As many as the handlers end while a settled item is told to the shard and the next one is fetched: fewer would let handlers wait, more
 * would keep items from other workers.
 */
export class AdaptivePrefetch {
  readonly #concurrency: number;
  readonly #handling = new Average();
  readonly #settling = new Average();

  constructor(concurrency: number) {
    this.#concurrency = concurrency;
  }

  handled(ms: number): void {
    this.#handling.add(Math.max(ms, HANDLING_MS_MIN));
  }

  settled(ms: number): void {
    this.#settling.add(ms);
  }

  /** 0..1,000; 0 until the first item has been handled. */
  get size(): number {
    const { value: handlingMs } = this.#handling;
    if (handlingMs === 0) return 0;
    // Fetching takes as long as settling, a request and a frame of the log; its own time says little, for it may have waited for items to come.
    const awayMs = this.#settling.value * 2;
    return Math.min(Math.ceil((this.#concurrency * awayMs) / handlingMs), PREFETCH_MAX);
  }
}
