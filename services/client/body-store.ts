/** Large bodies in the object store: written before the item that refers to them, checked by hash when they are read. */
import { createHash } from "node:crypto";
import { BODY_ATTRIBUTE, BodyReference, bodyName, REFERENCE_ENCODING } from "../../contracts/body-reference.ts";
import { OperatingError } from "../../contracts/errors.ts";
import { BODY_BUCKET } from "../../contracts/subjects.ts";
import type { BodyBucket, StoredBody } from "../jetstream/body-bucket.ts";
import { decodeBody, type EncodedBody } from "./body.ts";
import type { Lease } from "./lease-client.ts";
import { FatalItemError } from "./worker-events.ts";

/** Region and shard of the item, whose principal enqueues it under which request id. */
export type BodyPlace = Omit<Parameters<typeof bodyName>[0], "sha256">;

/**
 * How long after a body was put its item may still be enqueued: half of the youngest age at which the sweep looks at a body, less than
 * what a request can take. ms.
 */
export const BODY_HOLD_MS = 300_000;

/** What an item is enqueued with instead of a body. */
export interface ReferringBody extends EncodedBody {
  readonly attributes: Readonly<Record<string, string>>;
}

export const isReference = ({ item }: Pick<Lease, "item">): boolean => item.payloadEncoding === REFERENCE_ENCODING;

/** Writes a body, and returns what refers to it. The same place and contents give the same reference, so that a repeat is one. */
export async function storeBody(
  bucket: BodyBucket,
  place: BodyPlace,
  { payloadEncoding, body }: EncodedBody,
): Promise<ReferringBody> {
  const bytes = Buffer.from(body, "utf8");
  const sha256 = createHash("sha256").update(bytes).digest("hex");
  const name = bodyName({ ...place, sha256 });
  await bucket.put(name, bytes);
  const reference: BodyReference = { bucket: BODY_BUCKET, name, bytes: bytes.length, sha256, payloadEncoding };
  return {
    payloadEncoding: REFERENCE_ENCODING,
    body: JSON.stringify(reference),
    attributes: { [BODY_ATTRIBUTE]: name },
  };
}

/** What an item refers to. Throws a `FatalItemError` `body_invalid` for what is no reference of ours: no later attempt can read it. */
export function referenceOf({ item }: Pick<Lease, "item">): BodyReference {
  const parsed = BodyReference.safeParse(parsedJson(item));
  if (!parsed.success) throw new FatalItemError("its reference cannot be read", { code: "body_invalid" });
  const { bucket, name } = parsed.data;
  if (bucket === BODY_BUCKET && item.attributes[BODY_ATTRIBUTE] === name) return parsed.data;
  // Without the attribute the sweep would take the body for an orphan.
  const message = `its reference is to ${name} in ${bucket}; it must be in ${BODY_BUCKET}, and its attribute ${BODY_ATTRIBUTE} must name it`;
  throw new FatalItemError(message, { code: "body_invalid" });
}

function parsedJson(item: Lease["item"]): unknown {
  try {
    return decodeBody(item);
  } catch (error) {
    throw new FatalItemError("its reference is no JSON", { code: "body_invalid", cause: error });
  }
}

/**
 * Reads the body that an item refers to, and checks it.
 * Throws: OperatingError `body_missing`, `body_corrupt` (both fail the attempt), what JetStream answers, and the signal's reason.
 */
export async function fetchBody(
  bucket: BodyBucket,
  reference: BodyReference,
  signal?: AbortSignal,
): Promise<EncodedBody> {
  const { name, payloadEncoding } = reference;
  for (let before: StoredBody | undefined; ; ) {
    const stored = await bucket.find(name);
    if (stored === undefined) throw unreadable("body_missing", `the body ${name} is not in the bucket ${BODY_BUCKET}`);
    const bytes = await readWhole(bucket, stored, reference, signal);
    if (bytes !== undefined) return { payloadEncoding, body: bytes.toString("utf8") };
    // A repeat of the enqueue may have written it anew while it was read.
    if (before?.id === stored.id)
      throw unreadable("body_corrupt", `the body ${name} is not the one that was enqueued: its hash or length differs`);
    before = stored;
  }
}

async function readWhole(
  bucket: BodyBucket,
  stored: StoredBody,
  { bytes, sha256 }: BodyReference,
  signal: AbortSignal | undefined,
): Promise<Buffer | undefined> {
  const hash = createHash("sha256");
  const pieces: Uint8Array[] = [];
  let length = 0;
  for await (const piece of bucket.read(stored)) {
    signal?.throwIfAborted();
    length += piece.length;
    if (length > bytes) return undefined;
    hash.update(piece);
    pieces.push(piece);
  }
  return length === bytes && hash.digest("hex") === sha256 ? Buffer.concat(pieces) : undefined;
}

const unreadable = (code: string, message: string): OperatingError =>
  new OperatingError(code, message, { definite: true });
