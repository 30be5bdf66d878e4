/** Reads a shard's log from a place on and hands it out in batches of whole frames, with bounded memory. */

import type { ReplicationEvent } from "../../contracts/envelope.ts";
import { OperatingError } from "../../contracts/errors.ts";
import type { Checkpoint } from "../../contracts/followers.ts";
import { LOG_VERSION_MAX } from "../../contracts/limits.ts";
import type { Clock, Following, LogMessage, LogSource, TimerHandle } from "../../contracts/ports.ts";
import type { SinkBatching } from "../../contracts/sinks.ts";
import { LogReader, type Verdict } from "../core/log-reader.ts";
import { chainOf } from "../runtime/frame-codec.ts";
import { type LogAddress, logInfo, type Start, trimmedAway } from "./log-access.ts";
import { outwardEvents, tokenEpochBehind } from "./outward.ts";

/** Bytes that wait to be read before the server is asked to pause; it goes on at half of it. */
const WAITING_BYTES_MAX = 8 * 1024 * 1024;

export interface BatchReaderOptions extends LogAddress {
  readonly log: LogSource;
  readonly clock: Clock;
  readonly batching: SinkBatching;
  readonly start: Start;
  /** Alarmed by what a stranger published: the log goes on behind it. */
  readonly onVoid: (streamSequence: number, reason: string) => void;
}

/** Whole frames. `events` holds every event of them. */
export interface ReadBatch {
  readonly after: Checkpoint;
  readonly upTo: Checkpoint;
  readonly events: readonly ReplicationEvent[];
  /** Messages that the server knew behind the batch; -1 when unknown. */
  readonly pending: number;
}

/**
 * Invariant: `#place` is the end of what was handed out; `#waiting` begins with the stream sequence behind it.
 * A message that should be there and is not, or does not continue the chain, ends the reading with an error: nothing is ever skipped.
 */
export class BatchReader {
  readonly #options: BatchReaderOptions;
  readonly #reader: LogReader;
  readonly #following: Following;
  /** What was delivered; handed out is what stands before `#head`. */
  #waiting: LogMessage[] = [];
  #head = 0;
  #waitingBytes = 0;
  #isHeld = false;
  #peeked: { readonly streamSequence: number; readonly verdict: Verdict } | undefined;
  readonly #through: number;
  #place: Checkpoint;
  #pending = -1;
  #failure: OperatingError | undefined;
  #wake: () => void = () => undefined;

  constructor(options: BatchReaderOptions) {
    const { region, shard } = options;
    const { from, through } = options.start;
    this.#options = options;
    this.#place = from;
    this.#through = through;
    const tip = {
      chain: from.chain,
      term: from.term,
      first: from.first ?? from.sequence,
      nextSequence: from.sequence + 1,
      at: from.at,
    };
    this.#reader = new LogReader({ region, shard, logId: from.logId, hashOf: chainOf, tip });
    this.#following = options.log.follow(from.streamSequence + 1, {
      message: (message) => this.#receive(message),
      failed: (error) => {
        this.#failure ??= error;
        this.#wake();
      },
    });
  }

  /** The end of what was handed out. */
  get place(): Checkpoint {
    return this.#place;
  }

  /** Messages that are known to be behind the place; 0 when all was handed out, -1 when nothing is known. */
  get pendingMessages(): number {
    return this.#count > 0 ? this.#count + Math.max(0, this.#pending) : this.#pending;
  }

  get #count(): number {
    return this.#waiting.length - this.#head;
  }

  close(): void {
    this.#following.close();
    this.#wake();
  }

  /**
   * The next batch; undefined when nothing came within `waitMs`, or `signal` was aborted.
   * Throws: OperatingError with the code of a `Halt` (definite), `log_trimmed` (definite), `log_gap`, and what ended the subscription.
   */
  async next(waitMs: number, signal: AbortSignal): Promise<ReadBatch | undefined> {
    const { lingerMs, bytes } = this.#options.batching;
    if (this.#count === 0) await this.#something(waitMs, signal);
    if (lingerMs > 0 && this.#count > 0) await this.#fill(bytes, lingerMs, signal);
    if (this.#failure !== undefined && this.#count === 0) throw this.#failure;
    return signal.aborted || this.#count === 0 ? undefined : this.#take();
  }

  /** A batch of what has come already; undefined when nothing has. Throws: as `next`. */
  ready(): Promise<ReadBatch | undefined> {
    return this.#count === 0 || this.#options.batching.lingerMs > 0 ? Promise.resolve(undefined) : this.#take();
  }

  #receive(message: LogMessage): void {
    this.#waiting.push(message);
    this.#waitingBytes += message.payload.length;
    this.#pending = message.pending;
    if (!this.#isHeld && this.#waitingBytes > WAITING_BYTES_MAX) {
      this.#isHeld = true;
      this.#following.hold();
    }
    this.#wake();
  }

  #something(waitMs: number, signal: AbortSignal): Promise<void> {
    return this.#until(() => this.#count > 0 || this.#failure !== undefined, waitMs, signal);
  }

  /** Waits for a full batch; what is late goes into the next. */
  #fill(bytes: number, lingerMs: number, signal: AbortSignal): Promise<void> {
    return this.#until(() => this.#waitingBytes >= bytes || this.#failure !== undefined, lingerMs, signal);
  }

  #until(isDone: () => boolean, waitMs: number, signal: AbortSignal): Promise<void> {
    if (isDone() || signal.aborted) return Promise.resolve();
    const { clock } = this.#options;
    return new Promise((resolve) => {
      let timer: TimerHandle | undefined;
      const end = (): void => {
        if (timer !== undefined) clock.clearTimer(timer);
        signal.removeEventListener("abort", end);
        this.#wake = () => undefined;
        resolve();
      };
      timer = clock.setTimer(waitMs, end);
      signal.addEventListener("abort", end);
      this.#wake = () => {
        if (isDone()) end();
      };
    });
  }

  async #take(): Promise<ReadBatch> {
    const { events: eventsAim, bytes: bytesAim } = this.#options.batching;
    const after = this.#place;
    const events: ReplicationEvent[] = [];
    let bytes = 0;
    let taken = 0;
    for (; taken < this.#count; taken += 1) {
      const message = this.#waiting[this.#head + taken];
      if (message === undefined) break;
      const isFull = events.length >= eventsAim || bytes + message.payload.length > bytesAim;
      const isHole = message.streamSequence !== this.#place.streamSequence + 1;
      if (taken > 0 && (isFull || isHole)) break;
      if (isHole) await this.#explainHole(message.streamSequence);
      const verdict = this.#verdictOf(message);
      if (taken > 0 && verdict.kind === "frame" && events.length + verdict.frame.count > eventsAim) break;
      this.#peeked = undefined;
      const problem = problemOf(verdict);
      if (problem !== undefined) {
        // It is told when everything before it has been handed out.
        if (taken > 0) break;
        throw problem;
      }
      if (verdict.kind !== "halt") this.#accept(message.streamSequence, verdict, events);
      bytes += message.payload.length;
    }
    this.#drop(taken, bytes);
    return { after, upTo: this.#place, events, pending: this.pendingMessages };
  }

  /** What the next message is; kept, for a frame that does not fit any more is the first of the next batch. */
  #verdictOf(message: LogMessage): Verdict {
    if (this.#peeked?.streamSequence !== message.streamSequence)
      this.#peeked = { streamSequence: message.streamSequence, verdict: this.#reader.classify(message) };
    return this.#peeked.verdict;
  }

  #drop(taken: number, bytes: number): void {
    this.#head += taken;
    if (this.#head === this.#waiting.length) {
      this.#waiting = [];
      this.#head = 0;
    } else if (this.#head > this.#waiting.length / 2) {
      this.#waiting = this.#waiting.slice(this.#head);
      this.#head = 0;
    }
    this.#waitingBytes -= bytes;
    if (!this.#isHeld || this.#waitingBytes > WAITING_BYTES_MAX / 2) return;
    this.#isHeld = false;
    this.#following.resume();
  }

  #accept(streamSequence: number, verdict: Exclude<Verdict, { kind: "halt" }>, events: ReplicationEvent[]): void {
    if (verdict.kind === "void") {
      this.#options.onVoid(streamSequence, verdict.reason);
      this.#place = { ...this.#place, streamSequence };
      return;
    }
    const { frame, chain } = verdict;
    const tokenEpoch = this.#place.tokenEpoch ?? 0;
    const outward = outwardEvents({ frame, chain, streamSequence, tokenEpoch }, this.#through);
    // Only now: a frame that cannot be told must not count as one of the past when it is looked at again.
    this.#reader.advance(frame, chain);
    for (const event of outward) events.push(event);
    this.#place = {
      logId: frame.logId,
      streamSequence,
      sequence: frame.first + frame.count - 1,
      chain,
      term: frame.term,
      at: frame.at,
      first: frame.first,
      tokenEpoch: tokenEpochBehind(frame, tokenEpoch),
    };
  }

  /** Throws: why what should come next is not there. */
  async #explainHole(found: number): Promise<never> {
    const missing = this.#place.streamSequence + 1;
    const { firstSequence } = await logInfo(this.#options.log);
    if (firstSequence > missing) throw trimmedAway(this.#options, missing, firstSequence);
    throw new OperatingError("log_gap", `stream sequence ${missing} is missing: the stream goes on with ${found}`, {
      definite: true,
    });
  }
}

/** Why nothing from here on may be handed out. */
function problemOf(verdict: Verdict): OperatingError | undefined {
  if (verdict.kind === "halt") return new OperatingError(verdict.code, verdict.message, { definite: true });
  if (verdict.kind === "void") return undefined;
  for (const event of verdict.frame.events) {
    const version = event.type === "configured" || event.type === "logCreated" ? event.logVersion : undefined;
    if (version !== undefined && version > LOG_VERSION_MAX)
      return new OperatingError(
        "log_version_unknown",
        `the log has state version ${version} from here on; this release reads up to ${LOG_VERSION_MAX}: upgrade the replicator`,
        { definite: true, details: { version, known: LOG_VERSION_MAX } },
      );
  }
  return undefined;
}
