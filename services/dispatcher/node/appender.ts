/** Brings one frame to the log and knows for certain what became of it: the rule for unknown outcomes (R3 of the invariants). */
import assert from "node:assert/strict";
import type {
  AppendOutcome,
  Clock,
  Log,
  LogMessage,
  ReadOutcome,
  Reporter,
  TimerHandle,
} from "../../../contracts/ports.ts";
import type { Halt, LogReader } from "../../core/log-reader.ts";
import { isToldAt } from "./alarms.ts";

/**
 * `stored`: our bytes stand at `streamSequence`, seen by the ack or by reading it.
 * `deposed`: another frame of the chain stands where ours would; ours is not in the log and never will be.
 * `halted`: the log is not what it must be; nobody may lead from what we know.
 */
export type AppendResult =
  | { readonly kind: "stored"; readonly streamSequence: number; readonly byRead: boolean }
  | { readonly kind: "deposed" }
  | ({ readonly kind: "halted" } & Halt);

export interface AppenderOptions {
  readonly log: Log;
  readonly clock: Clock;
  readonly reporter: Reporter;
  readonly reader: LogReader;
  /** Stream sequence that is known to be the last one read. */
  readonly lastSequence: number;
  readonly ackTimeoutMs: number;
  /** How far apart two sightings of a lost tail or a hole must be before they count. ms. */
  readonly confirmMs: number;
  /** Stream sequence that any beat, snapshot or cursor has shown. */
  readonly shownSequence: () => number;
}

export interface AppenderCounts {
  appends: number;
  ambiguous: number;
  wrongLast: number;
  resent: number;
  voids: number;
}

/** The last one is how late the end of an election of the stream may be noticed. */
const BACKOFF_MS = [5, 10, 20, 50, 100] as const;

interface Attempt {
  readonly payload: Uint8Array;
  readonly chain: string;
  readonly done: (result: AppendResult) => void;
  tries: number;
  /** When the log was first seen to be shorter than it was, or to have a hole; -1 when not. ms, monotonic. */
  suspectMs: number;
  /** Whether the last try was refused by a log that is shorter than it was. */
  isRefusedShort: boolean;
}

/**
 * Exactly one frame is under way. After anything but the ack it alternates between reading the place where the frame would stand and appending
 * the same bytes with the same expectation, until one of both is definite. At most one copy can land, because the expectation is true only once.
 * Invariant: `lastSequence` is the sequence of a message that we have read or that was acknowledged to us.
 */
export class Appender {
  readonly counts: AppenderCounts = { appends: 0, ambiguous: 0, wrongLast: 0, resent: 0, voids: 0 };
  readonly #options: AppenderOptions;
  #lastSequence: number;
  #attempt: Attempt | undefined;
  #timer: TimerHandle | undefined;

  constructor(options: AppenderOptions) {
    this.#options = options;
    this.#lastSequence = options.lastSequence;
  }

  get lastSequence(): number {
    return this.#lastSequence;
  }

  /** Appends a frame. `done` is called exactly once unless `stop` comes first. */
  append(payload: Uint8Array, chain: string, done: (result: AppendResult) => void): void {
    assert(this.#attempt === undefined, "one frame in flight");
    this.#attempt = { payload, chain, done, tries: 0, suspectMs: -1, isRefusedShort: false };
    this.counts.appends += 1;
    this.#send(this.#attempt);
  }

  /** Forgets the frame under way: its outcome stays unknown. */
  stop(): void {
    this.#attempt = undefined;
    if (this.#timer !== undefined) this.#options.clock.clearTimer(this.#timer);
    this.#timer = undefined;
  }

  #send(attempt: Attempt): void {
    const expected = this.#lastSequence;
    if (attempt.tries > 0) this.counts.resent += 1;
    attempt.tries += 1;
    this.#options.log.append(attempt.payload, attempt.chain, expected, this.#options.ackTimeoutMs, (outcome) => {
      if (this.#attempt === attempt) this.#answered(attempt, expected, outcome);
    });
  }

  #answered(attempt: Attempt, expected: number, outcome: AppendOutcome): void {
    if (outcome.kind === "acked") {
      // An ack with another sequence would mean that the server did not check the expectation.
      assert.equal(outcome.streamSequence, expected + 1);
      this.#finish(attempt, { kind: "stored", streamSequence: outcome.streamSequence, byRead: false });
      return;
    }
    if (attempt.tries === 1) this.counts.ambiguous += 1;
    if (outcome.kind === "wrong_last") this.counts.wrongLast += 1;
    attempt.isRefusedShort = outcome.kind === "wrong_last" && (outcome.lastSequence ?? 0) < this.#knownEnd();
    // An outage is one story, not a line per try.
    if (isToldAt(attempt.tries))
      this.#options.reporter.warn("append_unclear", { ...outcome, expected, tries: attempt.tries });
    this.#options.log.read(expected + 1, this.#options.ackTimeoutMs, (read) => {
      if (this.#attempt === attempt) this.#readBack(attempt, read);
    });
  }

  #readBack(attempt: Attempt, read: ReadOutcome): void {
    if (read.kind === "found") this.#found(attempt, read.message);
    else this.#unread(attempt, read.kind === "absent");
  }

  #found(attempt: Attempt, message: LogMessage): void {
    if (isSame(message.payload, attempt.payload)) {
      this.#finish(attempt, { kind: "stored", streamSequence: message.streamSequence, byRead: true });
      return;
    }
    const verdict = this.#options.reader.classify(message);
    if (verdict.kind === "void") {
      this.counts.voids += 1;
      if (isToldAt(this.counts.voids))
        this.#options.reporter.error("void_message", {
          streamSequence: message.streamSequence,
          reason: verdict.reason,
          count: this.counts.voids,
        });
      this.#lastSequence = message.streamSequence;
      attempt.suspectMs = -1;
      this.#send(attempt);
    } else if (verdict.kind === "frame") this.#finish(attempt, { kind: "deposed" });
    else this.#finish(attempt, { kind: "halted", code: verdict.code, message: verdict.message });
  }

  /** Absent proves nothing about the frame. It is time to ask whether the log is still there, and as long as it was. */
  #unread(attempt: Attempt, isAbsent: boolean): void {
    this.#options.log.info(this.#options.ackTimeoutMs, (outcome) => {
      if (this.#attempt !== attempt) return;
      if (outcome.kind === "failed") {
        // Sightings count only in an unbroken row: two that lie far apart may each be of a server that does not know the newest.
        attempt.suspectMs = -1;
        return this.#again(attempt);
      }
      // What stood there has been trimmed, so others have led since; ours is not what the log goes on with.
      if (outcome.kind === "info" && isAbsent && outcome.info.firstSequence > this.#lastSequence + 1)
        return this.#finish(attempt, { kind: "deposed" });
      const last = outcome.kind === "missing" ? undefined : outcome.info.lastSequence;
      const halt = this.#problemOf(last, isAbsent, attempt.isRefusedShort);
      if (halt === undefined) attempt.suspectMs = -1;
      else if (attempt.suspectMs < 0) attempt.suspectMs = this.#options.clock.monotonicMs();
      else if (this.#options.clock.monotonicMs() - attempt.suspectMs >= this.#options.confirmMs)
        return this.#finish(attempt, { kind: "halted", ...halt });
      this.#again(attempt);
    });
  }

  /** How far the log has been seen. */
  #knownEnd(): number {
    return Math.max(this.#lastSequence, this.#options.shownSequence());
  }

  /** A server that is cut off may tell of an old end for as long as it is; only one that has the append's place to give can refuse it. */
  #problemOf(last: number | undefined, isAbsent: boolean, isRefusedShort: boolean): Halt | undefined {
    const known = this.#lastSequence;
    if (last === undefined)
      return {
        code: "log_missing",
        message: "the stream is gone: restore it from a backup or a mirror, or remove the shard from the registry",
      };
    if (last < this.#knownEnd() && !isRefusedShort) return undefined;
    if (last < this.#knownEnd())
      return {
        code: "log_tail_lost",
        message: `the stream ends at ${last}, but it has been seen up to ${this.#knownEnd()}: acknowledged frames are lost; restore the stream before anybody leads`,
      };
    if (last > known && isAbsent)
      return {
        code: "log_gap",
        message: `the stream ends at ${last} but has no message ${known + 1}: compare its replicas`,
      };
    return undefined;
  }

  #again(attempt: Attempt): void {
    const delayMs = BACKOFF_MS[Math.min(attempt.tries - 1, BACKOFF_MS.length - 1)] ?? 100;
    this.#timer = this.#options.clock.setTimer(delayMs, () => {
      this.#timer = undefined;
      if (this.#attempt === attempt) this.#send(attempt);
    });
  }

  #finish(attempt: Attempt, result: AppendResult): void {
    this.#attempt = undefined;
    if (result.kind === "stored") this.#lastSequence = result.streamSequence;
    attempt.done(result);
  }
}

function isSame(left: Uint8Array, right: Uint8Array): boolean {
  return left.byteLength === right.byteLength && Buffer.compare(left, right) === 0;
}
