/** Bodies of items: values and bytes into the opaque text that travels, and back. */

/** A body with the media type that says how to read it; spread it into an item. */
export interface EncodedBody {
  readonly payloadEncoding: string;
  readonly body: string;
}

const BASE64 = ";base64";
const MEDIA_TYPE_DEFAULT = "application/json";
const MEDIA_TYPE_BYTES = "application/octet-stream";

/** A JSON body: `client.enqueue({ resourceType, resourceId, ...json(value) })`. Throws a TypeError for what JSON cannot hold. */
export function json(value: unknown): EncodedBody {
  const body: string | undefined = JSON.stringify(value);
  if (body === undefined) throw new TypeError(`a ${typeof value} has no JSON form`);
  return { payloadEncoding: MEDIA_TYPE_DEFAULT, body };
}

/** A body of bytes, as base64 under the suffix that says so. */
export function bytes(data: Uint8Array, mediaType: string = MEDIA_TYPE_BYTES): EncodedBody {
  const body = Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString("base64");
  return { payloadEncoding: mediaType.endsWith(BASE64) ? mediaType : `${mediaType}${BASE64}`, body };
}

/**
 * The body of a leased item: bytes for `;base64`, the value for JSON (undefined for an empty one), else the text.
 * Throws a SyntaxError when the body is not the JSON that its encoding claims.
 */
export function decodeBody(item: { readonly payloadEncoding: string; readonly body: string }): unknown {
  const encoding = item.payloadEncoding.toLowerCase();
  if (encoding.endsWith(BASE64)) return new Uint8Array(Buffer.from(item.body, "base64"));
  const type = encoding.split(";", 1)[0] ?? "";
  if (type !== MEDIA_TYPE_DEFAULT && !type.endsWith("+json")) return item.body;
  return item.body === "" ? undefined : JSON.parse(item.body);
}
