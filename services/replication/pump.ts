/** Brings one shard's log to one sink: in order, at its own pace, with a checkpoint that is never ahead of the effects. */

import type { ReplicationEvent } from "../../contracts/envelope.ts";
import { OperatingError } from "../../contracts/errors.ts";
import type { Checkpoint } from "../../contracts/followers.ts";
import type { Clock, Ids, Kv, LogSource, Reporter } from "../../contracts/ports.ts";
import type { SinkConfig, SinkState } from "../../contracts/sinks.ts";
import { BatchReader, type ReadBatch } from "./batch-reader.ts";
import { CheckpointKeeper, PACE, type Pace } from "./checkpoint-keeper.ts";
import { Delivery, ownDefect, SinkStopped } from "./delivery.ts";
import { earliestPlace, type LogAddress, latestPlace, startOf } from "./log-access.ts";
import { LogEnd } from "./log-end.ts";
import { backoffMs, pause } from "./pause.ts";
import type { SinkLag, SinkMetrics } from "./replication-metrics.ts";
import type { Sink, SinkBatch, SinkScope } from "./sink.ts";
import { filterOf } from "./sink-filter.ts";

/** Longest pause before the next ownership, in beats. */
const RETRY_BEATS_MAX = 2;
/** Characters of a problem's message that are told. */
const PROBLEM_LENGTH_MAX = 2_000;

export interface PumpOptions extends LogAddress {
  readonly config: SinkConfig;
  /** A new sink; it is opened by the pump. */
  readonly createSink: () => Sink;
  readonly log: LogSource;
  /** The bucket `omnirelay-checkpoints`. */
  readonly checkpoints: Kv;
  readonly clock: Clock;
  readonly ids: Ids;
  readonly reporter: Reporter;
  readonly metrics: (lag: () => SinkLag) => SinkMetrics;
  /** As `KeeperOptions.instance`. */
  readonly instance: string;
  /** Another than `PACE`, for tests. */
  readonly pace?: Pace | undefined;
  readonly park: (scope: SinkScope, event: ReplicationEvent, reason: OperatingError) => Promise<void>;
}

export interface PumpStatus {
  readonly sink: string;
  readonly kind: string;
  readonly shard: string;
  readonly state: SinkState;
  readonly sequence: number;
  readonly lag: SinkLag;
  readonly parked: number;
  readonly problem: { readonly code: string; readonly message: string } | undefined;
}

/**
 * Lives through any number of ownerships of the sink's checkpoint. Within one: open the sink, find the place, bring batch after batch;
 * any doubt ends the ownership and the next begins with what is durable.
 *
 * Invariant: a place is given to the keeper only after all effects up to it are durable, by the sink's word.
 */
export class Pump {
  readonly #options: PumpOptions;
  readonly #pace: Pace;
  readonly #keeper: CheckpointKeeper;
  readonly #stop = new AbortController();
  readonly #metrics: SinkMetrics;
  readonly #wants: (event: ReplicationEvent) => boolean;
  readonly #logEnd: LogEnd;
  #running: Promise<void> | undefined;
  #state: SinkState = "standby";
  #problem: PumpStatus["problem"];
  #place: Checkpoint | undefined;
  #parked = 0;
  /** Log time of the oldest event that was read and not brought; undefined when there is none. */
  #waitingSinceMs: number | undefined;

  constructor(options: PumpOptions) {
    const { config, region, shard, instance, checkpoints, clock, log } = options;
    this.#options = options;
    this.#pace = options.pace ?? PACE;
    const address = { sink: config.name, region, shard };
    const onUnwritten = ({ code, message }: OperatingError): void =>
      options.reporter.warn("checkpoint_not_written", { sink: config.name, shard, code, reason: message });
    const onStandby = (): void => this.#standsBy();
    const told = { onUnwritten, onStandby };
    this.#keeper = new CheckpointKeeper({ ...address, ...told, instance, kv: checkpoints, clock, pace: this.#pace });
    this.#metrics = options.metrics(() => this.#lag());
    this.#wants = filterOf(config);
    this.#logEnd = new LogEnd({ log, region, shard, clock, intervalMs: this.#pace.beatMs });
  }

  start(): void {
    this.#running ??= this.#run();
  }

  /**
   * Ends after the batch under way, or sooner; the checkpoint is then given back. An effect that does not end within half of the silence is left
   * alone: its checkpoint stays ours until others find it silent, for the effect may still come.
   */
  async stop(): Promise<void> {
    this.#stop.abort(new OperatingError("shutting_down", "the pump stops", { definite: true }));
    const { clock, reporter, config, shard } = this.#options;
    const ended = new AbortController();
    const late = pause(clock, this.#pace.silentMs / 2, ended.signal).then(
      () => true,
      () => false,
    );
    const isLate = await Promise.race([this.#running?.then(() => false), late]);
    ended.abort();
    if (isLate === true) {
      this.#keeper.abandon();
      reporter.error("sink_hangs", { sink: config.name, shard });
    }
    this.#metrics.close();
  }

  status(): PumpStatus {
    const { config, shard } = this.#options;
    const [lag, problem, parked] = [this.#lag(), this.#problem, this.#parked];
    const sequence = this.#place?.sequence ?? 0;
    return { sink: config.name, kind: config.kind, shard, state: this.#state, sequence, lag, parked, problem };
  }

  /** Of one that stands by it is 0: the process that runs the sink tells it. */
  #lag(): SinkLag {
    if (this.#state === "standby" || this.#place === undefined) return { events: 0, ms: 0 };
    // Nothing is read while nothing is brought: the end is asked for, and told the next time.
    if (this.#state !== "running" || this.#waitingSinceMs !== undefined) this.#findEnd();
    const { sequence, at } = this.#place;
    const events = Math.max(0, this.#logEnd.sequence - sequence);
    const since = this.#waitingSinceMs ?? (this.#state === "running" || at === 0 ? undefined : at);
    const ms = events === 0 || since === undefined ? 0 : Math.max(0, this.#options.clock.wallMs() - since);
    return { events, ms };
  }

  async #run(): Promise<void> {
    for (let attempt = 1; !this.#stop.signal.aborted; attempt += 1) {
      const began = this.#options.clock.monotonicMs();
      try {
        await this.#own();
      } catch (error) {
        if (this.#stop.signal.aborted) break;
        if (!(error instanceof SinkStopped || error instanceof OperatingError)) throw error;
        if (error instanceof OperatingError) this.#failed(error);
      }
      const { beatMs } = this.#pace;
      if (this.#options.clock.monotonicMs() - began > beatMs * RETRY_BEATS_MAX) attempt = 1;
      const waitMs = backoffMs(
        attempt,
        beatMs / 10,
        beatMs * RETRY_BEATS_MAX,
        0.5 + this.#options.ids.random("pump") / 2,
      );
      await pause(this.#options.clock, waitMs, this.#stop.signal).catch(() => undefined);
    }
    this.#state = "standby";
  }

  #failed(error: OperatingError): void {
    const { reporter, config, shard } = this.#options;
    const { code, message } = error;
    const isTaken = code === "sink_taken";
    const isWaiting = isTaken || code === "log_empty" || code === "stream_missing";
    const isKnown = this.#problem?.code === code;
    this.#tell(isWaiting ? "standby" : "failing", { code, message });
    if (isKnown) return;
    const fields = { sink: config.name, shard, code, reason: message };
    if (isWaiting) reporter.info("sink_standby", fields);
    else reporter.warn("sink_failing", fields);
  }

  /** An earlier failure is no longer ours; who has the sink is still told. */
  #standsBy(): void {
    this.#state = "standby";
    if (this.#problem?.code !== "sink_taken") this.#problem = undefined;
  }

  /** What the policy ends goes on when an operator wishes it; the entry says so, for whoever looks. */
  #stopped(reason: OperatingError): void {
    const { reporter, config, shard } = this.#options;
    const { code, message } = reason;
    reporter.error("sink_stopped", { sink: config.name, shard, code, reason: message });
    this.#tell("stopped", { code, message });
  }

  /** The message is cut: one that is too long for the bucket would keep the entry from being written, and then another process takes it. */
  #tell(state: SinkState, trouble?: PumpStatus["problem"]): void {
    const problem = trouble && { code: trouble.code, message: trouble.message.slice(0, PROBLEM_LENGTH_MAX) };
    this.#state = state;
    this.#problem = problem;
    this.#keeper.tell({ state, problem });
  }

  /** One ownership, from taking the checkpoint to giving it back. */
  async #own(): Promise<void> {
    const { config, log, region, shard, createSink } = this.#options;
    const find = config.start === "latest" ? latestPlace : earliestPlace;
    const begin = () => find(log, { region, shard });
    if (this.#state === "running") this.#state = "standby";
    const entry = await this.#keeper.acquire(begin, this.#stop.signal);
    this.#parked = entry.parked ?? 0;
    const signal = AbortSignal.any([this.#stop.signal, this.#keeper.lost]);
    const scope: SinkScope = { sink: config.name, region, shard, logId: entry.logId };
    this.#place = entry;
    let sink: Sink | undefined;
    try {
      await this.#waitForResume(entry.state, signal);
      await this.#waitWhilePaused(signal);
      sink = await this.#asked(async () => createSink());
      const opened = sink;
      const own = await this.#asked(() => opened.open(scope, entry));
      this.#place = own ?? entry;
      await this.#pumpUntilSought({ sink, scope, signal, keepsPlace: own !== undefined });
      this.#keeper.lost.throwIfAborted();
    } catch (error) {
      if (this.#stop.signal.aborted) throw error;
      // Told while the entry is still ours, for whoever looks at it.
      if (error instanceof SinkStopped) this.#stopped(error.reason);
      else if (error instanceof OperatingError && !signal.aborted) this.#failed(error);
      throw signal.aborted ? signal.reason : error;
    } finally {
      if (sink !== undefined) await this.#close(sink);
      await this.#keeper.release(this.#stop.signal.aborted && this.#state !== "stopped" ? "standby" : this.#state);
    }
  }

  /** A sink that its policy has stopped waits for an operator, also across restarts. */
  async #waitForResume(state: SinkState | undefined, signal: AbortSignal): Promise<void> {
    if (state !== "stopped") return;
    this.#tell("stopped", this.#keeper.problem ?? { code: "sink_stopped", message: "its failure policy stopped it" });
    while (this.#keeper.wishes.resume === undefined && this.#keeper.wishes.seek === undefined)
      await pause(this.#options.clock, this.#pace.beatMs / 2, signal);
    await this.#keeper.resumed();
  }

  /** A sink that is paused is not opened: it may be paused because its place cannot be. What else is wished is followed when it goes on. */
  async #waitWhilePaused(signal: AbortSignal): Promise<void> {
    if (this.#keeper.wishes.paused !== true) return;
    this.#tell("paused");
    while (this.#keeper.wishes.paused === true) await pause(this.#options.clock, this.#pace.beatMs / 4, signal);
  }

  /** What a sink throws that is no OperatingError is a defect of its own, and no reason for the process to end. */
  async #asked<Result>(ask: () => Promise<Result>): Promise<Result> {
    try {
      return await ask();
    } catch (error) {
      throw error instanceof OperatingError ? error : ownDefect("sink_failed", error);
    }
  }

  async #close(sink: Sink): Promise<void> {
    try {
      await sink.close();
    } catch (error) {
      const { reporter, config, shard } = this.#options;
      reporter.warn("sink_close_failed", { sink: config.name, shard, error });
    }
  }

  async #pumpUntilSought(life: Life): Promise<void> {
    while (!life.signal.aborted) {
      const { log, region, shard, clock, config, reporter } = this.#options;
      // Before the place is looked at: the wish may be what leads away from one that cannot be used.
      const { seek } = this.#keeper.wishes;
      if (seek !== undefined && !(await this.#seek(life, seek.to))) return;
      const start = await startOf(log, { region, shard }, this.#place as Checkpoint);
      const onVoid = (streamSequence: number, reason: string): void =>
        reporter.warn("log_void_message", { sink: config.name, shard, streamSequence, reason });
      const reader = new BatchReader({ log, region, shard, clock, start, batching: config.batch, onVoid });
      const delivery = this.#deliveryOf(life);
      // A sink with a place of its own may be further than the entry, as where the bucket was lost.
      this.#keeper.move(this.#place as Checkpoint);
      this.#tell("running");
      try {
        const sought = await this.#pump(life, reader, delivery);
        if (sought === undefined) return;
        if (!(await this.#seek(life, sought))) return;
      } finally {
        reader.close();
      }
    }
  }

  /** Answers the place that an operator wishes; undefined when the ownership ends. */
  async #pump(
    { scope, signal, keepsPlace }: Life,
    reader: BatchReader,
    delivery: Delivery,
  ): Promise<Checkpoint | undefined> {
    let prepared: ReadBatch | undefined;
    while (!signal.aborted) {
      const { seek, paused } = this.#keeper.wishes;
      if (seek !== undefined) return seek.to;
      if (paused === true) {
        this.#tell("paused");
        await pause(this.#options.clock, this.#pace.beatMs / 4, signal);
        continue;
      }
      if (this.#state !== "running") this.#tell("running");
      const batch = prepared ?? (await reader.next(this.#pace.beatMs, signal));
      prepared = undefined;
      if (batch === undefined) {
        this.#caughtUp(reader);
        continue;
      }
      this.#waits(batch, reader);
      const events = this.#filtered(batch);
      const bring: SinkBatch = { scope, after: batch.after, upTo: batch.upTo, events };
      // The next batch is made while this one is on its way.
      const delivered = events.length > 0 || keepsPlace ? delivery.deliver(bring, signal) : Promise.resolve();
      const [next] = await Promise.all([reader.ready().catch(() => undefined), delivered]);
      prepared = next;
      this.#delivered(batch);
    }
    return undefined;
  }

  #filtered({ events }: ReadBatch): readonly ReplicationEvent[] {
    const { eventTypes, resourceTypes } = this.#options.config.filter;
    return eventTypes === undefined && resourceTypes === undefined ? events : events.filter(this.#wants);
  }

  #waits(batch: ReadBatch, reader: BatchReader): void {
    const [first] = batch.events;
    if (first !== undefined) this.#waitingSinceMs = Date.parse(first.timestamp);
    this.#logEnd.seen(batch.upTo.sequence);
    if (reader.pendingMessages > 0) this.#findEnd();
  }

  #caughtUp(reader: BatchReader): void {
    if (reader.pendingMessages === 0) this.#waitingSinceMs = undefined;
  }

  #findEnd(): void {
    if (!this.#stop.signal.aborted) void this.#logEnd.find();
  }

  #delivered(batch: ReadBatch): void {
    this.#place = batch.upTo;
    this.#keeper.move(batch.upTo);
    const delayMs = Math.max(0, this.#options.clock.wallMs() - batch.upTo.at);
    this.#metrics.delivered(batch.events.length, delayMs);
    if (batch.pending === 0) this.#waitingSinceMs = undefined;
  }

  #deliveryOf({ sink, scope }: Life): Delivery {
    const { config, clock, ids, reporter, park } = this.#options;
    return new Delivery({
      sink,
      clock,
      reporter,
      failure: config.failure,
      random: () => ids.random("retry"),
      isWishedElse: () => this.#keeper.wishes.seek !== undefined || this.#keeper.wishes.paused === true,
      park: (event, reason) => park(scope, event, reason),
      sure: (signal) => this.#keeper.sure(signal),
      onFailure: (error, attempt) => {
        const { code, message } = error;
        this.#metrics.failed(attempt);
        this.#tell("failing", { code, message });
        if (attempt === 1)
          reporter.warn("sink_failing", { sink: config.name, shard: scope.shard, code, reason: message });
      },
      onRecovered: () => {
        this.#tell("running");
        reporter.info("sink_recovered", { sink: config.name, shard: scope.shard });
      },
      onParked: (event) => {
        this.#parked += 1;
        this.#metrics.parked();
        this.#keeper.tell({ parked: this.#parked });
        reporter.warn("event_parked", { sink: config.name, shard: scope.shard, sequence: event.sequenceNumber });
      },
    });
  }

  /** False when the place is of another log: the sink is to be opened anew for that, and may refuse it for the effects that it has. */
  async #seek({ sink, scope }: Life, to: Checkpoint): Promise<boolean> {
    const { reporter, config, shard } = this.#options;
    const isSameLog = to.logId === scope.logId;
    if (isSameLog) await this.#asked(async () => sink.seek?.(to));
    this.#place = to;
    await this.#keeper.sought(to);
    reporter.info("sink_sought", { sink: config.name, shard, sequence: to.sequence, logId: to.logId });
    return isSameLog;
  }
}

/** What one ownership works with. */
interface Life {
  readonly sink: Sink;
  readonly scope: SinkScope;
  readonly signal: AbortSignal;
  /** The sink keeps its own place: it must hear of every move, also without events. */
  readonly keepsPlace: boolean;
}
