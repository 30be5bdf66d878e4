/** The events of the log: what happened, in the past tense, complete enough that a fold over them is the whole state. */
import { z } from "zod";
import { ItemPayload, RestoredPayload, ScheduleItem } from "./commands.ts";
import { DRAIN_LEASES, DrainId, ItemOrigin, itemPast } from "./drain.ts";
import { FollowersPatch } from "./followers.ts";
import {
  EntryRequestId,
  Hex64,
  ItemId,
  LogId,
  LogTimeMs,
  PeerId,
  Principal,
  ResourceId,
  ResourceType,
  Token,
  TokenEpoch,
} from "./ids.ts";
import { ShardOptions, ShardOptionsPatch } from "./options.ts";
import { QuotasPatch } from "./quotas.ts";
import { ScheduleName, scheduleFields, TickName } from "./schedules.ts";

/** Who caused events, once per frame; events point at it by index. */
export const Actor = z.strictObject({
  principal: Principal,
  peerId: PeerId,
  /** Of a `lease` request: its id and the digest of its contents. Other verbs carry ids in their events. */
  requestId: EntryRequestId.optional(),
  digest: Hex64.optional(),
  /** W3C trace context of the request. */
  trace: z.string().max(64).optional(),
});
export type Actor = Readonly<z.infer<typeof Actor>>;

const actor = z.int().min(0).describe("Index into the frame's actors.");
const item = { itemId: ItemId, resourceType: ResourceType, resourceId: ResourceId };
/** What became of the item: `cancelled` when that was asked for while it was leased. */
export const OUTCOMES = ["requeued", "deadLettered", "cancelled"] as const;
const outcome = z.enum(OUTCOMES);
const notBefore = LogTimeMs.optional().describe("From when on a requeued item is granted again; absent: at once.");

const LogCreated = z.strictObject({
  type: z.literal("logCreated"),
  logId: LogId,
  logVersion: z.int().min(1),
  options: ShardOptions,
  tokenEpoch: TokenEpoch,
  /** Where the state comes from when it is not empty: another log, a backup. Not built yet. */
  base: z.string().max(256).optional(),
});
const TermStarted = z.strictObject({
  type: z.literal("termStarted"),
  term: z.int().min(1),
  leader: PeerId,
  tokenEpoch: TokenEpoch,
});
const TermReleased = z.strictObject({
  type: z.literal("termReleased"),
  term: z.int().min(1),
  leader: PeerId,
  successor: PeerId.optional(),
  askedBy: z
    .int()
    .min(0)
    .optional()
    .describe(
      "Index into the frame's actors: who asked for the handover; absent when dispatchers stop or spread the shards.",
    ),
});
const Configured = z.strictObject({
  type: z.literal("configured"),
  actor,
  options: ShardOptionsPatch,
  followers: FollowersPatch.optional(),
  quotas: QuotasPatch.optional(),
  logVersion: z.int().min(2).optional(),
});
const Enqueued = z.strictObject({
  type: z.literal("enqueued"),
  actor,
  itemId: ItemId,
  item: ItemPayload,
  requestId: EntryRequestId.optional(),
  digest: Hex64.optional(),
  schedule: TickName.extend({ next: LogTimeMs.optional() })
    .optional()
    .describe(
      "The tick that made it, in the name of who put the schedule; from here on the schedule waits for `next`.",
    ),
});
/** Its event sequence, with the token epoch, is the fencing token. */
const Leased = z.strictObject({
  type: z.literal("leased"),
  actor,
  ...item,
  attempt: z.int().min(1),
  durationMs: z.int().min(1),
  expiresAt: LogTimeMs,
});
/** All leases that one request renewed; what a beat does not change is not written. */
const Renewed = z.strictObject({
  type: z.literal("renewed"),
  actor,
  leases: z
    .array(
      z.strictObject({
        ...{ itemId: ItemId, token: Token, durationMs: z.int().min(1), expiresAt: LogTimeMs },
        progress: z.string().optional(),
      }),
    )
    .min(1),
});
const Completed = z.strictObject({
  type: z.literal("completed"),
  actor,
  ...item,
  token: Token,
  digest: Hex64,
  result: z.string().optional(),
});
const Failed = z.strictObject({
  type: z.literal("failed"),
  actor,
  ...item,
  token: Token,
  digest: Hex64,
  reason: z.string(),
  code: z.string().optional(),
  outcome,
  notBefore,
  charged: z.literal(false).optional().describe("The attempt does not count towards maxAttempts."),
});
export const CANCEL_OUTCOMES = ["ended", "requested"] as const;
const EXPIRY_REASONS = ["duration", "age"] as const;
const Expired = z.strictObject({
  type: z.literal("expired"),
  ...item,
  token: Token,
  /** `duration`: no heartbeat came in time; `age`: the lease reached its maximum age. */
  reason: z.enum(EXPIRY_REASONS),
  outcome,
  notBefore,
});
/** A pending item that nobody gets any more; what a failure or an expiry dead-letters is said there. */
const DeadLettered = z.strictObject({ type: z.literal("deadLettered"), ...item, reason: z.string(), code: z.string() });
const RELEASE_REASONS = ["drained", "evicted"] as const;
const Released = z.strictObject({
  type: z.literal("released"),
  actor: actor.optional().describe("Absent: the leader did it for a drain."),
  ...item,
  token: Token,
  outcome: z.literal("cancelled").optional().describe("Absent: requeued."),
  reason: z.enum(RELEASE_REASONS).optional().describe("Absent: its holder gave it back."),
});
const Cancelled = z.strictObject({
  type: z.literal("cancelled"),
  actor: actor.optional().describe("Absent: the leader did it, for a dependency that was not completed."),
  ...item,
  reason: z.string().optional(),
  outcome: z
    .enum(CANCEL_OUTCOMES)
    .describe(
      "`ended`: nobody had it. `requested`: its holder hears of it; any end of its lease but completion ends it.",
    ),
});
/** A dead letter goes back to its place, with none of its attempts charged and without an end of its time. */
const Redriven = z.strictObject({ type: z.literal("redriven"), actor, ...item, notBefore });
/** A dead letter is no more. */
const Purged = z.strictObject({ type: z.literal("purged"), actor, ...item });
const Paused = z.strictObject({ type: z.literal("paused"), actor });
const Resumed = z.strictObject({ type: z.literal("resumed"), actor });
/** Nothing is granted from here on. Marked is what is pending or leased now, until it ends, dies or the drain is over. */
const Drained = z.strictObject({ type: z.literal("drained"), actor, drainId: DrainId, leases: z.enum(DRAIN_LEASES) });
const Restored = z.strictObject({
  type: z.literal("restored"),
  actor,
  drainId: DrainId,
  entry: z
    .strictObject({ itemId: ItemId, origin: ItemOrigin, ...itemPast, item: RestoredPayload })
    .optional()
    .describe("An item that is made anew from an export. Absent: the drain is over and its items go on."),
});
/** Marked items that nobody has end. With the last of them the drain is over. */
const Discarded = z.strictObject({ type: z.literal("discarded"), actor, drainId: DrainId, itemIds: z.array(ItemId) });
const { cron, timeZone, catchUp } = scheduleFields;
/** A schedule is put, or replaced as a whole. It waits for `next`; for nothing while it is paused. */
const Scheduled = z.strictObject({
  type: z.literal("scheduled"),
  actor,
  name: ScheduleName,
  ...{ cron, timeZone: timeZone.unwrap(), catchUp: catchUp.unwrap(), item: ScheduleItem },
  paused: z.literal(true).optional(),
  next: LogTimeMs.optional(),
});
const Unscheduled = z.strictObject({ type: z.literal("unscheduled"), actor, name: ScheduleName });
/** Ticks up to `tick` made no item: nobody was there for them, or an unfinished item has the unique key. */
const TickSkipped = z.strictObject({
  type: z.literal("tickSkipped"),
  name: ScheduleName,
  tick: LogTimeMs,
  next: LogTimeMs.optional(),
  reason: z.enum(["missed", "unique"]),
});
/** The state hash before this event. A follower that differs halts. */
const StateHashed = z.strictObject({ type: z.literal("stateHash"), hash: Hex64 });

export const EVENTS = {
  logCreated: LogCreated,
  termStarted: TermStarted,
  termReleased: TermReleased,
  configured: Configured,
  enqueued: Enqueued,
  leased: Leased,
  renewed: Renewed,
  completed: Completed,
  failed: Failed,
  expired: Expired,
  deadLettered: DeadLettered,
  released: Released,
  cancelled: Cancelled,
  redriven: Redriven,
  purged: Purged,
  paused: Paused,
  resumed: Resumed,
  drained: Drained,
  restored: Restored,
  discarded: Discarded,
  scheduled: Scheduled,
  unscheduled: Unscheduled,
  tickSkipped: TickSkipped,
  stateHash: StateHashed,
} as const;
export const LogEvent = z.discriminatedUnion("type", [
  LogCreated,
  TermStarted,
  TermReleased,
  Configured,
  Enqueued,
  Leased,
  Renewed,
  Completed,
  Failed,
  Expired,
  DeadLettered,
  Released,
  Cancelled,
  Redriven,
  Purged,
  Paused,
  Resumed,
  Drained,
  Restored,
  Discarded,
  Scheduled,
  Unscheduled,
  TickSkipped,
  StateHashed,
]);
export type LogEvent = Readonly<z.infer<typeof LogEvent>>;
export type EventType = LogEvent["type"];
export type EventOf<T extends EventType> = Extract<LogEvent, { readonly type: T }>;
