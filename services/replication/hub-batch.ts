/** What a hub makes of the messages of a stranger: checked scopes, places and batches, or a typed error. */
import { z } from "zod";
import { ENVELOPE_VERSION } from "../../contracts/envelope.ts";
import { OperatingError } from "../../contracts/errors.ts";
import { Checkpoint, FollowerName } from "../../contracts/followers.ts";
import { ChainValue, LogId, RegionName, Sequence, ShardName } from "../../contracts/ids.ts";
import type { HubBatch, StoredEvent } from "./hub-store.ts";
import { checkpointFromProto, eventFromProto, type ProtoMessage } from "./proto-messages.ts";
import type { SinkScope } from "./sink.ts";

const Scope = z.strictObject({ sink: FollowerName, region: RegionName, shard: ShardName, logId: LogId });
/** Only what a hub goes by: it keeps what it does not know yet. */
const EventHead = z.looseObject({
  schemaVersion: z.int().min(1),
  sequenceNumber: Sequence.min(1),
  eventType: z.string().min(1).max(64),
  metadata: z.looseObject({
    "shard.id": z.string(),
    region: z.string(),
    "log.id": z.string(),
    "log.chain": ChainValue,
  }),
});

/** Throws: OperatingError `batch_refused` (definite). */
export function checkedScope(message: unknown): SinkScope {
  return checked("scope", Scope, message);
}

/** Throws: OperatingError `batch_refused` (definite). */
export function checkedPlace(name: string, message: unknown, { logId }: SinkScope): Checkpoint {
  const place = checked(
    name,
    Checkpoint,
    decoded(name, () => checkpointFromProto((message ?? {}) as ProtoMessage)),
  );
  if (place.logId !== logId) throw invalid(`${name} is a place of log ${place.logId}, the scope is of ${logId}`);
  return place;
}

/** Throws: OperatingError `batch_refused`, `unsupported_version` (all definite). */
export function checkedBatch(message: ProtoMessage): HubBatch {
  const scope = checkedScope(message["scope"]);
  const after = checkedPlace("after", message["after"], scope);
  const upTo = checkedPlace("up_to", message["upTo"], scope);
  if (upTo.sequence < after.sequence)
    throw invalid(`up_to is ${upTo.sequence}, which is before after, ${after.sequence}`);
  const events = ((message["events"] ?? []) as readonly ProtoMessage[]).map((event) => storedEvent(event, scope));
  let last = after.sequence;
  for (const { sequence } of events) {
    if (sequence <= last || sequence > upTo.sequence)
      throw invalid(`event ${sequence} does not lie behind ${last} and up to ${upTo.sequence}`);
    last = sequence;
  }
  return { scope, after, upTo, events };
}

function storedEvent(message: ProtoMessage, { region, shard, logId }: SinkScope): StoredEvent {
  const event = decoded("event", () => eventFromProto(message));
  const { schemaVersion, sequenceNumber: sequence, eventType, metadata } = checked("event", EventHead, event);
  if (schemaVersion > ENVELOPE_VERSION)
    throw new OperatingError(
      "unsupported_version",
      `event ${sequence} has version ${schemaVersion}, this hub knows ${ENVELOPE_VERSION}; upgrade the hub`,
      { definite: true, details: { sequence, schemaVersion, supported: ENVELOPE_VERSION } },
    );
  if (metadata["shard.id"] !== shard || metadata.region !== region || metadata["log.id"] !== logId)
    throw invalid(`event ${sequence} is of ${metadata.region}/${metadata["shard.id"]}, log ${metadata["log.id"]}`);
  return { sequence, chain: metadata["log.chain"], eventType, text: decoded("event", () => JSON.stringify(event)) };
}

function checked<T>(name: string, schema: z.ZodType<T>, value: unknown): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw invalid(`${name} is not what it must be: ${z.prettifyError(parsed.error)}`);
}

/** What a message holds as JSON may be none, or nested too deep to be written again. */
function decoded<T>(name: string, step: () => T): T {
  try {
    return step();
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof RangeError)
      throw invalid(`${name} holds what is no usable JSON: ${error.message}`, error);
    throw error;
  }
}

function invalid(message: string, cause?: unknown): OperatingError {
  return new OperatingError("batch_refused", message, { definite: true, ...(cause === undefined ? {} : { cause }) });
}
