/** Tells the genuine frames of a log from what a stranger or a copy has put beside them, for a reader that begins in the middle. */
import type { Frame } from "../../contracts/frame.ts";
import type { LogMessage } from "../../contracts/ports.ts";
import { type ChainTip, LogReader, TIP_START, type Verdict } from "../core/log-reader.ts";
import { chainOf, decodeFrame } from "../runtime/frame-codec.ts";

/** A log of this many messages is read from its beginning: then nothing has to be trusted. */
const WHOLE_MAX = 2_000;
/** Messages before the first shown one that must agree on where the chain stands. */
const LOOKBACK = 200;

export interface MarkedLog {
  readonly region: string;
  readonly shard: string;
  /** First stream sequence that the stream holds. */
  readonly first: number;
  /** Reads a range of stream sequences. */
  read(from: number, to: number): AsyncIterable<LogMessage>;
}

/**
 * Classifies messages as every reader of the log does. Where the chain stands before the first one is learned from the messages before
 * it; as soon as these do not agree with each other, or with what follows, the log is read from its beginning.
 */
export class LogMarker {
  readonly #log: MarkedLog;
  #reader: LogReader;
  /** Whether the reading began at the first message that there is, so that a halt is one. */
  #isExact = false;
  /** Whether the reader knows where the chain stands: from the log's start, or by the word of a frame. */
  #isPlaced = false;

  private constructor(log: MarkedLog) {
    this.#log = log;
    this.#reader = readerFrom(log, TIP_START);
  }

  /** A marker for the messages from `from` on. */
  static async before(log: MarkedLog, from: number): Promise<LogMarker> {
    const marker = new LogMarker(log);
    const start = from - LOOKBACK;
    if (from - log.first <= WHOLE_MAX || !(await marker.#learn(start, from - 1))) await marker.#readWhole(from - 1);
    return marker;
  }

  /** What the next message is. To be asked about every message from `from` on, in order. */
  async mark(message: LogMessage): Promise<Verdict> {
    const verdict = this.#take(message);
    if (this.#isExact || this.#isCertain(message, verdict)) return verdict;
    await this.#readWhole(message.streamSequence - 1);
    return this.#take(message);
  }

  /** Follows the chain that most of the messages belong to; false when there is no such. */
  async #learn(from: number, to: number): Promise<boolean> {
    let messages = 0;
    let frames = 0;
    for await (const message of this.#log.read(from, to)) {
      messages += 1;
      const verdict = this.#take(message);
      if (!this.#isCertain(message, verdict)) return false;
      if (verdict.kind === "frame") frames += 1;
    }
    // A copy of the past goes on from another copy: the more of them agree, the less likely. `log verify` is the proof.
    return frames > messages / 2;
  }

  async #readWhole(to: number): Promise<void> {
    this.#reader = readerFrom(this.#log, TIP_START);
    this.#isExact = true;
    // Of a log whose beginning is gone the first frame that is left is believed.
    this.#isPlaced = this.#log.first === 1;
    if (to >= this.#log.first) for await (const message of this.#log.read(this.#log.first, to)) this.#take(message);
  }

  /**
   * Whether the verdict holds although the chain was joined in the middle. If that was at a copy, the next genuine frame does not
   * continue it: it is a halt, or, without an event between the two, looks like a copy itself.
   */
  #isCertain(message: LogMessage, verdict: Verdict): boolean {
    if (verdict.kind !== "void") return verdict.kind === "frame";
    const decoded = decodeFrame(message.payload);
    if (decoded.kind === "void" || message.chainHeader !== chainOf(message.payload)) return true;
    const { term, first } = this.#reader.tip;
    return decoded.frame.term < term || decoded.frame.first < first;
  }

  #take(message: LogMessage): Verdict {
    this.#isPlaced ||= this.#trust(message);
    const verdict = this.#reader.classify(message);
    if (verdict.kind === "frame") this.#reader.advance(verdict.frame, verdict.chain);
    return verdict;
  }

  /** Takes a frame's word for what stood before it; false when the message holds none. */
  #trust(message: LogMessage): boolean {
    const decoded = decodeFrame(message.payload);
    if (decoded.kind === "void" || message.chainHeader !== chainOf(message.payload)) return false;
    this.#reader = readerFrom(this.#log, tipBefore(decoded.frame));
    return true;
  }
}

function readerFrom({ region, shard }: MarkedLog, tip: ChainTip): LogReader {
  return new LogReader({ region, shard, logId: "", hashOf: chainOf, strict: true, tip });
}

/** The tip that a frame continues, as far as the frame tells it. */
export function tipBefore({ prev, term, first, at }: Frame): ChainTip {
  return { chain: prev, term, first: first - 1, nextSequence: first, at };
}
