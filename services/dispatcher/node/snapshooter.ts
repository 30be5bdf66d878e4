/** Takes snapshots of a shard's state while it goes on changing: cuts at a frame boundary, writes in slices, publishes after the frame's ack. */
import type { OperatingError } from "../../../contracts/errors.ts";
import type { Alarm, Clock, Reporter } from "../../../contracts/ports.ts";
import { stateHash } from "../../core/hash.ts";
import type { LogPlace } from "../../core/log-fold.ts";
import type { ChainTip } from "../../core/log-reader.ts";
import { SnapshotCut } from "../../core/snapshot-cut.ts";
import type { ShardState } from "../../core/state.ts";

/** The newest and one to fall back on: what stores keep, and what must lie behind a trimmed part. */
export const SNAPSHOTS_KEPT = 2;

/** What a snapshot stands for; the store adds when and where it was written. */
export interface SnapshotPlace {
  readonly logId: string;
  readonly streamSequence: number;
  readonly sequence: number;
  readonly chain: string;
  readonly term: number;
  readonly first: number;
  readonly at: number;
  readonly hash: string;
  readonly logVersion: number;
}

export interface SnapshotSink {
  /** Takes the next text; false when it is full, then the same text is offered again. */
  offer(text: string): boolean;
  publish(place: SnapshotPlace, callback: (error: OperatingError | undefined) => void): void;
  abort(): void;
}

/** What a snapshot's label is to a log: a place in it, a place behind its end, or neither. */
export type Standing = "of_log" | "beyond" | "foreign";

export interface Snapshots {
  begin(): SnapshotSink;
  /**
   * Loads the newest good snapshot that `judge` accepts by its label; undefined when there is none. Calls back once, with the stream
   * sequence of the newest that is whole but `beyond` the log's end; 0 when there is none.
   */
  load(
    judge: (place: SnapshotPlace, callback: (standing: Standing) => void) => void,
    callback: (restored: LogPlace | undefined, beyond: number) => void,
  ): void;
  /** The snapshots of this log that every dispatcher can load, in order of their sequences. Calls back once. */
  durable(callback: (places: readonly SnapshotPlace[]) => void): void;
}

/** Records that are written before the clock is looked at. */
const RECORDS_PER_SLICE = 25;
/** What a request may have to wait for a snapshot at most. ms. */
const WORK_MS = 0.5;
/** A snapshot is spread over this time, as the garbage that it leaves is: a small one rests long between slices, a large one hurries. ms. */
const SPREAD_MS = 4_000;
const REST_MS_MAX = 10;
const REST_MS_MIN = 3;
/**
 * A large state is written down again only after this many events for each of its records: a record costs as much to write as an event to
 * decide, so that without it a shard with a million ended items would write them down every half a minute. Replaying them takes seconds.
 */
const EVENTS_PER_RECORD = 4;
/** Records of a state that costs little, however often it is written. */
const RECORDS_SMALL = 10_000;
/** Time between two snapshots that somebody asked for at least. ms. */
const REQUESTED_MS = 5_000;
/** The same at most, while they fail. ms. */
const RETRY_MS_MAX = 60_000;

export interface SnapshooterOptions {
  readonly clock: Clock;
  readonly reporter: Reporter;
  readonly snapshots: Snapshots;
  /** Events between two snapshots, of a large state more. */
  readonly everyEvents: number;
  /** Time between two snapshots at least, however many events there are. ms. */
  readonly everyMs: number;
}

/** What is written of a state one by one, beside little things. */
const heldBy = (state: ShardState): number => state.pending + state.active + state.deadLettered + state.records.size;

interface Running {
  readonly cut: SnapshotCut;
  readonly records: number;
  readonly beganMs: number;
  readonly sink: SnapshotSink;
  readonly place: Omit<SnapshotPlace, "streamSequence">;
  /** Known once the frame of the cut is acknowledged; 0 before. */
  streamSequence: number;
  /** A slice that the sink could not take yet. */
  held: string | undefined;
  isWritten: boolean;
}

/** Invariant: at most one snapshot is under way, and it is published only when its frame stands in the log. */
export class Snapshooter {
  readonly #options: SnapshooterOptions;
  #running: Running | undefined;
  /** Sequences of the last two snapshots that were published or loaded, and of the last that was begun. */
  #lastSequence = 0;
  #previousSequence = 0;
  #begunSequence = 0;
  /** What the last snapshot held, beside little things. */
  #lastRecords = 0;
  #lastMs = Number.NEGATIVE_INFINITY;
  #written: readonly SnapshotPlace[] = [];
  /** Snapshots that failed since the last one that did not. */
  #failures = 0;
  #isPublishing = false;
  /** A snapshot is wanted before its events have come together. */
  #isRequested = false;
  /** Why the last snapshot could not be kept; undefined when it was. */
  #problem: string | undefined;

  constructor(options: SnapshooterOptions) {
    this.#options = options;
  }

  /** A state that was loaded needs no snapshot soon. */
  loaded(state: ShardState): void {
    this.#lastSequence = state.sequence;
    this.#begunSequence = state.sequence;
    this.#lastRecords = heldBy(state);
  }

  /** What needs an operator; empty when nothing does. */
  get alarms(): readonly Alarm[] {
    if (this.#problem === undefined) return [];
    const message = `the last snapshot could not be kept (${this.#problem}): until one is, a start takes longer and the log is not trimmed further`;
    return [{ code: "snapshot_failed", message, isServing: true }];
  }

  /** The newest that this process has published, oldest first: what it has seen read back itself. */
  get written(): readonly SnapshotPlace[] {
    return this.#written;
  }

  /** Whether a snapshot here would let the log be trimmed further: not where the two newest have nothing but a state hash between them. */
  isUseful(sequence: number): boolean {
    if (this.#failures > 0 || this.#written.length < SNAPSHOTS_KEPT) return true;
    return sequence > this.#lastSequence || this.#lastSequence - this.#previousSequence > 1;
  }

  /** Wants a snapshot at the next frame, though not more often than every few seconds. */
  request(): void {
    this.#isRequested = true;
  }

  /** Whether a snapshot would be cut if a frame came now. */
  get isWaiting(): boolean {
    return (
      (this.#isRequested || this.#failures > 0) &&
      this.#running === undefined &&
      !this.#isPublishing &&
      this.#sinceMs(this.#lastMs) >= this.#restMs()
    );
  }

  /** A place that takes no snapshots is not asked for ever at the same pace. */
  #restMs(): number {
    return Math.min(REQUESTED_MS * 2 ** this.#failures, RETRY_MS_MAX);
  }

  #sinceMs(ms: number): number {
    return this.#options.clock.monotonicMs() - ms;
  }

  /**
   * The state stands behind exactly this frame now: the moment to cut. `mayRepeat`: one that failed may be tried again at its sequence, by a
   * node that cannot write to the log to get another one.
   */
  framed(state: ShardState, tip: ChainTip, mayRepeat = false): void {
    const { everyEvents, everyMs, clock } = this.#options;
    if (this.#running !== undefined || this.#isPublishing) return;
    const restMs = this.#failures > 0 ? Math.max(everyMs, this.#restMs()) : everyMs;
    const events = Math.max(everyEvents, this.#lastRecords > RECORDS_SMALL ? EVENTS_PER_RECORD * this.#lastRecords : 0);
    const isDue = state.sequence - this.#lastSequence >= events && this.#sinceMs(this.#lastMs) >= restMs;
    // One snapshot has the name of this sequence already, or tried to.
    const isNamed = state.sequence === this.#begunSequence && !(mayRepeat && this.#failures > 0);
    if ((!isDue && !this.isWaiting) || isNamed) return;
    this.#isRequested = false;
    this.#begunSequence = state.sequence;
    this.#lastMs = clock.monotonicMs();
    const { chain, term, first, at } = tip;
    const { logId, sequence, logVersion } = state;
    const place = { logId, sequence, chain, term, first, at, hash: stateHash(state), logVersion };
    const sink = this.#options.snapshots.begin();
    this.#options.reporter.info("snapshot_begun", { sequence });
    const cut = new SnapshotCut(state);
    const records = cut.left;
    this.#lastRecords = heldBy(state);
    const beganMs = this.#lastMs;
    this.#running = { cut, records, beganMs, sink, place, streamSequence: 0, held: undefined, isWritten: false };
    this.#later(this.#running);
  }

  /** The frame with this chain value stands in the stream. */
  stored(chain: string, streamSequence: number): void {
    if (this.#running?.place.chain === chain) this.#running.streamSequence = streamSequence;
  }

  #later(running: Running): void {
    const isBehind = running.cut.left / running.records > 1 - this.#sinceMs(running.beganMs) / SPREAD_MS;
    this.#options.clock.setTimer(isBehind ? REST_MS_MIN : REST_MS_MAX, () => {
      if (this.#running === running) this.#work(running);
    });
  }

  #work(running: Running): void {
    const { clock } = this.#options;
    const untilMs = clock.monotonicMs() + WORK_MS;
    while (!running.isWritten && clock.monotonicMs() < untilMs) {
      const text = running.held ?? running.cut.next(RECORDS_PER_SLICE);
      running.held = undefined;
      if (text === undefined) running.isWritten = true;
      else if (!running.sink.offer(text)) {
        running.held = text;
        break;
      }
    }
    if (running.isWritten && running.streamSequence > 0) this.#publish(running);
    else this.#later(running);
  }

  /** The state is given up, or the node stops. */
  cancel(): void {
    this.#running?.cut.cancel();
    this.#running?.sink.abort();
    this.#running = undefined;
  }

  #publish(running: Running): void {
    this.#running = undefined;
    this.#isPublishing = true;
    const { reporter } = this.#options;
    const { sequence, hash } = running.place;
    const place: SnapshotPlace = { ...running.place, streamSequence: running.streamSequence };
    running.sink.publish(place, (error) => {
      this.#isPublishing = false;
      this.#problem = error?.message;
      this.#failures = error === undefined ? 0 : this.#failures + 1;
      if (error === undefined) {
        this.#previousSequence = this.#lastSequence;
        this.#lastSequence = sequence;
        this.#written = [...this.#written, place].slice(-SNAPSHOTS_KEPT);
        reporter.info("snapshot_published", { sequence, hash });
      } else reporter.error("snapshot_failed", { sequence, code: error.code, message: error.message });
    });
  }
}
