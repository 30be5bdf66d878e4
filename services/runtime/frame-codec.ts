/** Frame to bytes and back, and the chain value of the bytes: one place, because every byte of a frame counts for the chain. */
import { createHash } from "node:crypto";
import { Frame } from "../../contracts/frame.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** The payload of a frame: JSON, keys in the order in which the object has them. The bytes are kept and sent again as they are. */
export function encodeFrame(frame: Frame): Uint8Array {
  return encoder.encode(JSON.stringify(frame));
}

/** The chain value of a stored payload: SHA-256, lower-case hex. */
export function chainOf(payload: Uint8Array): string {
  return createHash("sha256").update(payload).digest("hex");
}

export type DecodedFrame =
  | { readonly kind: "frame"; readonly frame: Frame }
  | { readonly kind: "void"; readonly reason: string };

/** Reads a stored payload. Whatever is no frame is `void`: anybody with the right to publish could have put it there. */
export function decodeFrame(payload: Uint8Array): DecodedFrame {
  let value: unknown;
  try {
    value = JSON.parse(decoder.decode(payload));
  } catch (error) {
    return { kind: "void", reason: error instanceof Error ? error.message : String(error) };
  }
  const parsed = Frame.safeParse(value);
  if (parsed.success) return { kind: "frame", frame: parsed.data };
  const issue = parsed.error.issues[0];
  return { kind: "void", reason: `${issue?.path.join(".") ?? ""}: ${issue?.message ?? "no frame"}` };
}
