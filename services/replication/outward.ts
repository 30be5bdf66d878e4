/** Log events as outward events. Pure, and without a copy of anything that a frame shares. */

import {
  ENVELOPE_VERSION,
  type EventMetadata,
  effectId,
  OUTWARD_TYPES,
  type ReplicationEvent,
} from "../../contracts/envelope.ts";
import { OperatingError } from "../../contracts/errors.ts";
import type { Actor, LogEvent } from "../../contracts/events.ts";
import type { Frame } from "../../contracts/frame.ts";
import { tokenOf } from "../../contracts/ids.ts";
import { TIMESTAMP_MS_MAX } from "../../contracts/limits.ts";

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

/** A frame at its place in the stream. */
export interface PlacedFrame {
  readonly frame: Frame;
  readonly streamSequence: number;
  readonly chain: string;
  /** In force before the frame; a `termStarted` in it changes it. */
  readonly tokenEpoch: number;
}

/** The token epoch behind a frame. */
export function tokenEpochBehind(frame: Frame, before: number): number {
  let epoch = before;
  for (const event of frame.events)
    if (event.type === "termStarted" || event.type === "logCreated") epoch = event.tokenEpoch;
  return epoch;
}

/**
 * The frame's events in order, those up to `after` left out. What events share (metadata of an actor) is one object.
 * Throws: OperatingError `log_time_invalid` (definite).
 */
export function outwardEvents(placed: PlacedFrame, after = 0): ReplicationEvent[] {
  const { frame, chain, streamSequence } = placed;
  const timestamp = timestampOf(frame);
  const own: EventMetadata = {
    "shard.id": frame.shard,
    region: frame.region,
    "log.id": frame.logId,
    "log.term": frame.term,
    "log.streamSequence": streamSequence,
    "log.chain": chain,
    "queue.pending": frame.pending,
    "queue.active": frame.active,
  };
  const byActor: (EventMetadata | undefined)[] = [];
  let epoch = placed.tokenEpoch;
  const outward: ReplicationEvent[] = [];
  for (let index = 0; index < frame.events.length; index += 1) {
    const event = frame.events[index];
    if (event === undefined) continue;
    if (event.type === "termStarted" || event.type === "logCreated") epoch = event.tokenEpoch;
    const sequence = frame.first + index;
    if (sequence <= after) continue;
    const actorIndex = "actor" in event ? event.actor : "askedBy" in event ? event.askedBy : undefined;
    const actor = actorIndex === undefined ? undefined : frame.actors[actorIndex];
    let metadata = own;
    if (actorIndex !== undefined && actor !== undefined) {
      metadata = byActor[actorIndex] ?? withActor(own, actor);
      byActor[actorIndex] = metadata;
    }
    outward.push(outwardEvent(event, { sequence, timestamp, epoch, metadata, actor, logId: frame.logId }));
  }
  return outward;
}

function timestampOf({ at, first }: Frame): string {
  if (at <= TIMESTAMP_MS_MAX) return new Date(at).toISOString();
  throw new OperatingError(
    "log_time_invalid",
    `the log time ${at} of event ${first} is behind the year 9999, which no timestamp can tell: the clock of its leader was wrong`,
    { definite: true, details: { at, sequence: first } },
  );
}

function withActor(own: EventMetadata, actor: Actor): EventMetadata {
  const metadata: Mutable<EventMetadata> = { ...own, "rpc.principal": actor.principal, "rpc.peer": actor.peerId };
  if (actor.trace !== undefined) metadata["trace.parent"] = actor.trace;
  return metadata;
}

interface Parts {
  readonly sequence: number;
  readonly timestamp: string;
  readonly epoch: number;
  readonly metadata: EventMetadata;
  readonly actor: Actor | undefined;
  readonly logId: string;
}

/** Said otherwise: the type by its outward name, and indexes into the frame's actors, which nobody outside has. */
const IN_METADATA: ReadonlySet<string> = new Set(["type", "actor", "askedBy"]);
/** Events of a lease that its holder caused: the actor is the owner. */
const OWNER_IS_ACTOR: ReadonlySet<string> = new Set(["leased", "renewed", "completed", "failed"]);
/** A lease that ends for a reason was taken from its holder, by an operator or by the leader. */
const isByOwner = (event: LogEvent): boolean =>
  OWNER_IS_ACTOR.has(event.type) || (event.type === "released" && event.reason === undefined);

function outwardEvent(event: LogEvent, parts: Parts): ReplicationEvent {
  const { sequence, timestamp, epoch, metadata, actor, logId } = parts;
  const outward: Mutable<ReplicationEvent> = {
    schemaVersion: ENVELOPE_VERSION,
    sequenceNumber: sequence,
    timestamp,
    eventType: OUTWARD_TYPES[event.type],
    metadata,
    deterministic: { effectId: effectId(logId, sequence) },
  };
  const details: Record<string, unknown> = {};
  let hasDetails = false;
  for (const name in event) {
    if (IN_METADATA.has(name)) continue;
    const value = (event as Record<string, unknown>)[name];
    if (name === "itemId") outward.itemId = value as string;
    else if (name === "resourceType") outward.resourceType = value as string;
    else if (name === "resourceId") outward.resourceId = value as string;
    else if (name === "token") outward.ownershipToken = value as number;
    else if (name === "item" && event.type === "enqueued") outward.resourceLeaseItemPayload = event.item;
    else {
      details[name] = value;
      hasDetails = true;
    }
  }
  if (hasDetails) outward.details = details;
  if (actor !== undefined && isByOwner(event)) outward.ownerPeerId = actor.peerId;
  finish(outward, event, { sequence, epoch });
  return outward;
}

/** What the envelope says in words of its own. */
function finish(
  outward: Mutable<ReplicationEvent>,
  event: LogEvent,
  { sequence, epoch }: { readonly sequence: number; readonly epoch: number },
): void {
  if (event.type === "leased") outward.ownershipToken = tokenOf(epoch, sequence);
  else if (event.type === "enqueued") {
    outward.resourceType = event.item.resourceType;
    outward.resourceId = event.item.resourceId;
  } else if (event.type === "restored" && event.entry !== undefined) {
    const { item, ...entry } = event.entry;
    outward.itemId = entry.itemId;
    outward.resourceType = item.resourceType;
    outward.resourceId = item.resourceId;
    outward.resourceLeaseItemPayload = item;
    outward.details = { drainId: event.drainId, entry };
  } else if (event.type === "failed") outward.error = { code: event.code ?? "failed", message: event.reason };
  else if (event.type === "expired") outward.error = { code: "lease_expired", message: event.reason };
  else if (event.type === "deadLettered") outward.error = { code: event.code, message: event.reason };
  // One that is only asked to end may still be completed.
  else if (event.type === "cancelled" && event.outcome === "ended")
    outward.error = { code: "cancelled", message: event.reason ?? "" };
}
