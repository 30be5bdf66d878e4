/** The items of a run: 200 bytes each, numbered, and each looked for until it has been seen. */

const NUMBER_DIGITS = 12;
const BODY_BYTES = 200;
const PADDING = "x".repeat(BODY_BYTES - NUMBER_DIGITS);

/** 200 bytes without a character that JSON would escape: every peer sends the same, within a JSON value or as it is. */
export const bodyOf = (number: number): string => String(number).padStart(NUMBER_DIGITS, "0") + PADDING;
export const numberOf = (body: string): number => Number(body.slice(0, NUMBER_DIGITS));
export const PAYLOAD_BYTES = BODY_BYTES;

/** Numbers from 0 without gaps, and how often each came back. */
export class Items {
  #made = 0;
  #seenCount = 0;
  #doubleCount = 0;
  /** Times seen by number, 255 at most. */
  #times = new Uint8Array(1_024);

  /** How many have been made. */
  get made(): number {
    return this.#made;
  }
  /** How many have been seen, each counted once. */
  get seen(): number {
    return this.#seenCount;
  }
  get doubles(): number {
    return this.#doubleCount;
  }

  make(count: number): readonly string[] {
    const from = this.#made;
    this.#made += count;
    if (this.#made > this.#times.length) {
      const times = new Uint8Array(this.#made * 2);
      times.set(this.#times);
      this.#times = times;
    }
    return Array.from({ length: count }, (_, index) => bodyOf(from + index));
  }

  see(body: string): void {
    const number = numberOf(body);
    if (!(number < this.#made)) throw new Error(`an item that was never made came back: ${body.slice(0, 40)}`);
    const times = this.#times[number] ?? 0;
    if (times === 0) this.#seenCount += 1;
    else this.#doubleCount += 1;
    this.#times[number] = Math.min(times + 1, 255);
  }

  hasSeen(number: number): boolean {
    return (this.#times[number] ?? 0) > 0;
  }

  /** Throws unless every item that was made has been seen. */
  assertWhole(): void {
    if (this.#seenCount !== this.#made)
      throw new Error(`the run is not valid: ${this.#made - this.#seenCount} of ${this.#made} items are lost`);
  }
}
