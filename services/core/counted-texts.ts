/** Texts that many share, each known by a small number as long as somebody has it. */
import assert from "node:assert/strict";

/** Invariant: a text has one number; the numbers in use are as few as the texts. */
export class CountedTexts {
  private readonly numbers = new Map<string, number>();
  private readonly texts: (string | undefined)[] = [];
  private readonly counts: number[] = [];
  private readonly free: number[] = [];

  get size(): number {
    return this.numbers.size;
  }

  /** The number of a text, which one more has from now on. */
  take(text: string): number {
    const known = this.numbers.get(text);
    const number = known ?? this.free.pop() ?? this.texts.length;
    if (known === undefined) {
      this.numbers.set(text, number);
      this.texts[number] = text;
      this.counts[number] = 0;
    }
    (this.counts[number] as number) += 1;
    return number;
  }

  /** One who had it has it no more. */
  giveBack(number: number): void {
    const text = this.text(number);
    this.counts[number] = (this.counts[number] as number) - 1;
    if (this.counts[number] !== 0) return;
    this.numbers.delete(text);
    this.texts[number] = undefined;
    this.free.push(number);
  }

  text(number: number): string {
    const text = this.texts[number];
    if (text === undefined) assert.fail(`nobody has the text ${number}`);
    return text;
  }
}
