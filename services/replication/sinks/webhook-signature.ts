/** Signs what webhooks send, and checks it for those who receive: `Omnirelay-Signature: t=<unix seconds>,v1=<hex>`. */
import { createHmac, timingSafeEqual } from "node:crypto";

export const SIGNATURE_HEADER = "Omnirelay-Signature";
/** How old a request may be that a receiver takes. ms. */
const AGE_MS_MAX = 300_000;

/** One `v1` for each secret: while secrets are changed a receiver may know either. HMAC-SHA256 over `<seconds>.<body>`. */
export function signatureOf(body: Uint8Array, secrets: readonly string[], nowMs: number): string {
  const seconds = Math.floor(nowMs / 1_000);
  return [`t=${seconds}`, ...secrets.map((secret) => `v1=${digest(body, secret, seconds).toString("hex")}`)].join(",");
}

/**
 * Whether the body was signed with one of the secrets, within `ageMsMax` of `nowMs`. Give the bytes as they came, before any parsing.
 * A late repeat of an old request is refused by its age; within it, by its `Idempotency-Key`.
 */
export function isSignatureValid(
  header: string,
  body: Uint8Array,
  secrets: readonly string[],
  { nowMs, ageMsMax = AGE_MS_MAX }: { readonly nowMs: number; readonly ageMsMax?: number },
): boolean {
  const parts = header.split(",").map((part) => part.trim());
  const time = /^t=(\d{1,12})$/.exec(parts[0] ?? "")?.[1];
  if (time === undefined || Math.abs(nowMs - Number(time) * 1_000) > ageMsMax) return false;
  const given = parts.slice(1).flatMap((part) => {
    const hex = /^v1=([0-9a-f]{64})$/.exec(part)?.[1];
    return hex === undefined ? [] : [Buffer.from(hex, "hex")];
  });
  const wanted = secrets.map((secret) => digest(body, secret, Number(time)));
  return wanted.some((one) => given.some((other) => timingSafeEqual(one, other)));
}

function digest(body: Uint8Array, secret: string, seconds: number): Buffer {
  return createHmac("sha256", secret).update(`${seconds}.`).update(body).digest();
}
