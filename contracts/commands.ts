/** The requests of the RPC surface, verb by verb: strict schemas, so that a typo or a field not built yet is refused. */
import { z } from "zod";
import { DRAIN_LEASES, DrainId, DrainOrigin, drainItemOf } from "./drain.ts";
import { DependsOn, FailurePolicy, RequestedDependsOn } from "./flows.ts";
import { FollowersPatch } from "./followers.ts";
import {
  ItemId,
  isSafeKey,
  LogTimeMs,
  PartitionKey,
  PeerId,
  RequestId,
  ResourceId,
  ResourceType,
  Sequence,
  Token,
  wellFormed,
} from "./ids.ts";
import {
  ATTEMPTS_MAX,
  ATTRIBUTE_NAME_LENGTH_MAX,
  ATTRIBUTE_VALUE_LENGTH_MAX,
  ATTRIBUTES_MAX,
  DELAY_MS_MAX,
  ENTRIES_PER_REQUEST_MAX,
  FAILURE_CODE_LENGTH_MAX,
  ITEM_BYTES_MAX,
  LEASE_DURATION_MS_MAX,
  LEASE_DURATION_MS_MIN,
  PAGE_SIZE_MAX,
  PRIORITY_MAX,
  PROGRESS_LENGTH_MAX,
  REASON_LENGTH_MAX,
  REQUEST_BYTES_MAX,
  RESOURCE_TYPES_PER_FILTER_MAX,
  RESTORE_BYTES_MAX,
  RESULT_BYTES_MAX,
  RETRY_DELAYS_MAX,
  TIMEOUT_MS_MAX,
  UNIQUE_KEY_LENGTH_MAX,
  WAIT_MS_MAX,
} from "./limits.ts";
import { Exclusivity, ShardOptionsPatch } from "./options.ts";
import { GroupName, QuotaName, QuotasPatch } from "./quotas.ts";
import { ScheduleName, scheduleFields, schedulePage } from "./schedules.ts";
import type { Verb } from "./subjects.ts";

/** What every request may carry. */
const envelope = {
  apiVersion: z.int().min(0).optional().describe("Version of this contract; 1."),
  requestId: RequestId.optional().describe("Makes the request idempotent per principal."),
  timeoutMs: z
    .int()
    .min(1)
    .max(TIMEOUT_MS_MAX)
    .optional()
    .describe("How long to wait for the outcome. ms; 5,000 by default."),
  minSequence: Sequence.optional().describe("Answer only from a state that has at least this sequence."),
  consistent: z.boolean().optional().describe("Confirm through the log that the answer is current."),
  after: Sequence.optional().describe("The sequence known when the request id was first used; see Idempotency."),
};

/** Attribute names and values; names that reach into prototypes are refused. */
export const Attributes = z
  .record(
    wellFormed(z.string().min(1).max(ATTRIBUTE_NAME_LENGTH_MAX)),
    wellFormed(z.string().max(ATTRIBUTE_VALUE_LENGTH_MAX)),
  )
  .refine((attributes) => Object.keys(attributes).length <= ATTRIBUTES_MAX, {
    error: `at most ${ATTRIBUTES_MAX} attributes`,
  })
  .refine((attributes) => Object.keys(attributes).every(isSafeKey), { error: "an attribute name is not allowed" });

const durationMs = z.int().min(LEASE_DURATION_MS_MIN).max(LEASE_DURATION_MS_MAX);

const MEDIA_TYPE = /^[a-z0-9!#$&^_.+-]+\/[a-z0-9!#$&^_.+-]+(;[a-z0-9=_.-]+)*$/i;

const delayMs = z.int().min(0).max(DELAY_MS_MAX);

/** How long to wait before an item that failed is granted again. */
export const RetryPolicy = z
  .discriminatedUnion("kind", [
    z.strictObject({ kind: z.literal("none") }),
    z.strictObject({ kind: z.literal("fixed"), delayMs }),
    z.strictObject({
      kind: z.literal("exponential"),
      firstMs: z.int().min(1).max(DELAY_MS_MAX),
      maxMs: z.int().min(1).max(DELAY_MS_MAX),
    }),
    z.strictObject({ kind: z.literal("list"), delaysMs: z.array(delayMs).min(1).max(RETRY_DELAYS_MAX) }),
  ])
  .refine((policy) => policy.kind !== "exponential" || policy.firstMs <= policy.maxMs, {
    error: "firstMs must be at most maxMs",
  })
  .describe(
    "Delay before the item is granted again after a failure or an expiry: none; fixed; exponential (a random part of firstMs, doubled with each charged attempt up to maxMs); list (one delay for each charged attempt, the last for all others). The shard's options by default. ms.",
  );
export type RetryPolicy = Readonly<z.infer<typeof RetryPolicy>>;

/** What is to be worked on. `body` is opaque text; bytes travel as base64 with the encoding's suffix `;base64`. */
export const ItemPayload = z.strictObject({
  resourceType: ResourceType,
  resourceId: ResourceId,
  partitionKey: PartitionKey.optional(),
  payloadEncoding: z.string().max(128).regex(MEDIA_TYPE).optional(),
  body: wellFormed(z.string().max(ITEM_BYTES_MAX)).optional(),
  attributes: Attributes.optional(),
  exclusivity: Exclusivity.optional(),
  maxAttempts: z.int().min(1).max(ATTEMPTS_MAX).optional(),
  priority: z
    .int()
    .min(0)
    .max(PRIORITY_MAX)
    .optional()
    .describe("Higher goes first; 0 by default. Within a partition the order is that of the enqueue all the same."),
  notBefore: LogTimeMs.optional().describe("Log time before which the item is not granted. ms."),
  notAfter: LogTimeMs.optional().describe(
    "Log time from which on the item is granted no more: it is dead-lettered unless it is leased then. ms.",
  ),
  leaseDurationMs: durationMs.optional().describe("Length of its leases where the worker asks for none. ms."),
  retry: RetryPolicy.optional(),
  uniqueKey: wellFormed(z.string().min(1).max(UNIQUE_KEY_LENGTH_MAX))
    .optional()
    .describe(
      "At most one pending or leased item has it: an enqueue while there is one answers that one as a duplicate.",
    ),
  group: GroupName.optional().describe(
    "Who it is done for: groups share a shard's workers where `fairness` is `groups`, and a group may have a quota.",
  ),
  quotaKey: GroupName.optional().describe("What it needs, a database or a service, where that has a quota."),
  dependsOn: DependsOn,
  onDependencyFailure: FailurePolicy.optional(),
});
export type ItemPayload = Readonly<z.infer<typeof ItemPayload>>;

const EnqueueFields = z.strictObject({
  ...ItemPayload.shape,
  dependsOn: RequestedDependsOn,
  delayMs: delayMs.optional().describe("The same as notBefore, counted from the enqueue. ms."),
  requestId: RequestId.optional().describe(
    "Makes this item idempotent per principal, in whatever request it stands. Never the same as an id of a request.",
  ),
});
export const EnqueueItem = EnqueueFields.refine((item) => item.delayMs === undefined || item.notBefore === undefined, {
  error: "delayMs and notBefore exclude each other",
  path: ["delayMs"],
})
  .refine((item) => item.notAfter === undefined || item.notBefore === undefined || item.notBefore < item.notAfter, {
    error: "must be after notBefore",
    path: ["notAfter"],
  })
  .refine((item) => item.onDependencyFailure === undefined || item.dependsOn !== undefined, {
    error: "needs dependsOn",
    path: ["onDependencyFailure"],
  });
export type EnqueueItem = Readonly<z.infer<typeof EnqueueItem>>;

const LeaseRef = z.strictObject({ itemId: ItemId, token: Token });
const entriesOf = <Entry extends z.ZodType>(entry: Entry) => z.array(entry).min(1).max(ENTRIES_PER_REQUEST_MAX);

const EnqueueRequest = z
  .strictObject({
    ...envelope,
    requestId: RequestId.optional().describe(
      "Makes the request idempotent per principal, as a whole: with other items, more, fewer or in another order, all are `conflict`.",
    ),
    items: entriesOf(EnqueueItem),
  })
  .refine((request) => request.requestId === undefined || request.items.every((item) => item.requestId === undefined), {
    error: "a request-level requestId and a requestId of an item exclude each other",
    path: ["requestId"],
  });
export const LeaseRequest = z.strictObject({
  ...envelope,
  peerId: PeerId.optional().describe(
    "The process of the principal that takes the leases; the principal itself by default.",
  ),
  maxItems: z.int().min(1).max(ENTRIES_PER_REQUEST_MAX).default(1),
  waitMs: z.int().min(0).max(WAIT_MS_MAX).default(0).describe("Long poll: how long to wait for the first item. ms."),
  leaseDurationMs: durationMs.optional(),
  resourceTypes: z.array(ResourceType).min(1).max(RESOURCE_TYPES_PER_FILTER_MAX).optional(),
});
export const HeartbeatRequest = z.strictObject({
  ...envelope,
  leases: entriesOf(
    z.strictObject({
      ...LeaseRef.shape,
      progress: wellFormed(z.string().max(PROGRESS_LENGTH_MAX))
        .optional()
        .describe("How far the work is, for people; always written."),
    }),
  ),
  extendMs: durationMs.optional().describe("New length from now; always written. By default the length of the grant."),
});
const Result = wellFormed(z.string().max(RESULT_BYTES_MAX));
export const CompleteRequest = z.strictObject({
  ...envelope,
  leases: entriesOf(z.strictObject({ ...LeaseRef.shape, result: Result.optional() })),
});
export const FailRequest = z.strictObject({
  ...envelope,
  leases: entriesOf(
    z.strictObject({
      ...LeaseRef.shape,
      reason: wellFormed(z.string().min(1).max(REASON_LENGTH_MAX)),
      code: z
        .string()
        .regex(/^[A-Za-z0-9_.-]+$/)
        .max(FAILURE_CODE_LENGTH_MAX)
        .optional(),
      requeue: z.boolean().default(true),
      delayMs: delayMs
        .optional()
        .describe("Delay before the item is granted again, instead of what its policy says. ms."),
      penalty: z
        .boolean()
        .optional()
        .describe(
          "Whether the attempt counts towards maxAttempts, true by default; if not, no policy delays the item either.",
        ),
    }),
  ),
});
export const ReleaseRequest = z.strictObject({ ...envelope, leases: entriesOf(LeaseRef) });
const CancelRequest = z.strictObject({
  ...envelope,
  itemIds: entriesOf(ItemId),
  reason: wellFormed(z.string().min(1).max(REASON_LENGTH_MAX)).optional(),
});
const RedriveRequest = z.strictObject({
  ...envelope,
  itemIds: entriesOf(ItemId),
  everyMs: z
    .int()
    .min(0)
    .max(DELAY_MS_MAX)
    .optional()
    .describe("Time between two of them: each is delayed by so much more than the one before. ms; 0 by default."),
});
const PurgeRequest = z.strictObject({ ...envelope, itemIds: entriesOf(ItemId) });
const ExplainRequest = z.strictObject({ ...envelope, itemId: ItemId });
const PauseRequest = z.strictObject({ ...envelope });
const ResumeRequest = z.strictObject({ ...envelope });
/** As an export holds it: what it depends on stands beside it, with how that ended. */
export const RestoredPayload = ItemPayload.omit({ dependsOn: true });
export const DrainItem = drainItemOf(RestoredPayload);
export type DrainItem = Readonly<z.infer<typeof DrainItem>>;
const DrainRequest = z.strictObject({
  ...envelope,
  drainId: DrainId,
  leases: z
    .enum(DRAIN_LEASES)
    .default("wait")
    .describe("What becomes of the leases that live: they end as always, or the leader ends them."),
});
const RestoreRequest = z
  .strictObject({
    ...envelope,
    drainId: DrainId,
    origin: DrainOrigin.optional().describe("The shard that the items were exported from."),
    items: entriesOf(DrainItem)
      .optional()
      .describe("Items of an export, which are made anew here; without them the drain ends and its items go on."),
  })
  .refine((request) => (request.origin === undefined) === (request.items === undefined), {
    error: "origin and items belong together",
    path: ["origin"],
  });
const DiscardRequest = z.strictObject({ ...envelope, drainId: DrainId });
const EvictRequest = z.strictObject({ ...envelope, peerId: PeerId.describe("Whose leases end.") });
const ConfigureRequest = z.strictObject({
  ...envelope,
  options: ShardOptionsPatch.default({}),
  logVersion: z
    .int()
    .min(1)
    .optional()
    .describe("Raises the state version of the log, once every registered follower reads it. It is never lowered."),
  followers: FollowersPatch.optional().describe("Followers to register or, with null, to remove, by name."),
  quotas: QuotasPatch.optional().describe(
    "Quotas of groups and quota keys to set or, with null, to remove, by name; at most 64 in one request.",
  ),
});
const HandoverRequest = z.strictObject({
  ...envelope,
  to: PeerId.optional().describe("The dispatcher that should lead; the one that leads least by default."),
  after: Sequence.optional().describe(
    "The sequence known when the request id was first used. A leader whose term began behind it answers a repeat without `to` with itself: the leadership has moved.",
  ),
});
const GetRequest = z.strictObject({ ...envelope, itemIds: entriesOf(ItemId) });
export const LIST_STATUSES = ["pending", "leased", "deadLettered"] as const;
const ListFields = z.strictObject({
  ...envelope,
  drainId: DrainId.optional().describe("The items that this drain has marked, as `drained`; excludes every filter."),
  status: z.enum(LIST_STATUSES).optional(),
  resourceType: ResourceType.optional(),
  resourceId: ResourceId.optional(),
  partitionKey: PartitionKey.optional(),
  code: z.string().max(FAILURE_CODE_LENGTH_MAX).optional().describe("Only dead letters with this code."),
  limit: z.int().min(1).max(PAGE_SIZE_MAX).optional(),
  cursor: z
    .string()
    .regex(/^[0-9a-z]{1,16}$/)
    .optional(),
});
const ListRequest = ListFields.refine(
  ({ drainId, status, resourceType, resourceId, partitionKey, code }) =>
    drainId === undefined || (status ?? resourceType ?? resourceId ?? partitionKey ?? code) === undefined,
  { error: "excludes every filter", path: ["drainId"] },
);
/** What each tick of a schedule enqueues: its times follow from the tick. */
export const ScheduleItem = ItemPayload.omit({
  notBefore: true,
  notAfter: true,
  dependsOn: true,
  onDependencyFailure: true,
});
const SchedulePutRequest = z.strictObject({ ...envelope, name: ScheduleName, ...scheduleFields, item: ScheduleItem });
const ScheduleListRequest = z.strictObject({ ...envelope, ...schedulePage });
const ScheduleDeleteRequest = z.strictObject({ ...envelope, name: ScheduleName });
const StatsRequest = z.strictObject({ ...envelope });
const QuotasRequest = z.strictObject({
  ...envelope,
  limit: z.int().min(1).max(PAGE_SIZE_MAX).optional(),
  cursor: QuotaName.optional().describe("The last name of the page before."),
});

/** The one schema of each verb's request. */
export const REQUESTS = {
  enqueue: EnqueueRequest,
  lease: LeaseRequest,
  heartbeat: HeartbeatRequest,
  complete: CompleteRequest,
  fail: FailRequest,
  release: ReleaseRequest,
  cancel: CancelRequest,
  redrive: RedriveRequest,
  purge: PurgeRequest,
  pause: PauseRequest,
  resume: ResumeRequest,
  drain: DrainRequest,
  restore: RestoreRequest,
  discard: DiscardRequest,
  evict: EvictRequest,
  configure: ConfigureRequest,
  handover: HandoverRequest,
  get: GetRequest,
  list: ListRequest,
  explain: ExplainRequest,
  "schedule-put": SchedulePutRequest,
  "schedule-list": ScheduleListRequest,
  "schedule-delete": ScheduleDeleteRequest,
  stats: StatsRequest,
  quotas: QuotasRequest,
} as const satisfies Record<Verb, z.ZodType>;

/** A parsed request of a verb. */
export type RequestOf<V extends Verb> = Readonly<z.output<(typeof REQUESTS)[V]>>;
/** What a caller writes for a verb: fields with defaults may be left out. */
export type RequestInput<V extends Verb> = Readonly<z.input<(typeof REQUESTS)[V]>>;

/** A parsed request with its verb. */
export type Command = { readonly [V in Verb]: { readonly verb: V; readonly request: RequestOf<V> } }[Verb];
export type CommandOf<V extends Verb> = Extract<Command, { readonly verb: V }>;
/** What `execute` of the core takes: leadership is no part of the state machine, the node hands it over. */
export type ShardCommand = Exclude<Command, CommandOf<"handover">>;

/** Largest body of a request. Bytes. */
export const requestBytesMax = (verb: Verb): number => (verb === "restore" ? RESTORE_BYTES_MAX : REQUEST_BYTES_MAX);
