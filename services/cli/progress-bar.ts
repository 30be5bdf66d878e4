/** Progress on a terminal; nothing where there is none. */
import { type Bar, Presets, SingleBar } from "cli-progress";

export class ProgressBar {
  readonly #bar: Bar | undefined;
  #isStarted = false;

  /** `format`: as cli-progress takes it; names in braces beside `value` and `total` are given to `show`. */
  constructor(isShown: boolean, format: string) {
    if (!isShown) return;
    this.#bar = new SingleBar(
      { format: `{bar} {percentage}%  ${format}  {duration_formatted}`, stream: process.stderr, hideCursor: true },
      Presets.shades_classic,
    );
  }

  show(value: number, total: number, more: Readonly<Record<string, string | number>> = {}): void {
    if (!this.#isStarted) this.#bar?.start(total, value, more);
    else {
      this.#bar?.setTotal(total);
      this.#bar?.update(value, more);
    }
    this.#isStarted = true;
  }

  /** Closing twice is allowed, and so is showing again afterwards. */
  close(): void {
    if (this.#isStarted) this.#bar?.stop();
    this.#isStarted = false;
  }
}
