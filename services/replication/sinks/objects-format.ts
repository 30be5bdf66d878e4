/**
 * What one object looks like: JSON as a whole, and line by line as well, so that both a JSON parser and `head`, `grep` and `sha256sum` can
 * read it. The first line is the head, each further one an event, the last one the checksum of all lines before it.
 */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { z } from "zod";
import { OperatingError } from "../../../contracts/errors.ts";
import { Checkpoint } from "../../../contracts/followers.ts";
import { LogId, RegionName, ShardName } from "../../../contracts/ids.ts";
import { sequenceOfName } from "./objects-place.ts";
import { placeIn } from "./places.ts";

/** Layout of objects and manifest. Never reused. */
export const OBJECT_SCHEMA = 1;

export const ObjectScope = z.strictObject({ region: RegionName, shard: ShardName, logId: LogId });

const ObjectHead = z.object({
  schema: z.literal(OBJECT_SCHEMA),
  scope: ObjectScope,
  after: Checkpoint.describe("Where the object before ends; the sequence behind it is this one's name."),
  upTo: Checkpoint.describe(
    "Where this one ends. Within a batch of the pump its `sequence` lies behind the named frame.",
  ),
  skipped: z
    .literal(true)
    .optional()
    .describe("Its events were left out on purpose: the sink began later, or was sent on."),
  count: z.int().min(0),
});
type ObjectHead = Readonly<z.infer<typeof ObjectHead>>;

/** What is known of an object that was read or written. */
export interface KnownObject extends Omit<ObjectHead, "schema"> {
  /** Of all its lines but the last. Two objects of the same one are the same. Hex. */
  readonly sha256: string;
}

export interface EncodedObject {
  readonly known: KnownObject;
  readonly bytes: Uint8Array;
}

const HEAD_END = ',"events":[';
const TAIL_BEGIN = '\n],"sha256":"';
const TAIL_END = '"}\n';
const DIGEST_LENGTH = 64;
const TAIL_LENGTH = TAIL_BEGIN.length + DIGEST_LENGTH + TAIL_END.length;

/** The same events at the same place give the same bytes, whoever writes them. `lines` are the events as JSON. */
export function encodeObject(head: Omit<ObjectHead, "schema" | "count">, lines: readonly string[]): EncodedObject {
  const { region, shard, logId } = head.scope;
  const [after, upTo] = [placeIn(head.after), placeIn(head.upTo)];
  assert(after.sequence < upTo.sequence, `an object covers something, not ${after.sequence} to ${upTo.sequence}`);
  const skipped = head.skipped === undefined ? {} : { skipped: head.skipped };
  const known = { scope: { region, shard, logId }, after, upTo, ...skipped, count: lines.length };
  const headLine = `${JSON.stringify({ schema: OBJECT_SCHEMA, ...known }).slice(0, -1)}${HEAD_END}`;
  const text = lines.length === 0 ? headLine : `${headLine}\n${lines.join(",\n")}`;
  // The checksum covers whole lines, so that tools which cut by lines see the same bytes.
  const sha256 = createHash("sha256").update(`${text}\n`).digest("hex");
  return { known: { ...known, sha256 }, bytes: Buffer.from(`${text}${TAIL_BEGIN}${sha256}${TAIL_END}`) };
}

/**
 * Reads and checks an object; its events are checked by the checksum only.
 * Throws: OperatingError, definite: `object_version` (a newer release wrote it), `object_damaged`.
 */
export function decodeObject(name: string, where: string, bytes: Uint8Array): KnownObject {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const headEnd = text.indexOf(`${HEAD_END}\n`);
  const headText = headEnd === -1 ? "" : `${text.toString("utf8", 0, headEnd)}}`;
  const value = parseJson(headText);
  refuseNewer(name, where, value ?? parseJson(text.toString()));
  const tail = text.toString("latin1", Math.max(0, text.length - TAIL_LENGTH));
  const [, told] = TAIL.exec(tail) ?? [];
  if (told === undefined) throw damaged(name, where, "it has no end");
  // With the line break that the tail begins with.
  const sha256 = createHash("sha256")
    .update(text.subarray(0, text.length - TAIL_LENGTH + 1))
    .digest("hex");
  if (sha256 !== told) throw damaged(name, where, "its checksum is not that of its contents");
  const head = ObjectHead.safeParse(value);
  if (!head.success) throw damaged(name, where, `its head cannot be read: ${z.prettifyError(head.error)}`);
  const { schema: _schema, ...known } = head.data;
  const first = known.after.sequence + 1;
  if (first !== sequenceOfName(name.slice(0, name.lastIndexOf("/")), name))
    throw damaged(name, where, `it begins with ${first} and has another's name`);
  return { ...known, sha256 };
}

const TAIL = new RegExp(`^\\n\\],"sha256":"([0-9a-f]{${DIGEST_LENGTH}})"\\}\\n$`);

/** Throws: OperatingError `object_version`, definite. */
export function refuseNewer(name: string, where: string, value: unknown): void {
  const { schema } = (value ?? {}) as { readonly schema?: unknown };
  if (typeof schema !== "number" || schema <= OBJECT_SCHEMA) return;
  const message = `${name} in ${where} was written by a newer release (schema ${schema}, this one reads ${OBJECT_SCHEMA}): start that release`;
  throw new OperatingError("object_version", message, { definite: true, details: { name, where, schema } });
}

export function damaged(name: string, where: string, why: string): OperatingError {
  const message = `${name} in ${where} is damaged: ${why}; put back a copy of it, or give the sink another place`;
  return new OperatingError("object_damaged", message, { definite: true, details: { name, where } });
}

/** Undefined for what is no JSON. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
