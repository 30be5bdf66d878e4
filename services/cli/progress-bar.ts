/** The progress of an ingest on a terminal; nothing where there is none. */
import { type Bar, Presets, SingleBar } from "cli-progress";
import type { IngestProgress } from "./delta-ingest.ts";

export class ProgressBar {
  readonly #bar: Bar | undefined;
  #isStarted = false;

  constructor(isShown: boolean) {
    if (!isShown) return;
    this.#bar = new SingleBar(
      {
        format: "{bar} {percentage}%  {value} of {total} completed, {enqueued} enqueued  {duration_formatted}",
        stream: process.stderr,
        hideCursor: true,
      },
      Presets.shades_classic,
    );
  }

  show({ items, enqueued, completed }: IngestProgress): void {
    if (!this.#isStarted) this.#bar?.start(items, completed, { enqueued });
    else this.#bar?.update(completed, { enqueued });
    this.#isStarted = true;
  }

  /** Closing twice is allowed. */
  close(): void {
    if (this.#isStarted) this.#bar?.stop();
    this.#isStarted = false;
  }
}
