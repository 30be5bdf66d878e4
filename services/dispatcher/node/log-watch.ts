/** Looks at the stream now and then: messages that vanish behind a node's back are told before a restart needs them. */
import type { Clock, Log, LogInfo, Reporter } from "../../../contracts/ports.ts";

const LOOK_MS = 10_000;

export interface LogWatchOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly reporter: Reporter;
  readonly timeoutMs: number;
  /** Gets every look: a leader's log time follows the server's clock. */
  readonly onInfo: (info: LogInfo) => void;
}

export class LogWatch {
  readonly #options: LogWatchOptions;
  #lookedMs = 0;
  #isIncomplete = false;

  constructor(options: LogWatchOptions) {
    this.#options = options;
  }

  /** What needs an operator; empty when nothing does. */
  get alarms(): readonly string[] {
    return this.#isIncomplete
      ? [
          "log_incomplete: messages were removed from the stream; a dispatcher that starts anew may not be able to read the log: keep this one running",
        ]
      : [];
  }

  tick(): void {
    const { clock, log, timeoutMs } = this.#options;
    if (clock.monotonicMs() - this.#lookedMs < LOOK_MS) return;
    this.#lookedMs = clock.monotonicMs();
    log.info(timeoutMs, (outcome) => {
      if (outcome.kind === "info") this.#looked(outcome.info);
    });
  }

  #looked(info: LogInfo): void {
    const { firstSequence, lastSequence, messages } = info;
    this.#options.onInfo(info);
    const isIncomplete = lastSequence > 0 && (firstSequence !== 1 || messages !== lastSequence);
    if (isIncomplete && !this.#isIncomplete)
      this.#options.reporter.error("log_incomplete", { firstSequence, lastSequence, messages });
    this.#isIncomplete = isIncomplete;
  }
}
