/** Encoded sizes without encoding: what texts weigh as JSON in a frame or a reply. */
import type { ItemPayload } from "../../contracts/commands.ts";
import type { EventOf, LogEvent } from "../../contracts/events.ts";
import { DEPENDENCY_BYTES } from "../../contracts/limits.ts";
import { DEPENDENCY_NAME_BYTES, EVENT_BYTES, PAYLOAD_BYTES, RETRY_BYTES } from "./limits.ts";

/** Bytes of a text as a JSON string in UTF-8, quotes included. */
export function jsonLength(text: string): number {
  let bytes = text.length + 2;
  for (let index = 0; index < text.length; index += 1) {
    const unit = text.charCodeAt(index);
    if (unit < 0x80) {
      if (unit >= 0x20 && unit !== 0x22 && unit !== 0x5c) continue;
      bytes += unit >= 0x20 || isShortEscape(unit) ? 1 : 5;
    } else if (unit < 0x800) bytes += 1;
    else if (unit >= 0xd800 && unit <= 0xdbff) {
      // A pair is two units and four bytes.
      bytes += 2;
      index += 1;
    } else bytes += 2;
  }
  return bytes;
}

/** Bytes of a text as JSON at most, without looking at it: an escape takes six. */
export const jsonLengthMax = (text: string): number => 6 * text.length + 2;

/** \b \t \n \f \r take two characters, other control characters six. */
function isShortEscape(unit: number): boolean {
  return unit === 8 || unit === 9 || unit === 10 || unit === 12 || unit === 13;
}

const optionalLength = (text: string | undefined): number => (text === undefined ? 0 : jsonLength(text));

/** Bytes of an item's payload as JSON, field names included, rounded up. */
export function payloadLength(payload: Omit<ItemPayload, "dependsOn">, bodyBytes: number): number {
  let bytes = PAYLOAD_BYTES + bodyBytes + jsonLength(payload.resourceType) + jsonLength(payload.resourceId);
  bytes += optionalLength(payload.partitionKey) + optionalLength(payload.payloadEncoding);
  bytes += optionalLength(payload.uniqueKey) + optionalLength(payload.group) + optionalLength(payload.quotaKey);
  if (payload.retry !== undefined) bytes += RETRY_BYTES;
  const attributes = payload.attributes;
  if (attributes === undefined) return bytes;
  for (const name in attributes) bytes += jsonLength(name) + jsonLength(attributes[name] as string) + 2;
  return bytes;
}

/** Bytes that an event takes in a frame, rounded up. */
export function eventLength(event: LogEvent): number {
  switch (event.type) {
    case "enqueued":
      return enqueuedLength(event, optionalLength(event.item.body));
    case "scheduled":
      return 2 * EVENT_BYTES + payloadLength(event.item, optionalLength(event.item.body)) + jsonLength(event.name);
    case "unscheduled":
    case "tickSkipped":
      return EVENT_BYTES + jsonLength(event.name);
    case "leased":
    case "released":
    case "expired":
    case "deadLettered":
    case "redriven":
    case "purged":
      return EVENT_BYTES + jsonLength(event.resourceType) + jsonLength(event.resourceId);
    case "completed":
      return EVENT_BYTES + jsonLength(event.resourceType) + jsonLength(event.resourceId) + optionalLength(event.result);
    case "failed":
      return EVENT_BYTES + jsonLength(event.resourceType) + jsonLength(event.resourceId) + jsonLength(event.reason);
    case "renewed":
      return event.leases.reduce((sum, { progress }) => sum + EVENT_BYTES + optionalLength(progress), EVENT_BYTES);
    case "cancelled":
      return EVENT_BYTES + jsonLength(event.resourceType) + jsonLength(event.resourceId) + optionalLength(event.reason);
    case "restored":
      return EVENT_BYTES + jsonLength(event.drainId) + restoredLength(event);
    case "discarded":
      return event.itemIds.reduce((sum, id) => sum + jsonLength(id) + 1, EVENT_BYTES + jsonLength(event.drainId));
    case "drained":
      return EVENT_BYTES + jsonLength(event.drainId);
    case "configured":
      return (4 + Object.keys(event.quotas ?? {}).length) * EVENT_BYTES;
    case "logCreated":
    case "termStarted":
    case "termReleased":
    case "paused":
    case "resumed":
    case "stateHash":
      return 4 * EVENT_BYTES;
  }
}

/** The same of an `enqueued` whose body is known to take so many. */
export function enqueuedLength({ item, requestId, schedule }: EventOf<"enqueued">, bodyBytes: number): number {
  const names = optionalLength(requestId) + optionalLength(schedule?.name);
  return EVENT_BYTES + payloadLength(item, bodyBytes) + DEPENDENCY_NAME_BYTES * (item.dependsOn?.length ?? 0) + names;
}

function restoredLength({ entry }: EventOf<"restored">): number {
  if (entry === undefined) return 0;
  const { origin, lastError, dependencies = [], schedule, item } = entry;
  const error = lastError === undefined ? 0 : 2 * EVENT_BYTES + jsonLength(lastError.reason);
  const waits = dependencies.reduce((sum, { result }) => sum + DEPENDENCY_BYTES + optionalLength(result), 0);
  const names = jsonLength(origin.itemId) + optionalLength(schedule?.name);
  const texts = names + payloadLength(item, optionalLength(item.body));
  return 2 * EVENT_BYTES + error + waits + texts;
}
