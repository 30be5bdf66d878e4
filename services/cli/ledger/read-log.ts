/** Reads a range of a shard's live log as a ledger: from the frame that holds one event to that which holds another. */
import type { NatsConnection } from "@nats-io/transport-node";
import type { LogMessage } from "../../../contracts/ports.ts";
import { TIP_START } from "../../core/log-reader.ts";
import { readLogMessages } from "../../jetstream/read-log.ts";
import { chainOf, decodeFrame } from "../../runtime/frame-codec.ts";
import { againWhenTrimmed } from "../fold-log.ts";
import { type LogBounds, logBounds } from "../log-bounds.ts";
import type { ShardAddress } from "../snapshot-places.ts";
import { explainBreak } from "./break.ts";
import { LedgerChain } from "./chain.ts";
import { ledgerError, ledgerProblem } from "./problem.ts";
import type { LedgerFrame, LedgerSum } from "./sum.ts";

/** A log of this many messages is read from its beginning: that costs less than to search. */
const SEARCHED_FROM = 256;
/** Messages in search of a frame that are asked for at a time. */
const READ_MAX = 64;
const UNIT = "stream sequence";

export interface LogRange extends ShardAddress {
  /** Event sequences: the first and the last frame are those that hold them. Absent: all that is there. */
  readonly from?: number | undefined;
  readonly to?: number | undefined;
  /** Begin with the frame that continues this chain value, which is of the log with this id and begins at this event sequence. */
  readonly begin?: { readonly logId: string; readonly chainBefore: string; readonly firstSequence: number } | undefined;
  /** End with so many frames. */
  readonly frames?: number | undefined;
  readonly isStrict: boolean;
  readonly onProgress: (read: number, total: number) => void;
}

/** What is to be done with the frames of a range. A reading may begin anew: then it is asked for again. */
export interface LedgerReading {
  readonly sum: LedgerSum;
  readonly frame?: (frame: LedgerFrame) => Promise<void> | undefined;
}

/**
 * Gives all frames of the range to a reading, in order, and returns its sum.
 * Throws: OperatingError, all definite: `ledger_range_invalid` (beyond the end), `ledger_range_trimmed`, `ledger_range_missing` (no such
 * frames in this log), `log_empty`; a problem of the ledger with its place; and what NATS answers.
 */
export function readLedger(
  connection: NatsConnection,
  range: LogRange,
  begin: () => Promise<LedgerReading>,
): Promise<LedgerSum> {
  const { from = 1, to = Number.MAX_SAFE_INTEGER } = range;
  if (from > to) throw ledgerError("ledger_range_invalid", `the range from sequence ${from} to ${to} is empty`);
  return againWhenTrimmed(async () => {
    const bounds = await logBounds(connection, range);
    const start = await placeBefore(connection, range, bounds);
    if (start > bounds.first) {
      // What was found in the middle may have been a copy: only from the beginning on is a problem certain.
      const sum = await new RangeReading(connection, range, bounds, start).run(begin);
      if (sum !== undefined) return sum;
    }
    const reading = new RangeReading(connection, range, bounds, bounds.first);
    const sum = await reading.run(begin);
    if (sum !== undefined) return sum;
    throw noFrames(range, bounds, reading.isPassed);
  });
}

/** A stream sequence before which no frame of the range is: found by halves, for events only grow along the log. */
async function placeBefore(connection: NatsConnection, range: LogRange, { first, last }: LogBounds): Promise<number> {
  const wanted = range.begin?.firstSequence ?? range.from ?? 1;
  if (wanted === 1 || last - first < SEARCHED_FROM) return first;
  let before = first;
  for (let behind = last + 1; behind - before > 1; ) {
    const middle = Math.floor((before + behind) / 2);
    const found = await firstFrame(connection, range, middle, behind - 1);
    if (found !== undefined && found.first < wanted) before = found.at;
    else behind = middle;
  }
  return before;
}

async function firstFrame(connection: NatsConnection, { region, shard }: LogRange, from: number, to: number) {
  // Nearly always the first message is one: only then is more asked for.
  for (let start = from, count = 1; start <= to; start += count, count = READ_MAX) {
    const range = { region, shard, from: start, to: Math.min(to, start + count - 1) };
    for await (const message of readLogMessages(connection, range)) {
      const decoded = decodeFrame(message.payload);
      if (decoded.kind === "frame" && message.chainHeader === chainOf(message.payload))
        return { first: decoded.frame.first, at: message.streamSequence };
    }
  }
  return undefined;
}

class RangeReading {
  readonly #connection: NatsConnection;
  readonly #range: LogRange;
  readonly #bounds: LogBounds;
  /** Stream sequence of the first message that is looked at. */
  readonly #start: number;
  readonly #chain: LedgerChain;
  /** Whether a frame behind the beginning of the range was met before it. */
  isPassed = false;

  constructor(connection: NatsConnection, range: LogRange, bounds: LogBounds, start: number) {
    this.#connection = connection;
    this.#range = range;
    this.#bounds = bounds;
    this.#start = start;
    const { region, shard, isStrict, begin } = range;
    const tip = start === 1 ? TIP_START : undefined;
    this.#chain = new LedgerChain({ region, shard, logId: begin?.logId ?? "", isStrict, unit: UNIT, tip });
  }

  /** Undefined: there is no frame of the range, or, where the reading began in the middle, something is wrong. */
  async run(begin: () => Promise<LedgerReading>): Promise<LedgerSum | undefined> {
    const { sum, frame: visit } = await begin();
    const { last } = this.#bounds;
    let at = this.#start - 1;
    for await (const message of this.#messages()) {
      at += 1;
      if (message.streamSequence !== at) return this.#wrong("log_gap", at, "the message is missing in the stream");
      this.#range.onProgress(at - this.#start + 1, last - this.#start + 1);
      const step = this.#chain.take(message);
      if (step.kind === "halt") return this.#wrong(step.code, at, step.message);
      if (step.kind === "break") {
        if (this.#isInMiddle) return undefined;
        throw await explainBreak(() => this.#messages(), step, UNIT);
      }
      if (step.kind === "void") {
        if (sum.frames > 0) sum.addVoid({ unit: UNIT, at }, step.reason);
        continue;
      }
      if (sum.frames === 0 && !this.#isFirst(step)) {
        this.isPassed = this.#isBehind(step);
        if (this.isPassed) return undefined;
        continue;
      }
      sum.add(step);
      await visit?.(step);
      if (this.#isLast(step, sum)) return sum;
    }
    if (at < last) return this.#wrong("log_gap", at + 1, `the message is missing: the stream ends at ${last}`);
    return this.#ended(sum);
  }

  get #isInMiddle(): boolean {
    return this.#start > this.#bounds.first;
  }

  #messages(): AsyncIterable<LogMessage> {
    const { region, shard } = this.#range;
    const { last } = this.#bounds;
    // An empty stream ends before it begins.
    return readLogMessages(this.#connection, { region, shard, from: this.#start, to: last });
  }

  #wrong(code: string, at: number, text: string): undefined {
    if (!this.#isInMiddle) throw ledgerProblem(code, { unit: UNIT, at }, text);
    return undefined;
  }

  #isFirst({ frame: { first, count, prev } }: LedgerFrame): boolean {
    const { begin, from } = this.#range;
    if (begin !== undefined) return prev === begin.chainBefore;
    return from === undefined || (first <= from && from < first + count);
  }

  /** Whether the range cannot begin any more. */
  #isBehind({ frame: { first } }: LedgerFrame): boolean {
    return first > (this.#range.begin?.firstSequence ?? this.#range.from ?? first);
  }

  #isLast({ frame }: LedgerFrame, sum: LedgerSum): boolean {
    const { frames, to } = this.#range;
    return sum.frames === frames || (to !== undefined && frame.first + frame.count > to);
  }

  /** The stream is over, and its end was not asked for, or nothing was found. */
  #ended(sum: LedgerSum): LedgerSum | undefined {
    const { to, frames } = this.#range;
    if (sum.frames === 0 || (to === undefined && frames === undefined)) return sum.frames === 0 ? undefined : sum;
    const { lastSequence } = sum.digest();
    if (frames !== undefined)
      throw ledgerError(
        "log_tail_lost",
        `the digest is of ${frames} frames; the log ends after ${sum.frames} of them, at sequence ${lastSequence}: acknowledged frames are lost`,
      );
    throw ledgerError("ledger_range_invalid", `the range ends at sequence ${to}; the log ends at ${lastSequence}`);
  }
}

function noFrames({ region, shard, from, begin }: LogRange, { first }: LogBounds, isPassed: boolean) {
  const wanted = begin?.firstSequence ?? from;
  const log = `the log of ${region}/${shard}`;
  if (wanted === undefined) return ledgerError("log_empty", `${log} holds no frame that can be read`);
  if (isPassed && first > 1)
    return ledgerError(
      "ledger_range_trimmed",
      `sequence ${wanted} is not in ${log}, which is trimmed below stream sequence ${first}: begin later, or take an export of that range (--file)`,
    );
  if (begin !== undefined)
    return ledgerError(
      "ledger_range_missing",
      `${log} has no frame of the log ${begin.logId} at sequence ${wanted} that continues the chain value where the digest begins: it is another log, or its past was rewritten`,
    );
  return ledgerError("ledger_range_invalid", `the range begins at sequence ${wanted}, behind the end of ${log}`);
}
