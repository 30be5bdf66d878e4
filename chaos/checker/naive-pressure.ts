/** The rules of backpressure, written again: pressed from the high watermark on, until the low one and the end of the cooldown. Bodies are believed. */
import type { ShardOptions } from "../../contracts/options.ts";

/** Where a log stands: its state version, its options and its time. */
interface Standing {
  readonly logVersion: number;
  readonly options: ShardOptions | undefined;
  readonly at: number;
}

export class NaivePressure {
  /** Log time since which items are refused; always undefined in a log of state version 1. ms. */
  sinceMs: number | undefined;
  /** What it was told of last. */
  #now: Standing & { readonly pending: number } = { logVersion: 0, options: undefined, pending: 0, at: 0 };

  /** Told before each event and behind it. */
  look({ logVersion, options, at }: Standing, pending: number): void {
    this.#now = { logVersion, options, at, pending };
    if (logVersion < 2) return;
    if (this.sinceMs === undefined && this.#isHigh()) this.sinceMs = at;
    else if (this.#isOver(at)) this.sinceMs = undefined;
  }

  /** Whether an enqueue is refused, as far as the log tells. */
  get isPressed(): boolean {
    return this.#now.logVersion < 2 ? this.#isHigh() : this.sinceMs !== undefined;
  }

  /** Whether nothing but time must pass, and has by then. */
  #isOver(at: number): boolean {
    const { options, pending } = this.#now;
    if (this.sinceMs === undefined || options === undefined || at - this.sinceMs < options.backpressureCooldownMs)
      return false;
    const { pendingHigh, pendingLow } = options;
    return pendingHigh === 0 || pending <= (pendingLow > 0 ? pendingLow : Math.floor((pendingHigh * 4) / 5));
  }

  #isHigh(): boolean {
    const { options, pending } = this.#now;
    return options !== undefined && options.pendingHigh > 0 && pending >= options.pendingHigh;
  }

  /** Log time from which on it lets go unless something happens; infinite while too much is pending, 0 when it is not pressed. ms. */
  get easesAt(): number {
    if (!this.isPressed) return 0;
    if (this.sinceMs === undefined || !this.#isOver(Number.POSITIVE_INFINITY)) return Number.POSITIVE_INFINITY;
    return this.sinceMs + (this.#now.options?.backpressureCooldownMs ?? 0);
  }
}
