/** The port of sinks: where a shard's events are brought to, in order, each at least once. */
import type { NatsConnection } from "@nats-io/transport-node";
import type { z } from "zod";
import type { ReplicationEvent } from "../../contracts/envelope.ts";
import type { Checkpoint } from "../../contracts/followers.ts";
import type { Clock, Reporter } from "../../contracts/ports.ts";

/** What one pump brings where: one sink and one shard. */
export interface SinkScope {
  /** Name of the sink in the configuration: `[a-z0-9-]`, at most 32 characters. */
  readonly sink: string;
  readonly region: string;
  readonly shard: string;
  readonly logId: string;
}

export interface SinkBatch {
  readonly scope: SinkScope;
  /** The place behind which the batch begins. Its sequence is 0 and its chain empty at the beginning of the log. */
  readonly after: Checkpoint;
  /** The place that is reached when all events have had their effect. Where a batch was cut, its `sequence` lies inside of a frame. */
  readonly upTo: Checkpoint;
  /** By sequence, rising. Those that the sink's filter leaves out are missing: it may be empty, with `upTo` above `after`. */
  readonly events: readonly ReplicationEvent[];
}

/**
 * One sink for one shard. A pump calls `open` once, then `apply` with one batch at a time, and `close` in the end.
 * After an error of `apply` the same events come again, perhaps in other batches: an effect that took place must be recognised or may
 * double, as the guarantee of the sink says.
 */
export interface Sink {
  /**
   * Makes ready what it writes to. Answers the place where its effects end if it keeps that with them (exactly once), else undefined: then
   * `checkpoint`, the place that is known outside, counts.
   * Throws: OperatingError, `definite` where only a person can mend it (no right, wrong folder, effects of another log: `sink_foreign_log`).
   */
  open(scope: SinkScope, checkpoint: Checkpoint | undefined): Promise<Checkpoint | undefined>;
  /**
   * Resolves when all events of the batch have had their effect, durably. Stops soon after `signal` is aborted.
   * Throws: OperatingError. A code that ends in `_refused` blames the events: trying them again brings the same, and the failure policy decides.
   * `sink_taken` says that another instance writes here. Anything else can pass, or be mended, and is tried again.
   */
  apply(batch: SinkBatch, signal: AbortSignal): Promise<void>;
  /** Of a sink that keeps its own place: makes it `to`, for events are to come again, or to be left out. Effects stay. */
  seek?(to: Checkpoint): Promise<void>;
  close(): Promise<void>;
}

/** What a sink may use of the process that it runs in. */
export interface SinkDeps {
  readonly reporter: Reporter;
  readonly clock: Clock;
  /** Folder of the process; relative paths in options are below the working directory, not here. */
  readonly dataDir: string;
  /** The NATS connection of the process. Stays the caller's. */
  readonly connection: NatsConnection;
}

/** `exactly once`: a sink that keeps its place with its effects. `at least once`: an effect may come twice after a crash, never out of order. */
export type SinkGuarantee = "exactly once" | "at least once";

/** A kind of sink, by whose name a configuration asks for it. Third parties register theirs beside ours. */
export interface SinkKind<Options = unknown> {
  readonly kind: string;
  /** One sentence for the docs. */
  readonly summary: string;
  readonly guarantee: SinkGuarantee;
  /** Of `options` in the configuration: a strict object, each field described. */
  readonly options: z.ZodType<Options>;
  /**
   * What a sink of this name writes to and no other may, in words that are the same for the same thing, such as `the folder /data/audit`: two sinks
   * of a process with one target and a shard in common are refused. Undefined: any number may write there.
   */
  target?(options: Options, sink: string): string | undefined;
  create(options: Options, deps: SinkDeps): Sink;
}
