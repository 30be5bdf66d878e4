/** Bounds that only the core knows: estimates of encoded sizes and the shapes of requests that are worth parsing. */
import assert from "node:assert/strict";
import { ATTRIBUTES_MAX, ENTRIES_PER_REQUEST_MAX, FRAME_BYTES_MAX } from "../../contracts/limits.ts";

/** Bytes of an event in a frame besides its texts of free length. */
export const EVENT_BYTES = 256;
/** Bytes of a payload besides its texts of free length and its retry policy, and of the longest policy. */
export const PAYLOAD_BYTES = 256;
export const RETRY_BYTES = 512;
/** Bytes of the name of an item that another one depends on. */
export const DEPENDENCY_NAME_BYTES = 80;
/** Bytes of a lease in a reply besides its item, fence key and last error. */
export const LEASE_BYTES = 384;
/** Bytes of an item in `get` and `list` besides its payload, last error and dead letter. */
export const ITEM_RECORD_BYTES = 680;
/** Bytes of a frame besides its events. */
export const FRAME_BYTES_RESERVE = 16 * 1_024;
/** How long a client waits after `backpressure`. ms. */
export const BACKPRESSURE_RETRY_AFTER_MS = 1_000;
/** How long a client waits when a frame was full before its entry. ms. */
export const FRAME_FULL_RETRY_AFTER_MS = 10;
/** How long a peer at its cap of leases waits. ms. */
export const LEASE_CAP_RETRY_AFTER_MS = 1_000;

/** Deepest nesting of a request. */
export const REQUEST_DEPTH_MAX = 32;
/** Most fields of one object in a request: attributes are the largest, and what is longer is not worth a list of problems. */
export const REQUEST_FIELDS_MAX = ATTRIBUTES_MAX;
/** Entries that are checked against the schema at a time: a hostile request earns the problems of so many, not of all. */
export const ENTRIES_PER_CHECK = 32;
/** Longest name or path that a refusal repeats. Characters. */
export const ECHO_LENGTH_MAX = 120;

/** Items in one chunk of a sequence index before it is split. */
export const CHUNK_LENGTH_MAX = 512;
/** Chunks shorter than this are merged with a neighbour. */
export const CHUNK_LENGTH_MIN = 128;
/** Texts that are kept once because many items share them. */
export const INTERNED_MAX = 4_096;
/** Records of what many items have in common that are looked up; and of those, how many differ in rare things only. */
export const KINDS_MAX = 65_536;
export const KIND_VARIANTS_MAX = 8;
/** Time around its first item in which a kind takes others. ms. */
export const KIND_SPAN_MS = 2 ** 30;
/** Items whose fixed parts are packed together are of one span of so many sequences; at most 256, for a place among them is a byte. */
export const PACK_SPAN = 256;
/** Spans that are packed at most when items come in a new one: more than one, so that those catch up that came before the queue was deep. */
export const PACK_SPANS_AT_ONCE = 2;
/** A queue with fewer items packs nothing, for packing takes time with each item; nor is a pack made of fewer. */
export const PACK_FROM = 100_000;
export const PACK_ITEMS_MIN = 32;
/** Longer bodies are left as they are: as bytes they would hardly take less. Units of UTF-16. */
export const PACK_BODY_LENGTH_MAX = 1_024;
/** Maps that one striped map is made of; a power of two. */
export const STRIPES = 64;

assert(PACK_SPAN <= 256, "a place in a pack is one byte");
assert(Number.isInteger(Math.log2(STRIPES)), "stripes are chosen by mask");
assert(2 * CHUNK_LENGTH_MIN <= CHUNK_LENGTH_MAX, "two merged chunks fit one");
assert(ENTRIES_PER_REQUEST_MAX * ITEM_RECORD_BYTES <= FRAME_BYTES_MAX, "a reply of truncated items fits");
