/** How an item refers to a body that is too large for it: what stands in its own body, and the attribute by which the sweep knows it. */
import { z } from "zod";
import { ATTRIBUTE_VALUE_LENGTH_MAX } from "./limits.ts";

/** `payloadEncoding` of an item whose body is a reference. */
export const REFERENCE_ENCODING = "application/vnd.omnirelay.reference+json";
/** Name of the object, as an attribute: `list` shows attributes but no bodies. */
export const BODY_ATTRIBUTE = "omnirelay-body";

export const BodyReference = z.strictObject({
  bucket: z.string().min(1).max(255),
  name: z.string().min(1).max(ATTRIBUTE_VALUE_LENGTH_MAX),
  bytes: z.int().min(0),
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  payloadEncoding: z.string().min(1).max(128).describe("Of the body that is referred to."),
});
export type BodyReference = Readonly<z.infer<typeof BodyReference>>;

/**
 * Name of a body's object. By shard and request for whoever looks at the bucket; by its hash, so that a repeat with other contents (which the shard
 * refuses) does not take the place of the first.
 */
export function bodyName(place: {
  readonly region: string;
  readonly shard: string;
  readonly principal: string;
  readonly requestId: string;
  readonly sha256: string;
}): string {
  const { region, shard, principal, requestId, sha256 } = place;
  return [region, shard, principal, encodeURIComponent(requestId), sha256].join("/");
}
