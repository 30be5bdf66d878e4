/** The identifiers that processes exchange, each with its one schema. */
import { z } from "zod";
import {
  ENTRY_REQUEST_ID_LENGTH_MAX,
  ITEM_ID_LENGTH_MAX,
  NAME_LENGTH_MAX,
  PEER_ID_LENGTH_MAX,
  PRINCIPAL_LENGTH_MAX,
  REQUEST_ID_LENGTH_MAX,
  RESOURCE_ID_BYTES_MAX,
  TOKEN_EPOCH_LIMIT,
  TOKEN_EPOCH_STEP,
} from "./limits.ts";

const NAME = /^[a-z0-9]+(-[a-z0-9]+)*$/;
const PRINCIPAL = /^[A-Za-z0-9_-]{1,64}$/;
const UNSAFE_KEYS: ReadonlySet<string> = new Set(["__proto__", "constructor", "prototype"]);

/** UTF-8 length without encoding: 1 byte up to U+007F, 2 up to U+07FF, 4 for a surrogate pair, else 3. */
export function utf8Length(text: string): number {
  let bytes = text.length;
  for (let index = 0; index < text.length; index += 1) {
    const unit = text.charCodeAt(index);
    if (unit < 0x80) continue;
    if (unit >= 0xd800 && unit <= 0xdbff && index + 1 < text.length) {
      bytes += 2;
      index += 1;
    } else bytes += unit < 0x800 ? 1 : 2;
  }
  return bytes;
}

/** Text that UTF-8 can carry: a lone surrogate would come out of the log as another text. */
export const wellFormed = (schema: z.ZodString): z.ZodString =>
  schema.refine((text) => text.isWellFormed(), { error: "must be well-formed Unicode (it has a lone surrogate)" });

const boundedText = (bytesMax: number): z.ZodString =>
  wellFormed(z.string().min(1).max(bytesMax)).refine((text) => utf8Length(text) <= bytesMax, {
    error: `must be at most ${bytesMax} bytes of UTF-8`,
  });

export const ShardName = z.string().max(NAME_LENGTH_MAX).regex(NAME);
export const RegionName = z.string().max(NAME_LENGTH_MAX).regex(NAME);

/** Whether a text is a principal: the last token of an RPC subject. */
export function isPrincipal(text: string): boolean {
  return PRINCIPAL.test(text) && !text.includes("--");
}
export const Principal = z
  .string()
  .max(PRINCIPAL_LENGTH_MAX)
  .refine(isPrincipal, { error: "must match ^[A-Za-z0-9_-]{1,64}$ and contain no --" });

/** The principal of a peer id: all before the first `--`. */
export function principalOfPeer(peerId: string): string {
  const end = peerId.indexOf("--");
  return end === -1 ? peerId : peerId.slice(0, end);
}
/** Whether a text of at most PEER_ID_LENGTH_MAX is a peer id. */
export function isPeerName(text: string): boolean {
  return isPrincipal(principalOfPeer(text)) && /^[A-Za-z0-9_-]+$/.test(text) && !text.endsWith("--");
}
export const PeerId = z.string().max(PEER_ID_LENGTH_MAX).refine(isPeerName, {
  error: "must be a principal, or a principal, -- and a name of [A-Za-z0-9_-]",
});

export const RequestId = wellFormed(z.string().min(1).max(REQUEST_ID_LENGTH_MAX));
/** A request id as the log holds it: also `<request-level id>/<index>`. */
export const EntryRequestId = wellFormed(z.string().min(1).max(ENTRY_REQUEST_ID_LENGTH_MAX));
export const ItemId = wellFormed(z.string().min(1).max(ITEM_ID_LENGTH_MAX));
export const ResourceType = boundedText(RESOURCE_ID_BYTES_MAX);
export const ResourceId = boundedText(RESOURCE_ID_BYTES_MAX);
export const PartitionKey = boundedText(RESOURCE_ID_BYTES_MAX);
export const Hex64 = z.string().regex(/^[0-9a-f]{16}$/);
export const ChainValue = z.string().regex(/^([0-9a-f]{64})?$/);
export const LogId = z.string().regex(/^[A-Za-z0-9_-]{1,64}$/);
export const Sequence = z.int().min(0);
/** A fencing token: epoch * 2^40 + the event sequence of the grant. */
export const Token = z.int().min(1).max(Number.MAX_SAFE_INTEGER);
export const LogTimeMs = z.int().min(0);

/** Attribute names that would reach into prototypes are refused, at any depth. */
export function isSafeKey(key: string): boolean {
  return !UNSAFE_KEYS.has(key);
}

/** The token (or item id number) of an event sequence in an epoch. */
export function tokenOf(tokenEpoch: number, sequence: number): number {
  return tokenEpoch * TOKEN_EPOCH_STEP + sequence;
}
/** The epoch that a token was granted in. */
export function tokenEpochOf(token: number): number {
  return Math.floor(token / TOKEN_EPOCH_STEP);
}
export const TokenEpoch = z
  .int()
  .min(0)
  .max(TOKEN_EPOCH_LIMIT - 1);
