/** Turns a caller's entry into its JSON, checked against the contract's schema and limits; or into the refusal it would get. */
import type { z } from "zod";
import {
  CompleteRequest,
  EnqueueItem,
  FailRequest,
  HeartbeatRequest,
  ReleaseRequest,
} from "../../contracts/commands.ts";
import { ITEM_BYTES_MAX, RESULT_BYTES_MAX } from "../../contracts/limits.ts";
import { isPlainEntryOf } from "../../contracts/plain-requests.ts";
import { bytes } from "./body.ts";
import type { EncodedEntry } from "./entry.ts";
import { ENTRY_BYTES_MAX } from "./lane.ts";
import { check, checkedBy, type EntryResult, type Refusal, tooLarge } from "./refusal.ts";

/** What is to be worked on. A body of bytes travels as base64 under its `payloadEncoding` (or `application/octet-stream`). */
export type EnqueueInput = Omit<EnqueueItem, "body"> & { readonly body?: string | Uint8Array | undefined };

/** What names a lease: every lease that was granted is one. */
export interface LeaseRef {
  readonly itemId: string;
  readonly token: number;
}
export interface Beat extends LeaseRef {
  /** How far the work is, for people; at most 1,024 characters. */
  readonly progress?: string | undefined;
}
export interface Completion extends LeaseRef {
  /** Text that is kept with the completed item, at most 8 KiB. */
  readonly result?: string | undefined;
}
export interface Failure {
  /** For people; at most 1,024 characters. */
  readonly reason: string;
  /** For programs: `[A-Za-z0-9_.-]`, at most 64 characters. */
  readonly code?: string | undefined;
  /** False dead-letters the item at once. True by default. */
  readonly requeue?: boolean | undefined;
  /** Delay before the item is granted again, instead of what its retry policy says. ms. */
  readonly delayMs?: number | undefined;
  /** False: the attempt does not count towards the maximum. True by default. */
  readonly penalty?: boolean | undefined;
}

export type Encoded =
  | { readonly kind: "ok"; readonly entry: EncodedEntry }
  | { readonly kind: "refused"; readonly error: Refusal };

const ITEM_FIELDS = Object.keys(EnqueueItem.shape) as (keyof EnqueueItem)[];
const HEARTBEAT_ENTRY = HeartbeatRequest.shape.leases.element;
const COMPLETE_ENTRY = CompleteRequest.shape.leases.element;
const FAIL_ENTRY = FailRequest.shape.leases.element;
const RELEASE_ENTRY = ReleaseRequest.shape.leases.element;

export function encodeItem(input: EnqueueInput): Encoded {
  const own = asSimpleObject(input);
  const item = own.body instanceof Uint8Array ? { ...own, ...bytes(own.body, own.payloadEncoding) } : own;
  const hasRequestId = item.requestId !== undefined;
  const checked: EntryResult<object> = isPlainEntryOf("enqueue", item)
    ? { kind: "ok", value: item }
    : checkedBy(EnqueueItem, item);
  const encoded = checked.kind === "refused" ? checked : encodeChecked(checked.value, hasRequestId);
  if (encoded.kind === "refused" || typeof item.body !== "string") return encoded;
  return bounded(encoded, "the body", item.body, ITEM_BYTES_MAX);
}

/**
 * An item of a class, or with fields that are not enumerable, as a simple object. The checks read what it inherits or hides, a getter for instance;
 * JSON leaves that out, or takes what `toJSON` says, and what is written then was not checked: it would spoil the request that the items of others
 * travel in.
 */
export function asSimpleObject<Input extends Partial<EnqueueInput>>(input: Input): Input {
  const prototype: unknown = Object.getPrototypeOf(input);
  const hidesNothing = Object.getOwnPropertyNames(input).length === Object.keys(input).length;
  if (hidesNothing && (prototype === Object.prototype || prototype === null)) return input;
  const read = ITEM_FIELDS.filter((name) => name in input).map((name) => [name, input[name]] as const);
  return { ...input, ...Object.fromEntries(read) };
}

export const encodeHeartbeat = ({ itemId, token, progress }: Beat): Encoded =>
  encode(HEARTBEAT_ENTRY, { itemId, token, progress });
export function encodeRelease({ itemId, token }: LeaseRef): Encoded {
  const lease = { itemId, token };
  return isPlainEntryOf("release", lease) ? encodeChecked(lease) : encode(RELEASE_ENTRY, lease);
}

export function encodeCompletion({ itemId, token, result }: Completion): Encoded {
  const lease = { itemId, token };
  if (result === undefined && isPlainEntryOf("complete", lease)) return encodeChecked(lease);
  const encoded = encode(COMPLETE_ENTRY, { itemId, token, result });
  return result === undefined ? encoded : bounded(encoded, "the result", result, RESULT_BYTES_MAX);
}

export const encodeFailure = ({ itemId, token, ...failure }: LeaseRef & Failure): Encoded => {
  const { reason, code, requeue, delayMs, penalty } = failure;
  return encode(FAIL_ENTRY, { itemId, token, reason, code, requeue, delayMs, penalty });
};

function encode(schema: z.ZodType, value: object): Encoded {
  const error = check(schema, value);
  return error === undefined ? encodeChecked(value) : { kind: "refused", error };
}

function encodeChecked(value: object, hasRequestId = false): Encoded {
  const text = JSON.stringify(value);
  const length = Buffer.byteLength(text);
  if (length > ENTRY_BYTES_MAX) return { kind: "refused", error: tooLarge("the entry", length, ENTRY_BYTES_MAX) };
  return { kind: "ok", entry: { text, bytes: length, hasRequestId } };
}

/** The limits of texts count encoded JSON bytes, as the dispatcher does. */
function bounded(encoded: Encoded, what: string, text: string, bytesMax: number): Encoded {
  // Every UTF-16 unit takes at most six bytes in JSON, so a short text needs no measuring.
  if (encoded.kind === "refused" || text.length * 6 + 2 <= bytesMax) return encoded;
  const length = Buffer.byteLength(JSON.stringify(text));
  return length <= bytesMax ? encoded : { kind: "refused", error: tooLarge(what, length, bytesMax) };
}
