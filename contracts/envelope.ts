/** The outward event: what everything outside of the dispatcher learns of the log. One log event is one outward event of the same sequence. */
import { z } from "zod";
import { ItemPayload } from "./commands.ts";
import type { EventType } from "./events.ts";
import {
  ChainValue,
  ItemId,
  LogId,
  PeerId,
  RegionName,
  ResourceId,
  ResourceType,
  Sequence,
  ShardName,
  Token,
} from "./ids.ts";

/** Version of the envelope. Fields may be added within a version; what changes or goes raises it. */
export const ENVELOPE_VERSION = 1;

/** What each event of the log is called outside. The first seven are the words of the systems that this one replaces. */
export const OUTWARD_TYPES = {
  enqueued: "Enqueue",
  leased: "LeaseGranted",
  renewed: "Heartbeat",
  completed: "Completed",
  failed: "Failed",
  drained: "DrainSnapshot",
  restored: "RestoreSnapshot",
  expired: "Expired",
  deadLettered: "DeadLettered",
  released: "Released",
  cancelled: "Cancelled",
  redriven: "Redriven",
  purged: "Purged",
  paused: "Paused",
  resumed: "Resumed",
  discarded: "Discarded",
  scheduled: "Scheduled",
  unscheduled: "Unscheduled",
  tickSkipped: "TickSkipped",
  logCreated: "LogCreated",
  termStarted: "TermStarted",
  termReleased: "TermReleased",
  configured: "Configured",
  stateHash: "StateHash",
} as const satisfies Record<EventType, string>;
export type OutwardType = (typeof OUTWARD_TYPES)[EventType];
const OUTWARD_TYPE_NAMES = Object.values(OUTWARD_TYPES);
export const OutwardType = z.enum(OUTWARD_TYPE_NAMES as [OutwardType, ...OutwardType[]]);

const EventMetadata = z.looseObject({
  "shard.id": ShardName,
  region: RegionName,
  "log.id": LogId,
  "log.term": z.int().min(0),
  "log.streamSequence": Sequence.describe("Message of the shard's stream that holds the event."),
  "log.chain": ChainValue.describe("Chain value of that message: with shard and sequence it names the event for ever."),
  "queue.pending": z.int().min(0).describe("Pending items behind the event's frame."),
  "queue.active": z.int().min(0).describe("Leased items behind the event's frame."),
  "rpc.principal": z.string().optional().describe("Who asked for it; absent for what the leader does by itself."),
  "rpc.peer": PeerId.optional(),
  "trace.parent": z.string().optional().describe("W3C trace context of the request."),
});

export const ReplicationEvent = z.looseObject({
  schemaVersion: z.literal(ENVELOPE_VERSION),
  sequenceNumber: z.int().min(1).describe("Event sequence: gap-free in its shard."),
  timestamp: z.iso.datetime({ precision: 3 }).describe("Log time, UTC."),
  eventType: OutwardType,
  itemId: ItemId.optional(),
  resourceType: ResourceType.optional(),
  resourceId: ResourceId.optional(),
  ownerPeerId: PeerId.optional().describe("Peer that holds, or held, the lease."),
  ownershipToken: Token.optional().describe("Fencing token of the lease."),
  resourceLeaseItemPayload: ItemPayload.loose()
    .optional()
    .describe("On Enqueue, and on a RestoreSnapshot that makes an item."),
  error: z.looseObject({ code: z.string(), message: z.string() }).optional(),
  details: z
    .record(z.string(), z.unknown())
    .optional()
    .describe("All else that the event of the log says, named as there."),
  metadata: EventMetadata,
  deterministic: z.looseObject({
    effectId: z.string().describe("`<log id>/seq/<sequence>`: an effect of this id is wanted once."),
  }),
});
export type ReplicationEvent = Readonly<z.infer<typeof ReplicationEvent>>;
export type EventMetadata = Readonly<z.infer<typeof EventMetadata>>;

export const effectId = (logId: string, sequence: number): string => `${logId}/seq/${sequence}`;
