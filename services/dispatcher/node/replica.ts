/** A shard's state built from its log: follows the stream, steps over void messages, halts on anything that should not be there. */

import { OperatingError } from "../../../contracts/errors.ts";
import type { Frame } from "../../../contracts/frame.ts";
import type { Alarm, Clock, Closable, Log, LogMessage, Reporter, TimerHandle } from "../../../contracts/ports.ts";
import { applyFrame } from "../../core/apply.ts";
import type { LogPlace } from "../../core/log-fold.ts";
import { type ChainTip, type Halt, type HaltCode, LogReader } from "../../core/log-reader.ts";
import { createState, type ShardState } from "../../core/state.ts";
import { chainOf } from "../../runtime/frame-codec.ts";
import { isToldAt } from "./alarms.ts";
import type { NodeConfig } from "./node-config.ts";
import type { SnapshotPlace, Standing } from "./snapshooter.ts";
import type { SnapshotSource } from "./snapshot-source.ts";

/** Errors of `apply` that are the log's fault, or an older release's. */
const HALTS: Readonly<Record<string, HaltCode>> = {
  state_diverged: "state_diverged",
  log_version_unsupported: "log_version_unknown",
};
const REOPEN_MS = 100;
const HOLE_CHECK_MS = 500;
/** Time between two attempts to get past a trimmed part by a snapshot. ms. */
const REBUILD_MS = 3_000;
/** How long the subscription may bring nothing while the leader's beats show that there is more. ms. */
const STALL_MS = 3_000;

export interface ReplicaOptions {
  readonly config: NodeConfig;
  readonly log: Log;
  readonly clock: Clock;
  readonly reporter: Reporter;
  /** After each frame that was applied. */
  readonly onFrame: (frame: Frame) => void;
  readonly onHalt: (halt: Halt) => void;
  /** What comes next has been trimmed: the state must be built again. */
  readonly onTrimmed: () => void;
  /** A snapshot of this log was taken at a sequence that the stream does not reach. */
  readonly onShown: (streamSequence: number) => void;
  /** Where states are loaded from; absent: every state is folded from the log's beginning. */
  readonly snapshots?: SnapshotSource | undefined;
}

/**
 * Invariant: `state` is the fold of the frames up to `streamSequence`; `reader.tip` is the last of them.
 * While a leader's term runs, the leader owns the state and this follows nothing.
 */
export class Replica {
  state: ShardState = createState();
  reader: LogReader;
  /** Sequence of the last message that was read, frames and void messages alike. */
  streamSequence = 0;
  voids = 0;
  /** Subscriptions that failed since the last message. */
  #failures = 0;
  readonly #options: ReplicaOptions;
  #subscription: Closable | undefined;
  #timer: TimerHandle | undefined;
  /** Counts what ends a load that is under way. */
  #generation = 0;
  /** Since when nothing came although the leader is ahead. */
  #stall: { readonly streamSequence: number; readonly sinceMs: number } | undefined;
  /** When a hole was first seen; cleared by the next message that is in its place. ms. */
  #holeMs: number | undefined;
  /** When a hole last made the state be built anew. ms. */
  #rebuiltMs = Number.NEGATIVE_INFINITY;
  /** Why the last load, which found nothing, could not look at all there is. */
  #unasked: OperatingError | undefined;

  constructor(options: ReplicaOptions) {
    this.#options = options;
    this.reader = this.#newReader();
  }

  get isFollowing(): boolean {
    return this.#subscription !== undefined || this.#timer !== undefined;
  }

  /** What needs an operator; empty when nothing does. */
  get alarms(): readonly Alarm[] {
    if (this.#holeMs === undefined || this.#unasked === undefined) return [];
    const message = `the log no longer has stream sequence ${this.streamSequence + 1}, which comes next here, and the snapshots that lead past it cannot be asked for (${this.#unasked.message}): bring their store back; it is asked again until it answers`;
    return [{ code: "snapshots_unreachable", message, isServing: false }];
  }

  /** Follows from behind the last message read. */
  open(): void {
    if (this.#subscription !== undefined) return;
    this.#subscription = this.#options.log.follow(this.streamSequence + 1, {
      message: (message) => this.#message(message),
      failed: (error) => {
        this.#failures += 1;
        if (isToldAt(this.#failures))
          this.#options.reporter.warn("follow_failed", {
            code: error.code,
            message: error.message,
            count: this.#failures,
          });
        this.#reopenLater(REOPEN_MS);
      },
    });
  }

  /** Builds the state anew, from the newest good snapshot of this log or from its beginning, and follows from there. */
  rebuild(loaded: () => void): void {
    this.#reset();
    const { snapshots } = this.#options;
    if (snapshots === undefined) {
      this.open();
      loaded();
      return;
    }
    const generation = this.#generation;
    let unjudged: OperatingError | undefined;
    snapshots.load(
      (place, callback) =>
        this.#judge(place, (standing, error) => {
          unjudged ??= error;
          callback(standing);
        }),
      (restored, beyond, problem) => {
        if (generation !== this.#generation) return;
        this.#unasked = restored === undefined ? (problem ?? unjudged) : undefined;
        if (beyond > 0) this.#options.onShown(beyond);
        if (restored !== undefined) this.#adopt(restored);
        this.open();
        loaded();
      },
    );
  }

  /** A snapshot of a log with the same id but another past must never be followed on. `error`: why the log could not be asked. */
  #judge(
    { streamSequence, chain }: SnapshotPlace,
    callback: (standing: Standing, error?: OperatingError) => void,
  ): void {
    const { log, config, reporter } = this.#options;
    const answer = (standing: Standing, outcome: string, error?: OperatingError): void => {
      if (standing !== "of_log") reporter.error("snapshot_off_the_log", { streamSequence, standing, outcome });
      callback(standing, error);
    };
    log.read(streamSequence, config.ackTimeoutMs, (outcome) => {
      if (outcome.kind === "found") {
        const isOfLog = chainOf(outcome.message.payload) === chain;
        answer(isOfLog ? "of_log" : "foreign", "other message");
      } else if (outcome.kind === "failed") answer("foreign", outcome.error.code, outcome.error);
      // Its own message is trimmed: then the log must go on right behind it, and the chain of what comes decides.
      else
        log.info(config.ackTimeoutMs, (after) => {
          if (after.kind === "failed") answer("foreign", after.error.code, after.error);
          else if (after.kind === "info" && after.info.lastSequence < streamSequence) answer("beyond", "absent");
          else {
            const isNext = after.kind === "info" && after.info.firstSequence === streamSequence + 1;
            answer(isNext ? "of_log" : "foreign", "absent");
          }
        });
    });
  }

  close(): void {
    this.#generation += 1;
    this.#subscription?.close();
    this.#subscription = undefined;
    if (this.#timer !== undefined) this.#options.clock.clearTimer(this.#timer);
    this.#timer = undefined;
  }

  /** The leader's beat shows how far the stream reaches: a subscription that brings nothing of it may hang on a cut-off replica. */
  leaderIsAt(streamSequence: number): void {
    const nowMs = this.#options.clock.monotonicMs();
    if (streamSequence <= this.streamSequence) this.#stall = undefined;
    else if (this.#stall?.streamSequence !== this.streamSequence)
      this.#stall = { streamSequence: this.streamSequence, sinceMs: nowMs };
    else if (nowMs - this.#stall.sinceMs >= STALL_MS && this.#subscription !== undefined) {
      this.#options.reporter.warn("follow_stalled", { at: this.streamSequence, leaderAt: streamSequence });
      this.#stall = undefined;
      this.#reopenLater(0);
    }
  }

  #reset(): void {
    this.close();
    this.state.cut?.cancel();
    this.state = createState();
    this.reader = this.#newReader();
    this.streamSequence = 0;
    this.voids = 0;
  }

  #adopt({ state, tip, streamSequence }: LogPlace): void {
    this.state = state;
    this.reader = this.#newReader(tip);
    this.streamSequence = streamSequence;
    this.#holeMs = undefined;
    this.#options.reporter.info("snapshot_loaded", { sequence: state.sequence, streamSequence });
  }

  #newReader(tip?: ChainTip): LogReader {
    const { region, shard, logId } = this.#options.config;
    return new LogReader({ region, shard, logId, hashOf: chainOf, ...(tip === undefined ? {} : { tip }) });
  }

  #message(message: LogMessage): void {
    if (this.#subscription === undefined || message.streamSequence <= this.streamSequence) return;
    if (message.streamSequence !== this.streamSequence + 1) {
      this.#checkHole();
      return;
    }
    this.#holeMs = undefined;
    this.#failures = 0;
    const verdict = this.reader.classify(message);
    if (verdict.kind === "halt") {
      this.#halt(verdict);
      return;
    }
    if (verdict.kind === "void") {
      this.voids += 1;
      if (isToldAt(this.voids))
        this.#options.reporter.error("void_message", {
          streamSequence: message.streamSequence,
          reason: verdict.reason,
          count: this.voids,
        });
      this.streamSequence = message.streamSequence;
      return;
    }
    try {
      applyFrame(this.state, verdict.frame);
    } catch (error) {
      const code = error instanceof OperatingError ? HALTS[error.code] : undefined;
      if (code === undefined || !(error instanceof OperatingError)) throw error;
      this.#halt({ code, message: error.message });
      return;
    }
    this.reader.advance(verdict.frame, verdict.chain);
    this.streamSequence = message.streamSequence;
    this.#options.onFrame(verdict.frame);
  }

  /** A jump may be the subscription's mistake: only the stream's leader says whether the message is missing. */
  #checkHole(): void {
    this.close();
    const missing = this.streamSequence + 1;
    const { log, config, clock } = this.#options;
    this.#timer = clock.setTimer(config.ackTimeoutMs * 2, () => this.#reopenLater(0));
    const guard = this.#timer;
    log.read(missing, config.ackTimeoutMs, (outcome) => {
      if (this.#timer !== guard) return;
      if (outcome.kind === "absent") this.#checkTrimmed(missing, guard);
      else this.#reopenLater(outcome.kind === "found" ? 0 : HOLE_CHECK_MS);
    });
  }

  /**
   * The log may have been trimmed while we were behind or away: then a snapshot leads past the hole. Where none does we halt, though not while
   * some cannot be asked for.
   */
  #checkTrimmed(missing: number, guard: TimerHandle): void {
    const { log, config, clock, snapshots, reporter } = this.#options;
    this.#holeMs ??= clock.monotonicMs();
    const sinceMs = this.#holeMs;
    log.info(config.ackTimeoutMs, (outcome) => {
      if (this.#timer !== guard) return;
      const nowMs = clock.monotonicMs();
      const isInside = outcome.kind === "info" && outcome.info.firstSequence <= missing;
      const isAnswered = snapshots === undefined || (this.#rebuiltMs >= sinceMs && this.#unasked === undefined);
      const isHopeless = isInside || isAnswered;
      if (isHopeless && nowMs - sinceMs >= config.confirmMs)
        return this.#halt({
          code: "log_gap",
          message: `the stream has messages behind ${missing} but not ${missing} itself, and no snapshot of its log reaches that far: it was purged or a replica lost it; compare the replicas (omnirelay log audit), or bring back a snapshot (omnirelay snapshot list)`,
        });
      // What did not lead past the hole a moment ago will not do so now.
      const isTried = nowMs - this.#rebuiltMs < REBUILD_MS;
      if (outcome.kind !== "info" || isInside || isTried || snapshots === undefined)
        return this.#reopenLater(HOLE_CHECK_MS);
      this.#rebuiltMs = nowMs;
      // The alarm says it as long as nothing can be asked for.
      if (this.#unasked === undefined)
        reporter.warn("log_trimmed_ahead", { missing, firstSequence: outcome.info.firstSequence });
      this.#options.onTrimmed();
    });
  }

  #reopenLater(delayMs: number): void {
    this.close();
    this.#timer = this.#options.clock.setTimer(delayMs, () => {
      this.#timer = undefined;
      this.open();
    });
  }

  #halt(halt: Halt): void {
    this.close();
    this.#unasked = undefined;
    this.#options.onHalt(halt);
  }
}
