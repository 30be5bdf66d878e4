/**
 * What nearly every reply with entries looks like, checked by hand: the schema takes ten times as long, and leaves garbage. It only says yes;
 * whatever it does not know is left to the schema, so what is accepted is the schema's (a property test compares).
 */
import { isSafeKey } from "./ids.ts";
import { ATTRIBUTE_NAME_LENGTH_MAX, ATTRIBUTE_VALUE_LENGTH_MAX, ATTRIBUTES_MAX, ITEM_ID_LENGTH_MAX } from "./limits.ts";
import { type Check, isFields, isInt, isText } from "./plain-checks.ts";
import type { Verb } from "./subjects.ts";

/** By verb: the field of its entries, and the check of one that is no refusal. */
const ENTRIES: Partial<Record<Verb, readonly [string, Check]>> = {
  enqueue: ["results", isEnqueued],
  lease: ["leases", isLease],
  heartbeat: ["results", isRenewal],
  complete: ["results", isSettled],
  release: ["results", isSettled],
};

/** Whether a reply is one that its schema takes and leaves as it is. False says nothing. */
export function isPlainReply(verb: Verb, reply: Readonly<Record<string, unknown>>): boolean {
  const known = ENTRIES[verb];
  if (known === undefined || !isInt(reply["term"], 0) || !isInt(reply["sequence"], 0)) return false;
  if (verb === "enqueue" && !(isInt(reply["pending"], 0) && isInt(reply["active"], 0))) return false;
  if (reply["reason"] !== undefined) return false;
  const [name, check] = known;
  const entries = reply[name];
  return Array.isArray(entries) && entries.every(check);
}

function isEnqueued(value: unknown): boolean {
  if (!isFields(value) || value["error"] !== undefined) return false;
  const { itemId, sequence, duplicate } = value;
  return isText(itemId, 1, ITEM_ID_LENGTH_MAX) && isInt(sequence, 0) && typeof duplicate === "boolean";
}

function isSettled(value: unknown): boolean {
  return isFields(value) && value["error"] === undefined && typeof value["duplicate"] === "boolean";
}

function isRenewal(value: unknown): boolean {
  if (!isFields(value) || value["error"] !== undefined || value["cancelRequested"] !== undefined) return false;
  return isInt(value["expiresAt"], 0) && isAtLeast(value["validMs"], 0);
}

function isLease(value: unknown): boolean {
  if (!isFields(value) || value["lastError"] !== undefined || value["dependencies"] !== undefined) return false;
  const { itemId, token, fenceKey, attempt, expiresAt, validMs, heartbeatMs, enqueuedAt, item } = value;
  return (
    isText(itemId, 1, ITEM_ID_LENGTH_MAX) &&
    isInt(token, 1) &&
    typeof fenceKey === "string" &&
    fenceKey !== "" &&
    isInt(attempt, 1) &&
    isInt(expiresAt, 0) &&
    isAtLeast(validMs, 0) &&
    isAtLeast(heartbeatMs, 1) &&
    isInt(enqueuedAt, 0) &&
    isItem(item)
  );
}

function isItem(value: unknown): boolean {
  if (!isFields(value)) return false;
  const { resourceType, resourceId, partitionKey, payloadEncoding, body, attributes, requestId } = value;
  return (
    typeof resourceType === "string" &&
    typeof resourceId === "string" &&
    isOptionalText(partitionKey) &&
    typeof payloadEncoding === "string" &&
    typeof body === "string" &&
    isAttributes(attributes) &&
    isOptionalText(requestId)
  );
}

const isOptionalText: Check = (value) => value === undefined || typeof value === "string";
const isAtLeast = (value: unknown, least: number): boolean =>
  typeof value === "number" && Number.isFinite(value) && value >= least;

function isAttributes(value: unknown): boolean {
  if (!isFields(value)) return false;
  let count = 0;
  for (const name in value) {
    count += 1;
    if (count > ATTRIBUTES_MAX || !isSafeKey(name) || !isText(name, 1, ATTRIBUTE_NAME_LENGTH_MAX)) return false;
    if (!isText(value[name], 0, ATTRIBUTE_VALUE_LENGTH_MAX)) return false;
  }
  return true;
}
