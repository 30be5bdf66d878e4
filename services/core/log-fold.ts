/** Folds stored messages into a state, from the log's beginning or from a snapshot: for whoever reads a log to learn its state. */
import { AssertionError } from "node:assert/strict";
import { OperatingError } from "../../contracts/errors.ts";
import { actorOf, type Frame } from "../../contracts/frame.ts";
import type { LogMessage } from "../../contracts/ports.ts";
import { apply, applyFrame } from "./apply.ts";
import { type ChainTip, LogReader, type LogReaderOptions } from "./log-reader.ts";
import { createState, type ShardState } from "./state.ts";

/** A frame of the log with the state that it leads to. */
export interface LogPlace {
  readonly state: ShardState;
  readonly tip: ChainTip;
  /** Of the frame. */
  readonly streamSequence: number;
}

/** Why nothing behind a message may be read: a code of `Halt`, or `log_event_impossible`. */
export interface FoldProblem {
  readonly code: string;
  readonly message: string;
}

/** A frame of which only the beginning was applied. */
export interface FramePart {
  readonly streamSequence: number;
  /** Event sequences of the whole frame. */
  readonly first: number;
  readonly last: number;
}

/**
 * Takes the messages of a stream in order, from the one behind the place where it begins.
 * Invariant: `state` is the fold of the frames up to `reader.tip`, and of the beginning of `part`; after a problem nothing more is taken.
 */
export class LogFold {
  readonly state: ShardState;
  readonly reader: LogReader;
  /** Of the last message that was taken, and of the last frame; 0 before the first. */
  streamSequence = 0;
  frameStreamSequence = 0;
  voids = 0;
  stateHashes = 0;
  part: FramePart | undefined;
  readonly #sequenceMax: number;

  /** `sequenceMax`: event sequence behind which nothing is applied, be it inside of a frame. */
  constructor(options: Omit<LogReaderOptions, "tip">, start?: LogPlace, sequenceMax: number = Number.MAX_SAFE_INTEGER) {
    this.state = start?.state ?? createState();
    this.reader = new LogReader(start === undefined ? options : { ...options, tip: start.tip });
    this.streamSequence = start?.streamSequence ?? 0;
    this.frameStreamSequence = this.streamSequence;
    this.#sequenceMax = sequenceMax;
  }

  /** Whether everything up to `sequenceMax` was applied. */
  get isComplete(): boolean {
    return this.state.sequence >= this.#sequenceMax;
  }

  /** What is wrong with the message, if anything. */
  take(message: LogMessage): FoldProblem | undefined {
    const { streamSequence } = message;
    if (streamSequence !== this.streamSequence + 1) return gapProblem(this.streamSequence + 1, streamSequence);
    this.streamSequence = streamSequence;
    const verdict = this.reader.classify(message);
    if (verdict.kind === "halt") return verdict;
    if (verdict.kind === "void") {
      this.voids += 1;
      return undefined;
    }
    const { frame, chain } = verdict;
    const last = frame.first + frame.count - 1;
    if (last > this.#sequenceMax) {
      this.part = { streamSequence, first: frame.first, last };
      return problemOf(() => this.#applyPart(frame));
    }
    const problem = applyProblem(this.state, frame);
    if (problem !== undefined) return problem;
    this.reader.advance(frame, chain);
    this.frameStreamSequence = streamSequence;
    for (const event of frame.events) if (event.type === "stateHash") this.stateHashes += 1;
    return undefined;
  }

  #applyPart(frame: Frame): void {
    for (const event of frame.events) {
      if (this.isComplete) return;
      const actor = actorOf(event, frame);
      apply(this.state, event, { at: frame.at, actor });
    }
  }
}

/** A message that is not where it should be. */
export function gapProblem(missing: number, found: number): FoldProblem {
  return {
    code: "log_gap",
    message: `stream sequence ${missing} is missing: the stream goes on with ${found}`,
  };
}

/** Applies a frame that continues the chain; what is wrong with its events, if anything. The state is not to be used after a problem. */
export function applyProblem(state: ShardState, frame: Frame): FoldProblem | undefined {
  const problem = problemOf(() => applyFrame(state, frame));
  if (problem !== undefined) return problem;
  const { pending, active } = state;
  if (frame.pending === pending && frame.active === active) return undefined;
  const message = `the frame says ${frame.pending} pending and ${frame.active} leased, its events add up to ${pending} and ${active}`;
  return { code: "state_diverged", message };
}

/** A chained frame whose events cannot have happened: a defect of the leader that wrote it, or a forged log. */
function problemOf(step: () => void): FoldProblem | undefined {
  try {
    step();
    return undefined;
  } catch (error) {
    const isExpected = error instanceof OperatingError || error instanceof AssertionError;
    if (!isExpected) throw error;
    const code = error instanceof OperatingError ? error.code : "log_event_impossible";
    return { code, message: `the events of the frame cannot be applied: ${error.message}` };
  }
}
