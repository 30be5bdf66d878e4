/** Signs digests of the ledger and checks signatures: Ed25519 over one text that everybody makes of a digest in the same way. */
import { createHash, createPublicKey, type KeyObject, sign, verify } from "node:crypto";
import { OperatingError } from "../../contracts/errors.ts";
import type { LedgerDigest, SignedDigest } from "../../contracts/ledger.ts";

/** The text that is signed: RFC 8785. Its values are ASCII strings and safe integers, for which sorted names are all that it asks. */
export function digestText(digest: LedgerDigest): string {
  return JSON.stringify(Object.fromEntries(Object.entries(digest).sort(([left], [right]) => (left < right ? -1 : 1))));
}

/** SHA-256 of the public key, as hex digits: how people name it. */
export function keyIdOf(key: KeyObject): string {
  const publicKey = key.type === "private" ? createPublicKey(key) : key;
  return createHash("sha256")
    .update(publicKey.export({ type: "spki", format: "der" }))
    .digest("hex");
}

/** `privateKey`: Ed25519. */
export function signDigest(digest: LedgerDigest, privateKey: KeyObject): SignedDigest {
  const signature = sign(null, Buffer.from(digestText(digest)), privateKey).toString("hex");
  return { digest, keyId: keyIdOf(privateKey), signature };
}

/** `valid`: made with the given key. `unchecked`: there is a signature, but nobody gave a key. `none`: there is none. */
export type SignatureVerdict = "valid" | "unchecked" | "none";

/**
 * Throws, all definite: OperatingError `ledger_unsigned`, `ledger_key_unknown` (another key signed), `ledger_signature_invalid`.
 * Without a key nothing is proven of who made the digest.
 */
export function checkSignature(signed: SignedDigest, publicKey: KeyObject | undefined): SignatureVerdict {
  const { digest, keyId, signature } = signed;
  if ((keyId === undefined) !== (signature === undefined))
    throw problem("ledger_signature_invalid", "the digest has half a signature: both keyId and signature, or none");
  if (publicKey === undefined) return signature === undefined ? "none" : "unchecked";
  if (signature === undefined) throw problem("ledger_unsigned", "the digest is not signed, and a key was given");
  const given = keyIdOf(publicKey);
  if (keyId !== given)
    throw problem(
      "ledger_key_unknown",
      `the digest was signed by the key ${keyId}; the key that was given is ${given}`,
    );
  if (verify(null, Buffer.from(digestText(digest)), publicKey, Buffer.from(signature, "hex"))) return "valid";
  throw problem(
    "ledger_signature_invalid",
    `the signature is not that of the key ${given} over this digest: one of the two was changed`,
  );
}

const problem = (code: string, message: string): OperatingError =>
  new OperatingError(code, message, { definite: true });
