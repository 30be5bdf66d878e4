/** Audits a log message by message: the chain from its first frame, and the fold of its events by the code that the leader runs. */
import type { Frame } from "../../contracts/frame.ts";
import type { LogMessage } from "../../contracts/ports.ts";
import { stateHash } from "../core/hash.ts";
import { applyProblem, gapProblem, type LogPlace } from "../core/log-fold.ts";
import { type ChainTip, LogReader, TIP_START } from "../core/log-reader.ts";
import { createState, type ShardState } from "../core/state.ts";
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
  /** Whether the events were applied: from the first one, or from the snapshot on. */
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

export interface AuditOptions {
  readonly region: string;
  readonly shard: string;
  /** Stream sequence of the first message; 1 when absent. Above 1 its frame is trusted. */
  readonly from?: number;
  /** A place at or behind `from - 1` where the events begin to be applied: without it they are only from the first message on. */
  readonly base?: LogPlace;
  /** Messages below this stream sequence are known to be no part of the chain. */
  readonly chainFrom?: number;
}

/**
 * Takes every message of a stream in order.
 * Invariant: after `take` has returned false nothing more is taken, and `report().problem` says why.
 */
export class LogAudit {
  /** Undefined while it is not known: before the place that the reading begins with, or for good. */
  #state: ShardState | undefined;
  readonly #from: number;
  readonly #chainFrom: number;
  /** Undefined when there is none, or when the chain has passed it. */
  #base: LogPlace | undefined;
  /** Whether the first frame's word is taken for where the chain stands. */
  readonly #isTrusting: boolean;
  #reader: LogReader;
  readonly #region: string;
  readonly #shard: string;
  readonly #logId: string;
  readonly #eventsByType = new Map<string, number>();
  readonly #terms: AuditReport["terms"][number][] = [];
  readonly #voids: AuditReport["voids"]["first"][number][] = [];
  #voidCount = 0;
  #frameCount = 0;
  #eventCount = 0;
  #emptyCount = 0;
  #streamSequence = 0;
  #headStreamSequence = 0;
  #firstStreamSequence = 0;
  #problem: AuditReport["problem"];
  #stream: AuditReport["stream"] = { first: 0, last: 0 };

  constructor({ region, shard, from = 1, base, chainFrom = 0 }: AuditOptions) {
    this.#region = region;
    this.#shard = shard;
    this.#streamSequence = from - 1;
    this.#from = from;
    this.#chainFrom = chainFrom;
    const isBeside = base?.streamSequence === from - 1;
    if (isBeside || from === 1) this.#state = isBeside ? base.state : createState();
    else this.#base = base;
    this.#isTrusting = this.#state === undefined;
    this.#logId = base?.state.logId ?? "";
    this.#reader = this.#readerFrom(isBeside ? base.tip : TIP_START);
  }

  /** Stream sequence of the first frame, when nothing that is left proves what stood before it. */
  get trustedStreamSequence(): number | undefined {
    return this.#isTrusting && this.#firstStreamSequence > 0 ? this.#firstStreamSequence : undefined;
  }

  /** Whether the log is good so far. */
  take(message: LogMessage): boolean {
    if (this.#problem !== undefined) return false;
    const { streamSequence } = message;
    if (streamSequence !== this.#streamSequence + 1) {
      const { code, message: text } = gapProblem(this.#streamSequence + 1, streamSequence);
      return this.#fail(code, text, streamSequence);
    }
    this.#streamSequence = streamSequence;
    return this.#judge(message) && this.#passBase(streamSequence);
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
      this.#fail(
        "log_empty",
        stream.first > 1
          ? "the stream holds no frame any more: it was purged; restore it from a backup"
          : "the stream holds no frame: no shard was ever led on it",
        this.#streamSequence,
      );
  }

  report(): AuditReport {
    const state = this.#state ?? createState();
    const { chain, at, nextSequence } = this.#reader.tip;
    return {
      ok: this.#problem === undefined,
      region: this.#region,
      shard: this.#shard,
      logId: this.#reader.logId,
      messages: this.#streamSequence - this.#from + 1,
      frames: this.#frameCount,
      emptyFrames: this.#emptyCount,
      isFolded: this.#state !== undefined,
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

  #judge(message: LogMessage): boolean {
    const { streamSequence } = message;
    if (streamSequence < this.#chainFrom) return this.#takeVoid(streamSequence, "no part of the chain that follows");
    if (this.#isTrusting && this.#frameCount === 0) this.#trust(message);
    const verdict = this.#reader.classify(message);
    if (verdict.kind === "halt") return this.#fail(verdict.code, verdict.message, streamSequence);
    if (verdict.kind === "void") return this.#takeVoid(streamSequence, verdict.reason);
    return this.#takeFrame(verdict.frame, verdict.chain, streamSequence);
  }

  /** Begins to apply events where the snapshot was cut, if the chain goes through that place. */
  #passBase(streamSequence: number): boolean {
    const base = this.#base;
    if (base === undefined || streamSequence < base.streamSequence) return true;
    this.#base = undefined;
    if (this.#reader.tip.chain !== base.tip.chain)
      return this.#fail(
        "log_fork",
        `the chain does not go through the frame that the snapshot at sequence ${base.state.sequence} was cut behind`,
        streamSequence,
      );
    this.#state = base.state;
    return true;
  }

  #takeVoid(streamSequence: number, reason: string): true {
    this.#voidCount += 1;
    if (this.#voids.length < VOIDS_NAMED_MAX) this.#voids.push({ streamSequence, reason });
    return true;
  }

  /** Takes the first frame's word for what stood before it. A message that is no frame is left to be found void. */
  #trust(message: LogMessage): void {
    const decoded = decodeFrame(message.payload);
    if (decoded.kind === "void") return;
    this.#reader = this.#readerFrom(tipBefore(decoded.frame));
  }

  #readerFrom(tip: ChainTip): LogReader {
    return new LogReader({
      region: this.#region,
      shard: this.#shard,
      logId: this.#logId,
      hashOf: chainOf,
      strict: true,
      tip,
    });
  }

  #takeFrame(frame: Frame, chain: string, streamSequence: number): boolean {
    const problem = this.#state === undefined ? undefined : applyProblem(this.#state, frame);
    if (problem !== undefined) return this.#fail(problem.code, problem.message, streamSequence);
    this.#reader.advance(frame, chain);
    this.#count(frame, streamSequence);
    return true;
  }

  #count(frame: Frame, streamSequence: number): void {
    this.#headStreamSequence = streamSequence;
    if (this.#frameCount === 0) this.#firstStreamSequence = streamSequence;
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
