/** Looks at the stream now and then: messages that vanish behind a node's back are told before a restart needs them. */
import type { Alarm, Clock, InfoOutcome, Log, LogInfo, Reporter } from "../../../contracts/ports.ts";
import type { SnapshotPlace } from "./snapshooter.ts";
import type { SnapshotSource } from "./snapshot-source.ts";

const LOOK_MS = 10_000;
/** Time until the next look behind one that was not as it should be. ms. */
const LOOK_MS_SOON = 1_000;

/** Called when the server is asked for the stream; what it returns gets the answer, and says whether to look again soon. */
export type OnLook = () => (look: InfoOutcome) => boolean;

export interface LogWatchOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly reporter: Reporter;
  readonly timeoutMs: number;
  readonly snapshots: SnapshotSource | undefined;
  readonly onLook: OnLook;
  /** Messages are missing that no snapshot stands for: one taken now would mend that. */
  readonly onIncomplete: () => void;
}

/** A log may begin behind its first frame only where a snapshot that every dispatcher can load covers what is gone (L1). */
export class LogWatch {
  readonly #options: LogWatchOptions;
  #lookedMs = Number.NEGATIVE_INFINITY;
  #isIncomplete = false;

  constructor(options: LogWatchOptions) {
    this.#options = options;
  }

  /** What needs an operator; empty when nothing does. */
  get alarms(): readonly Alarm[] {
    if (!this.#isIncomplete) return [];
    const message =
      "messages were removed from the stream that no snapshot stands for; a dispatcher that starts anew may not be able to read the log: keep this one running";
    return [{ code: "log_incomplete", message, isServing: false }];
  }

  tick(): void {
    const { clock, log, timeoutMs, onLook } = this.#options;
    if (clock.monotonicMs() - this.#lookedMs < LOOK_MS) return;
    this.#lookedMs = clock.monotonicMs();
    const answered = onLook();
    log.info(timeoutMs, (outcome) => {
      if (answered(outcome)) this.#lookedMs = Math.min(this.#lookedMs, clock.monotonicMs() - LOOK_MS + LOOK_MS_SOON);
      if (outcome.kind === "info") this.#looked(outcome.info);
    });
  }

  #looked(info: LogInfo): void {
    const { firstSequence, lastSequence, messages } = info;
    if (lastSequence === 0) return;
    const { snapshots } = this.#options;
    if (messages !== lastSequence - firstSequence + 1 || (firstSequence > 1 && snapshots === undefined))
      this.#judge(info, true);
    else if (firstSequence <= 1 || snapshots === undefined) this.#judge(info, false);
    else
      snapshots.durable((places, problem) => {
        // Who cannot be asked has not said that there is nothing.
        if (problem === undefined) this.#judge(info, !places.some((place) => covers(place, info)));
      });
  }

  #judge({ firstSequence, lastSequence, messages }: LogInfo, isIncomplete: boolean): void {
    if (isIncomplete && !this.#isIncomplete)
      this.#options.reporter.error("log_incomplete", { firstSequence, lastSequence, messages });
    this.#isIncomplete = isIncomplete;
    if (isIncomplete) this.#options.onIncomplete();
  }
}

/** Whether a snapshot stands for all that is gone. One behind the log's end is not of this log, whatever its label says. */
const covers = ({ streamSequence }: SnapshotPlace, { firstSequence, lastSequence }: LogInfo): boolean =>
  streamSequence >= firstSequence - 1 && streamSequence <= lastSequence;
