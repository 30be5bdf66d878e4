/**
 * Events and places as messages of `contracts/schemas/replication.proto`, and back, without any loss: what has no field there, or does not fit it, travels
 * as JSON beside the fields.
 */
import type { ReplicationEvent } from "../../contracts/envelope.ts";
import type { Checkpoint } from "../../contracts/followers.ts";

/** A message as the protobuf library takes and gives it. Absent fields are absent. */
export type ProtoMessage = Readonly<Record<string, unknown>>;
type Fields = Readonly<Record<string, unknown>>;

/** How a field of JSON travels: `json` as JSON text in bytes, a table as a message of its own. */
type Kind = "text" | "number" | "json" | FieldTable;
interface FieldTable {
  /** Name in JSON -> name in the message (as the library spells it) and kind. In the order that a decoded object has. */
  readonly byJson: ReadonlyMap<string, readonly [name: string, kind: Kind]>;
}

function table(fields: Readonly<Record<string, Kind | readonly [string, Kind]>>): FieldTable {
  const isNamed = (kind: Kind | readonly [string, Kind]): kind is readonly [string, Kind] => Array.isArray(kind);
  return {
    byJson: new Map(Object.entries(fields).map(([json, kind]) => [json, isNamed(kind) ? kind : [json, kind]])),
  };
}

const EVENT = table({
  ...{ schemaVersion: "number", sequenceNumber: "number", timestamp: "text", eventType: "text", itemId: "text" },
  ...{ resourceType: "text", resourceId: "text", ownerPeerId: "text", ownershipToken: "number" },
  resourceLeaseItemPayload: ["resourceLeaseItemPayloadJson", "json"],
  error: table({ code: "text", message: "text" }),
  details: ["detailsJson", "json"],
  metadata: table({
    "shard.id": ["shardId", "text"],
    region: "text",
    "log.id": ["logId", "text"],
    "log.term": ["logTerm", "number"],
    "log.streamSequence": ["logStreamSequence", "number"],
    "log.chain": ["logChain", "text"],
    "queue.pending": ["queuePending", "number"],
    "queue.active": ["queueActive", "number"],
    "rpc.principal": ["rpcPrincipal", "text"],
    "rpc.peer": ["rpcPeer", "text"],
    "trace.parent": ["traceParent", "text"],
  }),
  deterministic: table({ effectId: "text" }),
});
const CHECKPOINT = table({
  ...{ logId: "text", streamSequence: "number", sequence: "number", chain: "text", term: "number", at: "number" },
  ...{ first: "number", tokenEpoch: "number" },
});

export const eventToProto = (event: ReplicationEvent): ProtoMessage => toMessage(event, EVENT);
/** The place alone: a checkpoint may hold more, such as who moves it. */
export const checkpointToProto = (checkpoint: Checkpoint): ProtoMessage => {
  const { extraJson: _, ...message } = toMessage(checkpoint, CHECKPOINT);
  return message;
};

/** What a stranger sent, as an object that still has to be checked. Throws: SyntaxError where a field of JSON holds none. */
export const eventFromProto = (message: ProtoMessage): unknown => fromMessage(message, EVENT);
export const checkpointFromProto = (message: ProtoMessage): unknown => fromMessage(message, CHECKPOINT);

function toMessage(object: Fields, { byJson }: FieldTable): ProtoMessage {
  const message: Record<string, unknown> = {};
  let extra: Record<string, unknown> | undefined;
  for (const json of Object.keys(object)) {
    const value = object[json];
    if (value === undefined) continue;
    const [name, kind] = byJson.get(json) ?? [];
    const fitting = name === undefined || kind === undefined ? undefined : fitted(value, kind);
    if (name !== undefined && fitting !== undefined) message[name] = fitting;
    else {
      extra ??= Object.create(null) as Record<string, unknown>;
      extra[json] = value;
    }
  }
  if (extra !== undefined) message["extraJson"] = jsonBytes(extra);
  return message;
}

/** The value as its field takes it; undefined where it does not fit. */
function fitted(value: unknown, kind: Kind): unknown {
  if (kind === "text") return typeof value === "string" && value.isWellFormed() ? value : undefined;
  if (kind === "number") return Number.isSafeInteger(value) && (value as number) >= 0 ? value : undefined;
  if (kind === "json") return jsonBytes(value);
  return typeof value === "object" && value !== null ? toMessage(value as Fields, kind) : undefined;
}

const jsonBytes = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));

function fromMessage(message: ProtoMessage, { byJson }: FieldTable): unknown {
  const object: Record<string, unknown> = {};
  for (const [json, [name, kind]] of byJson) {
    const value = message[name];
    if (value === undefined || value === null) continue;
    if (kind === "json") object[json] = parsed(value);
    else object[json] = typeof kind === "string" ? value : fromMessage(value as ProtoMessage, kind);
  }
  const { extraJson } = message;
  // A spread makes own fields of everything, also of a name such as `__proto__`.
  return extraJson === undefined || extraJson === null ? object : { ...object, ...(parsed(extraJson) as object) };
}

const parsed = (bytes: unknown): unknown => JSON.parse((bytes as Buffer).toString("utf8"));
