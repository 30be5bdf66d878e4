/** The replies of the RPC surface. Clients ignore fields that they do not know, so these schemas are loose. */
import { z } from "zod";
import { Attributes, DrainItem, LIST_STATUSES, RetryPolicy, ScheduleItem } from "./commands.ts";
import { DRAIN_LEASES, DrainId, ItemOrigin } from "./drain.ts";
import { ErrorBodySchema } from "./errors.ts";
import { CANCEL_OUTCOMES, OUTCOMES } from "./events.ts";
import { Dependency, FailurePolicy } from "./flows.ts";
import { Follower, FollowerName } from "./followers.ts";
import { ItemId, LogTimeMs, PeerId, Principal, Sequence, Token } from "./ids.ts";
import { Exclusivity, ShardOptions } from "./options.ts";
import { Quota } from "./quotas.ts";
import { ScheduleName, scheduleFields } from "./schedules.ts";
import type { Verb } from "./subjects.ts";

const cited = {
  term: z.int().min(0).describe("Term of the leader that answered."),
  sequence: Sequence.describe("Event sequence that the answer is as of."),
};
const counts = { pending: z.int().min(0), active: z.int().min(0) };
const failedEntry = z.looseObject({ error: ErrorBodySchema });
const resultsOf = <Entry extends z.ZodType>(entry: Entry) => z.array(z.union([failedEntry, entry]));

const EnqueueResult = z.looseObject({ itemId: ItemId, sequence: Sequence, duplicate: z.boolean() });
const EnqueueReply = z.looseObject({ ...cited, ...counts, results: resultsOf(EnqueueResult) });

const Dependencies = z.array(Dependency.loose()).optional();

/** The item as a worker sees it. */
const ItemView = z.looseObject({
  resourceType: z.string(),
  resourceId: z.string(),
  partitionKey: z.string().optional(),
  payloadEncoding: z.string(),
  body: z.string(),
  attributes: Attributes,
  requestId: z.string().optional(),
});
const LastError = z.looseObject({
  reason: z.string(),
  code: z.string().optional(),
  attempt: z.int(),
  peerId: PeerId,
  at: LogTimeMs,
});
const Lease = z.looseObject({
  itemId: ItemId,
  token: Token,
  fenceKey: z.string().min(1),
  attempt: z.int().min(1),
  expiresAt: LogTimeMs.describe("Log time at which the lease ends unless it is renewed; never earlier."),
  validMs: z
    .number()
    .min(0)
    .describe("How long the lease is valid, counted by the worker from sending the request. ms."),
  heartbeatMs: z.number().min(1).describe("Suggested time between heartbeats. ms."),
  enqueuedAt: LogTimeMs,
  lastError: LastError.optional(),
  dependencies: Dependencies.describe("How those ended that it depends on, in the order of the enqueue."),
  item: ItemView,
});
const LEASE_EMPTY_REASONS = ["none", "paused", "draining"] as const;
const LeaseReply = z.looseObject({
  ...cited,
  leases: z.array(Lease),
  reason: z.enum(LEASE_EMPTY_REASONS).optional().describe("Why no lease was granted."),
});
const HeartbeatResult = z.looseObject({
  expiresAt: LogTimeMs,
  validMs: z.number().min(0),
  cancelRequested: z.boolean().optional().describe("Somebody wants the item no more: stop, and fail or release it."),
});
const HeartbeatReply = z.looseObject({ ...cited, results: resultsOf(HeartbeatResult) });
const SettleResult = z.looseObject({ duplicate: z.boolean() });
const CompleteReply = z.looseObject({ ...cited, results: resultsOf(SettleResult) });
const FailResult = z.looseObject({ outcome: z.enum(OUTCOMES), duplicate: z.boolean() });
const FailReply = z.looseObject({ ...cited, results: resultsOf(FailResult) });

const CancelResult = z.looseObject({ outcome: z.enum(CANCEL_OUTCOMES), duplicate: z.boolean() });
const CancelReply = z.looseObject({ ...cited, results: resultsOf(CancelResult) });
const TakenResult = z.looseObject({ itemId: ItemId, duplicate: z.boolean() });
/** Of `redrive` and `purge`. */
const DeadLettersReply = z.looseObject({ ...cited, results: resultsOf(TakenResult) });
const ExplainReply = z.looseObject({
  ...cited,
  itemId: ItemId,
  status: z.string(),
  holds: z
    .array(
      z.looseObject({
        hold: z
          .string()
          .describe(
            "`paused`, `draining`, `delayed`, `keyBusy`, `keyHalted`, `keyQueued`, `dependsOn`, `behind`, `next`, …",
          ),
        message: z.string(),
        until: LogTimeMs.optional(),
        itemId: ItemId.optional().describe("The item that holds it back."),
        peerId: PeerId.optional(),
      }),
    )
    .describe("Why the item is not running, the most lasting reason first."),
});
const PauseReply = z.looseObject({ ...cited, paused: z.boolean() });
const DrainReply = z.looseObject({
  ...cited,
  drainId: DrainId,
  marked: z.int().min(0).describe("Items that it still holds."),
  active: z.int().min(0).describe("Those of them that are leased."),
  duplicate: z.boolean(),
});
const RestoreResult = z.looseObject({
  itemId: ItemId,
  duplicate: z.boolean(),
  status: z.string().optional().describe("Of one that has ended since."),
});
const RestoreReply = z.looseObject({
  ...cited,
  drainId: DrainId,
  duplicate: z.boolean().optional().describe("Of a request without items: whether the drain was restored before."),
  results: resultsOf(RestoreResult).describe("One for each item of the request."),
});
const DiscardReply = z.looseObject({
  ...cited,
  drainId: DrainId,
  discarded: z.int().min(0).describe("Items that this request has ended."),
  left: z.int().min(0).describe("Ask again until it is 0: then the drain is over."),
  duplicate: z.boolean().describe("Whether the drain was over before."),
});
const EvictReply = z.looseObject({
  ...cited,
  peerId: PeerId,
  evicted: z.int().min(0).describe("Leases that this request has ended."),
  left: z.int().min(0).describe("Leases that the peer still holds; ask again."),
});
const Followers = z.record(FollowerName, Follower.loose());
const ConfigureReply = z.looseObject({ ...cited, options: ShardOptions.loose(), followers: Followers });

const HandoverReply = z.looseObject({
  ...cited,
  successor: PeerId.describe(
    "Who leads next. `term` and `sequence` are those of the release, or its own if it leads already.",
  ),
});

const ITEM_STATUSES = [...LIST_STATUSES, "completed", "cancelled", "purged", "discarded"] as const;
/** An item as an operator sees it. Of an ended item only what its record keeps. */
const ItemRecord = z.looseObject({
  itemId: ItemId,
  status: z.enum(ITEM_STATUSES),
  sequence: Sequence.optional(),
  enqueuedAt: LogTimeMs.optional(),
  exclusivity: Exclusivity.optional(),
  attempt: z.int().min(0).optional(),
  charged: z.int().min(0).optional(),
  maxAttempts: z.int().min(1).optional(),
  priority: z.int().min(0).optional(),
  notBefore: LogTimeMs.optional().describe("From when on it is granted, by its enqueue or its last failure."),
  notAfter: LogTimeMs.optional(),
  leaseDurationMs: z.int().min(1).optional(),
  retry: RetryPolicy.optional(),
  uniqueKey: z.string().optional(),
  group: z.string().optional(),
  quotaKey: z.string().optional(),
  schedule: z.looseObject({ name: ScheduleName, tick: LogTimeMs }).optional().describe("The tick that made it."),
  dependencies: Dependencies.describe("Those that it depends on, in the order of the enqueue."),
  onDependencyFailure: FailurePolicy.optional(),
  redrives: z.int().min(1).optional().describe("How often it was redriven."),
  cancelRequested: z.looseObject({ reason: z.string().optional(), principal: Principal, at: LogTimeMs }).optional(),
  progress: z.looseObject({ text: z.string(), at: LogTimeMs }).optional(),
  enqueuedBy: Principal.optional(),
  origin: ItemOrigin.optional().describe("Of a restored item: which item it was made of."),
  item: ItemView.optional(),
  lease: z
    .looseObject({ token: Token, principal: Principal, peerId: PeerId, grantedAt: LogTimeMs, expiresAt: LogTimeMs })
    .optional(),
  lastError: LastError.optional(),
  deadLetter: z.looseObject({ reason: z.string(), code: z.string().optional(), at: LogTimeMs }).optional(),
  result: z.string().optional().describe("Of a completed item, as long as it is kept."),
});
const GetReply = z.looseObject({ ...cited, results: resultsOf(ItemRecord) });
const ListReply = z.looseObject({
  ...cited,
  items: z.array(ItemRecord).describe("In order of enqueue. Bodies are left out; `get` has them."),
  cursor: z
    .string()
    .optional()
    .describe("Present when there may be more; a page may be short, or empty, with a cursor."),
  drained: z.array(DrainItem).optional().describe("With `drainId`: the marked items with all that restoring needs."),
});
const next = LogTimeMs.optional().describe("Its next tick; absent while it is paused.");
const SchedulePutReply = z.looseObject({
  ...cited,
  name: ScheduleName,
  next,
  duplicate: z.boolean().describe("Whether it was there like this before."),
});
const Schedule = z.looseObject({
  name: ScheduleName,
  ...scheduleFields,
  item: ScheduleItem.loose(),
  next,
  putBy: Principal.describe("Who put it: its items are enqueued in this name."),
});
const ScheduleListReply = z.looseObject({
  ...cited,
  schedules: z.array(Schedule).describe("In order of their names."),
  cursor: z.string().optional().describe("Present when there are more."),
});
const ScheduleDeleteReply = z.looseObject({
  ...cited,
  name: ScheduleName,
  deleted: z.boolean().describe("False when there was none."),
});
const StatsReply = z.looseObject({
  ...cited,
  ...counts,
  deadLettered: z.int().min(0),
  leader: PeerId,
  region: z.string(),
  shard: z.string(),
  logId: z.string(),
  logVersion: z.int().min(1).describe("State version of the log; `configure` raises it."),
  at: LogTimeMs,
  paused: z.boolean(),
  drain: z
    .looseObject({
      drainId: DrainId,
      sequence: Sequence,
      at: LogTimeMs,
      leases: z.enum(DRAIN_LEASES),
      principal: Principal,
      discarding: z.boolean(),
      marked: z.int().min(0),
    })
    .optional()
    .describe("While one is on."),
  enqueued: z.int().min(0),
  completed: z.int().min(0),
  removed: z.int().min(0).describe("Items that were cancelled, purged or discarded."),
  bodyBytes: z.int().min(0),
  oldestPendingAt: LogTimeMs.optional(),
  backpressure: z
    .looseObject({
      active: z.boolean().describe("Whether `enqueue` is refused."),
      since: LogTimeMs.optional().describe("Since when it is. Absent, as what follows, in a log of state version 1."),
      pendingLow: z.int().min(0).optional().describe("Pending items at which it may end."),
      bodyBytesLow: z.int().min(0).optional().describe("Bytes of unfinished bodies at which it may end."),
    })
    .optional()
    .describe("The watermarks are in `options`. Absent from a leader of an older release."),
  stateHash: z.string(),
  options: ShardOptions.loose(),
  followers: Followers,
});

const QuotasReply = z.looseObject({
  ...cited,
  quotas: z
    .array(
      z.looseObject({
        name: z.string(),
        quota: Quota,
        leased: z.int().min(0).describe("Leases that live; of the names together that the quota is for."),
        until: LogTimeMs.optional().describe("When its rate grants the next one, where it grants none now. ms."),
      }),
    )
    .describe("By name."),
  cursor: z.string().optional().describe("Present when there are more."),
});

/** The one schema of each verb's reply. A reply may also be `{ error }`. */
export const REPLIES = {
  enqueue: EnqueueReply,
  lease: LeaseReply,
  heartbeat: HeartbeatReply,
  complete: CompleteReply,
  fail: FailReply,
  release: CompleteReply,
  cancel: CancelReply,
  redrive: DeadLettersReply,
  purge: DeadLettersReply,
  pause: PauseReply,
  resume: PauseReply,
  drain: DrainReply,
  restore: RestoreReply,
  discard: DiscardReply,
  evict: EvictReply,
  configure: ConfigureReply,
  handover: HandoverReply,
  get: GetReply,
  list: ListReply,
  explain: ExplainReply,
  "schedule-put": SchedulePutReply,
  "schedule-list": ScheduleListReply,
  "schedule-delete": ScheduleDeleteReply,
  stats: StatsReply,
  quotas: QuotasReply,
} as const satisfies Record<Verb, z.ZodType>;
export type ReplyOf<V extends Verb> = z.infer<(typeof REPLIES)[V]>;
export const ErrorReply = z.looseObject({ error: ErrorBodySchema });

/** The leader's beat on `omnirelay.ready.<region>.<shard>`. */
export const Beat = z.looseObject({
  logId: z.string(),
  term: z.int().min(0),
  leader: PeerId,
  sequence: Sequence,
  streamSequence: Sequence,
  incarnation: z.string().min(1).max(64),
  state: z.enum(["leading", "stopping"]),
});
export type Beat = z.infer<typeof Beat>;
