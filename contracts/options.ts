/** The options of a shard. They are state: seeded in the log's first frame, changed by `configure`, read by decide and apply only from there. */
import { z } from "zod";
import {
  AGEING_MS_MAX,
  ATTEMPTS_DEFAULT,
  ATTEMPTS_MAX,
  BACKPRESSURE_COOLDOWN_MS_DEFAULT,
  BACKPRESSURE_COOLDOWN_MS_MAX,
  BODY_BYTES_HIGH_DEFAULT,
  BODY_BYTES_HIGH_MAX,
  DELAY_MS_MAX,
  ITEM_BYTES_DEFAULT,
  ITEM_BYTES_MAX,
  LEASE_AGE_MS_DEFAULT,
  LEASE_AGE_MS_MAX,
  LEASE_DURATION_MS_DEFAULT,
  LEASE_DURATION_MS_MAX,
  LEASE_DURATION_MS_MIN,
  LEASES_PER_PEER_DEFAULT,
  LEASES_PER_PEER_MAX,
  LOG_KEEP_EVENTS_DEFAULT,
  LOG_KEEP_EVENTS_MAX,
  LOG_KEEP_MS_DEFAULT,
  LOG_KEEP_MS_MAX,
  PENDING_HIGH_DEFAULT,
  PENDING_HIGH_MAX,
  RECORDS_DEFAULT,
  RECORDS_MAX,
  RESULTS_DEFAULT,
  RESULTS_MAX,
  RETRY_FIRST_MS_DEFAULT,
  RETRY_MAX_MS_DEFAULT,
} from "./limits.ts";

/** `none`: items are independent. `resource`: one live lease per resource. `partition`: strict order, one at a time, per partition key. */
export const EXCLUSIVITIES = ["none", "resource", "partition"] as const;
export const Exclusivity = z.enum(EXCLUSIVITIES);
export type Exclusivity = z.infer<typeof Exclusivity>;

const fields = {
  exclusivity: Exclusivity.default("none").describe("Exclusivity of items that do not name one."),
  onDeadLetter: z
    .enum(["halt", "continue"])
    .default("halt")
    .describe(
      "What a partition does when its head is dead-lettered: halt keeps the order, continue goes on without it.",
    ),
  leaseDurationMsDefault: z
    .int()
    .min(LEASE_DURATION_MS_MIN)
    .max(LEASE_DURATION_MS_MAX)
    .default(LEASE_DURATION_MS_DEFAULT)
    .describe("Lease length when a request asks for none. ms. At most leaseDurationMsMax."),
  leaseDurationMsMax: z
    .int()
    .min(LEASE_DURATION_MS_MIN)
    .max(LEASE_DURATION_MS_MAX)
    .default(LEASE_DURATION_MS_MAX)
    .describe("Longest lease or extension; longer requests are refused, not clamped. ms."),
  leaseAgeMsMax: z
    .int()
    .min(LEASE_DURATION_MS_MIN)
    .max(LEASE_AGE_MS_MAX)
    .default(LEASE_AGE_MS_DEFAULT)
    .describe("How long heartbeats may keep one lease alive. ms. At least leaseDurationMsMax."),
  leasesPerPeerMax: z
    .int()
    .min(1)
    .max(LEASES_PER_PEER_MAX)
    .default(LEASES_PER_PEER_DEFAULT)
    .describe("Leases that one peer may hold at once."),
  maxAttempts: z
    .int()
    .min(1)
    .max(ATTEMPTS_MAX)
    .default(ATTEMPTS_DEFAULT)
    .describe("Charged attempts after which an item that names no maximum is dead-lettered."),
  ageingMs: z
    .int()
    .min(0)
    .max(AGEING_MS_MAX)
    .default(0)
    .describe(
      "How long an item must have waited to be as urgent as one of the next higher priority; 0: a higher priority always goes first. Fixed for an item when it is enqueued. ms.",
    ),
  retry: z
    .enum(["none", "fixed", "exponential"])
    .default("none")
    .describe(
      "Delay before an item that failed is granted again, where it names no policy: none, retryFirstMs, or a random part of what begins with retryFirstMs and doubles up to retryMaxMs.",
    ),
  retryFirstMs: z
    .int()
    .min(1)
    .max(DELAY_MS_MAX)
    .default(RETRY_FIRST_MS_DEFAULT)
    .describe("Delay before the first retry, or its bound. ms."),
  retryMaxMs: z
    .int()
    .min(1)
    .max(DELAY_MS_MAX)
    .default(RETRY_MAX_MS_DEFAULT)
    .describe("Longest delay before a retry. ms. At least retryFirstMs."),
  fairness: z
    .enum(["off", "groups"])
    .default("off")
    .describe(
      "Between the groups of the items of a resource type: off goes by priority and time alone, groups lets them take turns by their weights.",
    ),
  itemBytesMax: z
    .int()
    .min(1)
    .max(ITEM_BYTES_MAX)
    .default(ITEM_BYTES_DEFAULT)
    .describe("Largest item body. Encoded JSON bytes."),
  pendingHigh: z
    .int()
    .min(0)
    .max(PENDING_HIGH_MAX)
    .default(PENDING_HIGH_DEFAULT)
    .describe("Pending items from which on enqueue is refused with backpressure. 0: never for their number."),
  pendingLow: z
    .int()
    .min(0)
    .max(PENDING_HIGH_MAX)
    .default(0)
    .describe(
      "Pending items at or below which enqueue is taken again. Below pendingHigh. 0: four fifths of pendingHigh, so 800,000 by default.",
    ),
  bodyBytesHigh: z
    .int()
    .min(0)
    .max(BODY_BYTES_HIGH_MAX)
    .default(BODY_BYTES_HIGH_DEFAULT)
    .describe(
      "Bytes of unfinished bodies from which on enqueue is refused with backpressure. 0: never for their bytes.",
    ),
  bodyBytesLow: z
    .int()
    .min(0)
    .max(BODY_BYTES_HIGH_MAX)
    .default(0)
    .describe(
      "Bytes of unfinished bodies at or below which enqueue is taken again. Below bodyBytesHigh. 0: three quarters of bodyBytesHigh, so 384 MiB by default.",
    ),
  backpressureCooldownMs: z
    .int()
    .min(0)
    .max(BACKPRESSURE_COOLDOWN_MS_MAX)
    .default(BACKPRESSURE_COOLDOWN_MS_DEFAULT)
    .describe("How long enqueue is refused at least, once it is. ms of log time."),
  recordsMax: z
    .int()
    .min(0)
    .max(RECORDS_MAX)
    .default(RECORDS_DEFAULT)
    .describe(
      "Ended items whose outcome is remembered, so that repeats of their requests are recognised. 0 remembers none.",
    ),
  resultsMax: z
    .int()
    .min(0)
    .max(RESULTS_MAX)
    .default(RESULTS_DEFAULT)
    .describe(
      "Newest results of completed items that `get` still shows, as long as the item is remembered. 0 keeps none.",
    ),
  logTrim: z
    .enum(["auto", "off"])
    .default("auto")
    .describe("Whether the log is trimmed below durable snapshots; off keeps every frame."),
  logKeepEvents: z
    .int()
    .min(0)
    .max(LOG_KEEP_EVENTS_MAX)
    .default(LOG_KEEP_EVENTS_DEFAULT)
    .describe("Newest events that trimming leaves in the log whatever snapshots there are."),
  logKeepMs: z
    .int()
    .min(0)
    .max(LOG_KEEP_MS_MAX)
    .default(LOG_KEEP_MS_DEFAULT)
    .describe("How long trimming leaves an event in the log, unless its byte limit is near. ms."),
};

/** The complete options, with defaults filled in. Cross-field rules: `optionProblems`. */
export const ShardOptions = z.strictObject(fields);
export type ShardOptions = Readonly<z.infer<typeof ShardOptions>>;

/** A change of some options: only what is named changes. */
export const ShardOptionsPatch = z.strictObject(
  Object.fromEntries(Object.entries(fields).map(([key, schema]) => [key, schema.unwrap().optional()])) as {
    [Key in keyof typeof fields]: z.ZodOptional<ReturnType<(typeof fields)[Key]["unwrap"]>>;
  },
);
export type ShardOptionsPatch = Readonly<z.infer<typeof ShardOptionsPatch>>;

export const SHARD_OPTIONS_DEFAULT: ShardOptions = Object.freeze(ShardOptions.parse({}));

/** Options that a log of state version 1 does not know. */
export const OPTIONS_OF_TERMS: ReadonlySet<string> = new Set([
  "ageingMs",
  "retry",
  "retryFirstMs",
  "retryMaxMs",
  "resultsMax",
  "fairness",
  "pendingLow",
  "bodyBytesLow",
  "backpressureCooldownMs",
] satisfies readonly (keyof ShardOptions)[]);

/** What is wrong between options, with both values; empty when nothing is. */
export function optionProblems(options: ShardOptions): readonly string[] {
  const problems: string[] = [];
  if (options.leaseDurationMsDefault > options.leaseDurationMsMax)
    problems.push(
      `leaseDurationMsDefault (${options.leaseDurationMsDefault}) must be at most leaseDurationMsMax (${options.leaseDurationMsMax})`,
    );
  if (options.leaseAgeMsMax < options.leaseDurationMsMax)
    problems.push(
      `leaseAgeMsMax (${options.leaseAgeMsMax}) must be at least leaseDurationMsMax (${options.leaseDurationMsMax})`,
    );
  for (const [low, high] of [
    ["pendingLow", "pendingHigh"],
    ["bodyBytesLow", "bodyBytesHigh"],
  ] as const)
    if (options[high] !== 0 && options[low] >= options[high])
      problems.push(`${high} (${options[high]}) must be above ${low} (${options[low]})`);
  if (options.retryFirstMs > options.retryMaxMs)
    problems.push(`retryFirstMs (${options.retryFirstMs}) must be at most retryMaxMs (${options.retryMaxMs})`);
  return problems;
}
