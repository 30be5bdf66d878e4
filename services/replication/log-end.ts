/** How far a log reaches, for telling how far a sink is behind: asked for beside the work, seldom, and never waited for. */
import { OperatingError } from "../../contracts/errors.ts";
import type { Clock, LogSource } from "../../contracts/ports.ts";
import { type LogAddress, latestPlace } from "./log-access.ts";

export interface LogEndOptions extends LogAddress {
  readonly log: LogSource;
  readonly clock: Clock;
  /** Time between two questions at least. ms. */
  readonly intervalMs: number;
}

export class LogEnd {
  readonly #options: LogEndOptions;
  #sequence = 0;
  #isAsking = false;
  #askedMs = Number.NEGATIVE_INFINITY;

  constructor(options: LogEndOptions) {
    this.#options = options;
  }

  /** Of the newest event that is known; 0 before any is. */
  get sequence(): number {
    return this.#sequence;
  }

  /** An event of this sequence is there. */
  seen(sequence: number): void {
    this.#sequence = Math.max(this.#sequence, sequence);
  }

  /** Asks the log, unless that was done just now. Never throws: what cannot be asked now leaves the older figure. */
  async find(): Promise<void> {
    const { log, region, shard, clock, intervalMs } = this.#options;
    if (this.#isAsking || clock.monotonicMs() - this.#askedMs < intervalMs) return;
    this.#isAsking = true;
    try {
      this.seen((await latestPlace(log, { region, shard })).sequence);
    } catch (error) {
      if (!(error instanceof OperatingError)) throw error;
    } finally {
      this.#isAsking = false;
      this.#askedMs = clock.monotonicMs();
    }
  }
}
