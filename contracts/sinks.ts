/** What a sink's pump keeps in `omnirelay-checkpoints`, and what operators wish of it there. */
import { z } from "zod";
import { OutwardType } from "./envelope.ts";
import { Checkpoint, Follower, FollowerName } from "./followers.ts";
import { ResourceType, ShardName } from "./ids.ts";
import { ENTRIES_PER_REQUEST_MAX } from "./limits.ts";

/** `standby`: another process runs it. `failing`: an effect is tried again. `stopped`: a person must look; `resume` begins again. */
const SINK_STATES = ["standby", "running", "failing", "paused", "stopped"] as const;
export type SinkState = (typeof SINK_STATES)[number];

/** A place to go on from, wished by an operator; `id` tells one wish from the next. */
const SeekWish = z.looseObject({ id: z.string().min(1).max(64), to: Checkpoint });

/** Value of `omnirelay-checkpoints` of a sink: the place, who moves it, and what is wished. */
export const SinkCheckpoint = Checkpoint.extend({
  owner: z.string().max(256).optional().describe("The process that moves it; empty: nobody."),
  state: z.enum(SINK_STATES).optional(),
  problem: z.looseObject({ code: z.string(), message: z.string() }).optional(),
  parked: z.int().min(0).optional().describe("Events that were parked so far."),
  paused: z.literal(true).optional().describe("Wished: bring nothing more until this is gone."),
  seek: SeekWish.optional().describe("Wished: go on from there."),
  resume: z.string().max(64).optional().describe("Wished: begin again after `stopped`; another text each time."),
});
export type SinkCheckpoint = Readonly<z.infer<typeof SinkCheckpoint>>;

const MIB = 1024 * 1024;

/** Which events a sink gets. What is left out has no effect, but moves the place. */
const SinkFilter = z.strictObject({
  eventTypes: z.array(OutwardType).min(1).optional().describe("Only these; all when absent."),
  resourceTypes: z.array(ResourceType).min(1).max(1_000).optional().describe("Only events of these; all when absent."),
});

const SinkBatching = z.strictObject({
  events: z
    .int()
    .min(1)
    .max(10_000)
    .default(1_000)
    .describe("Events of a batch at most, but for a frame that has more: none is cut."),
  bytes: z
    .int()
    .min(1)
    .max(64 * MIB)
    .default(MIB)
    .describe("Bytes of the log in a batch that are aimed at."),
  lingerMs: z.int().min(0).max(60_000).default(0).describe("How long a batch that is not full waits for more. ms."),
});
export type SinkBatching = Readonly<z.infer<typeof SinkBatching>>;

const SinkFailure = z
  .strictObject({
    policy: z
      .enum(["retry", "park", "stop"])
      .default("retry")
      .describe(
        "What becomes of a batch that is refused: tried for ever; after `attempts` its refused events are parked and the rest goes on; or the sink stops after `attempts`. What can pass (a place that is down or full) is tried for ever by the first two.",
      ),
    attempts: z.int().min(1).max(1_000).default(5).describe("Tries before the policy is followed."),
    retryMsMin: z
      .int()
      .min(1)
      .max(60_000)
      .default(100)
      .describe("First pause between tries; doubled each time, with jitter. ms."),
    retryMsMax: z.int().min(1).max(3_600_000).default(30_000).describe("Longest pause. ms."),
  })
  .refine(({ retryMsMin, retryMsMax }) => retryMsMin <= retryMsMax, {
    error: "is above retryMsMax",
    path: ["retryMsMin"],
  });
export type SinkFailure = Readonly<z.infer<typeof SinkFailure>>;

/** One sink of a configuration. `options` are the kind's own. */
export const SinkConfig = z.strictObject({
  name: FollowerName.describe("Names the sink for ever: its checkpoints stand under it."),
  kind: z.string().min(1).max(64),
  shards: z
    .array(ShardName)
    .min(1)
    .max(ENTRIES_PER_REQUEST_MAX)
    .optional()
    .describe("All shards of the process when absent."),
  options: z.record(z.string(), z.unknown()).default({}),
  filter: SinkFilter.default({}),
  batch: SinkBatching.prefault({}),
  failure: SinkFailure.prefault({}),
  start: z.enum(["earliest", "latest"]).default("earliest").describe("Where a sink without a checkpoint begins."),
  keepBytes: Follower.shape.keepBytes,
  keepMs: Follower.shape.keepMs,
  register: z.boolean().default(true).describe("Register it in the shard, so that the log is kept for it."),
});
export type SinkConfig = Readonly<z.infer<typeof SinkConfig>>;
