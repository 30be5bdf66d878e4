/** Audits a log message by message: the chain from its first frame, and the fold of its events by the code that the leader runs. */
import { AssertionError } from "node:assert/strict";
import { OperatingError } from "../../contracts/errors.ts";
import type { Frame } from "../../contracts/frame.ts";
import type { LogMessage } from "../../contracts/ports.ts";
import { applyFrame } from "../core/apply.ts";
import { stateHash } from "../core/hash.ts";
import { type ChainTip, LogReader, TIP_START } from "../core/log-reader.ts";
import { createState } from "../core/state.ts";
import { chainOf, decodeFrame } from "../runtime/frame-codec.ts";
import { tipBefore } from "./log-marker.ts";

/** Void messages that a report names one by one; the others are only counted. */
const VOIDS_NAMED_MAX = 20;

export interface AuditReport {
  readonly ok: boolean;
  readonly region: string;
  readonly shard: string;
  readonly logId: string;
  /** Stored messages that were looked at: frames and void ones. */
  readonly messages: number;
  readonly frames: number;
  /** Of the frames those without events. */
  readonly emptyFrames: number;
  /** Whether the events were applied: only when the reading began at the first message. */
  readonly isFolded: boolean;
  readonly events: number;
  readonly eventsByType: Readonly<Record<string, number>>;
  readonly terms: readonly {
    readonly term: number;
    readonly leader: string;
    readonly sequence: number;
    readonly at: number;
  }[];
  readonly voids: {
    readonly count: number;
    readonly first: readonly { readonly streamSequence: number; readonly reason: string }[];
  };
  /** Where the chain ends: the last good frame. */
  readonly head: {
    readonly streamSequence: number;
    readonly sequence: number;
    readonly chain: string;
    readonly at: number;
  };
  readonly stateHash: string;
  readonly counts: {
    readonly pending: number;
    readonly active: number;
    readonly deadLettered: number;
    readonly completed: number;
  };
  /** First and last stream sequence that the stream holds. */
  readonly stream: { readonly first: number; readonly last: number };
  /** What is wrong, and where; nothing behind it was looked at. */
  readonly problem?: { readonly code: string; readonly message: string; readonly streamSequence: number };
}

/**
 * Takes every message of a stream in order.
 * Invariant: after `take` has returned false nothing more is taken, and `report().problem` says why.
 */
export class LogAudit {
  readonly #state = createState();
  readonly #from: number;
  readonly #isFolded: boolean;
  #reader: LogReader;
  readonly #region: string;
  readonly #shard: string;
  readonly #eventsByType = new Map<string, number>();
  readonly #terms: AuditReport["terms"][number][] = [];
  readonly #voids: AuditReport["voids"]["first"][number][] = [];
  #voidCount = 0;
  #frameCount = 0;
  #eventCount = 0;
  #emptyCount = 0;
  #streamSequence = 0;
  #headStreamSequence = 0;
  #problem: AuditReport["problem"];
  #stream: AuditReport["stream"] = { first: 0, last: 0 };

  /** `from`: stream sequence of the first message. Above 1 its frame is trusted, and events cannot be folded. */
  constructor(region: string, shard: string, from = 1) {
    this.#region = region;
    this.#shard = shard;
    this.#isFolded = from === 1;
    this.#streamSequence = from - 1;
    this.#from = from;
    this.#reader = this.#readerFrom(TIP_START);
  }

  /** Whether the log is good so far. */
  take(message: LogMessage): boolean {
    if (this.#problem !== undefined) return false;
    const { streamSequence } = message;
    if (streamSequence !== this.#streamSequence + 1)
      return this.#fail(
        "log_gap",
        `stream sequence ${this.#streamSequence + 1} is missing: the stream goes on with ${streamSequence}`,
        streamSequence,
      );
    this.#streamSequence = streamSequence;
    if (!this.#isFolded && this.#frameCount === 0) this.#trust(message);
    const verdict = this.#reader.classify(message);
    if (verdict.kind === "halt") return this.#fail(verdict.code, verdict.message, streamSequence);
    if (verdict.kind === "void") {
      this.#voidCount += 1;
      if (this.#voids.length < VOIDS_NAMED_MAX) this.#voids.push({ streamSequence, reason: verdict.reason });
      return true;
    }
    return this.#takeFrame(verdict.frame, verdict.chain, streamSequence);
  }

  /** Says what the stream itself claims to hold, after the last message: what is missing at the end shows only here. */
  end(stream: AuditReport["stream"]): void {
    this.#stream = stream;
    const lastStreamSequence = stream.last;
    if (this.#problem !== undefined) return;
    if (this.#streamSequence < lastStreamSequence)
      this.#fail(
        "log_gap",
        `the stream ends at ${lastStreamSequence}, but nothing came after ${this.#streamSequence}`,
        this.#streamSequence + 1,
      );
    else if (this.#frameCount === 0)
      this.#fail("log_empty", "the stream holds no frame: no shard was ever led on it", this.#streamSequence);
  }

  report(): AuditReport {
    const state = this.#state;
    const { chain, at, nextSequence } = this.#reader.tip;
    return {
      ok: this.#problem === undefined,
      region: this.#region,
      shard: this.#shard,
      logId: this.#reader.logId,
      messages: this.#streamSequence - this.#from + 1,
      frames: this.#frameCount,
      emptyFrames: this.#emptyCount,
      isFolded: this.#isFolded,
      events: this.#eventCount,
      eventsByType: Object.fromEntries([...this.#eventsByType].sort()),
      terms: this.#terms,
      voids: { count: this.#voidCount, first: this.#voids },
      head: { streamSequence: this.#headStreamSequence, sequence: nextSequence - 1, chain, at },
      stream: this.#stream,
      stateHash: stateHash(state),
      counts: {
        pending: state.pending,
        active: state.active,
        deadLettered: state.deadLettered,
        completed: state.completedTotal,
      },
      ...(this.#problem === undefined ? {} : { problem: this.#problem }),
    };
  }

  /** Takes the first frame's word for what stood before it. A message that is no frame is left to be found void. */
  #trust(message: LogMessage): void {
    const decoded = decodeFrame(message.payload);
    if (decoded.kind === "void") return;
    this.#reader = this.#readerFrom(tipBefore(decoded.frame));
  }

  #readerFrom(tip: ChainTip): LogReader {
    return new LogReader({ region: this.#region, shard: this.#shard, logId: "", hashOf: chainOf, strict: true, tip });
  }

  #takeFrame(frame: Frame, chain: string, streamSequence: number): boolean {
    const problem = this.#isFolded ? this.#fold(frame) : undefined;
    if (problem !== undefined) return this.#fail(problem.code, problem.message, streamSequence);
    this.#reader.advance(frame, chain);
    this.#count(frame, streamSequence);
    return true;
  }

  /** What is wrong with the frame's events, if anything. */
  #fold(frame: Frame): { readonly code: string; readonly message: string } | undefined {
    try {
      applyFrame(this.#state, frame);
    } catch (error) {
      // A chained frame whose events cannot have happened: a defect of the leader that wrote it, or a forged log.
      const isExpected = error instanceof OperatingError || error instanceof AssertionError;
      if (!isExpected) throw error;
      const code = error instanceof OperatingError ? error.code : "log_event_impossible";
      return { code, message: `the events of the frame cannot be applied: ${error.message}` };
    }
    const { pending, active } = this.#state;
    if (frame.pending === pending && frame.active === active) return undefined;
    const message = `the frame says ${frame.pending} pending and ${frame.active} leased, its events add up to ${pending} and ${active}`;
    return { code: "state_diverged", message };
  }

  #count(frame: Frame, streamSequence: number): void {
    this.#headStreamSequence = streamSequence;
    this.#eventCount += frame.count;
    this.#frameCount += 1;
    if (frame.count === 0) this.#emptyCount += 1;
    for (const [index, event] of frame.events.entries()) {
      this.#eventsByType.set(event.type, (this.#eventsByType.get(event.type) ?? 0) + 1);
      if (event.type === "termStarted")
        this.#terms.push({ term: event.term, leader: event.leader, sequence: frame.first + index, at: frame.at });
    }
  }

  #fail(code: string, message: string, streamSequence: number): false {
    this.#problem = { code, message, streamSequence };
    return false;
  }
}
