/** Who else reads a shard's log: registered in the shard's state, so that the log is kept for them, and their durable position. */
import { z } from "zod";
import { ChainValue, LogId, LogTimeMs, Sequence, TokenEpoch } from "./ids.ts";
import {
  FOLLOWER_KEEP_BYTES_DEFAULT,
  FOLLOWER_KEEP_BYTES_MAX,
  FOLLOWER_KEEP_MS_DEFAULT,
  FOLLOWER_KEEP_MS_MAX,
  FOLLOWERS_MAX,
  LOG_VERSION_MAX,
  NAME_LENGTH_MAX,
} from "./limits.ts";

export const FollowerName = z
  .string()
  .max(NAME_LENGTH_MAX)
  .regex(/^[a-z0-9]+(-[a-z0-9]+)*$/);

const FOLLOWER_KINDS = ["sink", "mirror", "dispatcher"] as const;

export const Follower = z.strictObject({
  kind: z.enum(FOLLOWER_KINDS),
  logVersionMax: z.int().min(1).max(1_000).default(LOG_VERSION_MAX).describe("The newest log version that it reads."),
  keepBytes: z
    .int()
    .min(0)
    .max(FOLLOWER_KEEP_BYTES_MAX)
    .default(FOLLOWER_KEEP_BYTES_DEFAULT)
    .describe("Bytes of the log that are kept for it at most. Bytes."),
  keepMs: z
    .int()
    .min(0)
    .max(FOLLOWER_KEEP_MS_MAX)
    .default(FOLLOWER_KEEP_MS_DEFAULT)
    .describe("How long the log is kept for it at most. ms."),
});
export type Follower = Readonly<z.infer<typeof Follower>>;

/** A change of some followers by name; null removes one. */
export const FollowersPatch = z
  .record(FollowerName, Follower.nullable())
  .refine((patch) => Object.keys(patch).length <= FOLLOWERS_MAX, { error: `at most ${FOLLOWERS_MAX} followers` });
export type FollowersPatch = Readonly<z.infer<typeof FollowersPatch>>;

/** How far a follower has come: everything up to here has had its effect. Value of `omnirelay-checkpoints`. */
export const Checkpoint = z.looseObject({
  logId: LogId,
  streamSequence: Sequence,
  sequence: Sequence,
  chain: ChainValue,
  term: z.int().min(0),
  at: LogTimeMs,
  first: Sequence.optional().describe("`first` of the last frame; absent: taken from `sequence`."),
  tokenEpoch: TokenEpoch.optional().describe("Of the tokens that are granted there; absent: 0."),
});
export type Checkpoint = Readonly<z.infer<typeof Checkpoint>>;
