/** What the ledger of a shard hands to an auditor: digests of a range of frames, exports of the frames, and proofs of single events. */
import { z } from "zod";
import { ChainValue, LogId, LogTimeMs, RegionName, Sequence, ShardName } from "./ids.ts";

/** Version of digests, exports and proofs. Within it nothing is added: each of them is read as a whole. */
export const LEDGER_VERSION = 1;
/** How the root comes from the frames. */
export const LEDGER_ALGORITHM = "sha256-rfc6962";

export const LEDGER_FORMATS = {
  digest: "omnirelay-ledger-digest",
  export: "omnirelay-ledger-export",
  proof: "omnirelay-ledger-proof",
  extension: "omnirelay-ledger-extension",
} as const;

const Hash = z.string().regex(/^[0-9a-f]{64}$/);
const path = z.array(Hash).max(64);
const schemaVersion = z.literal(LEDGER_VERSION);

const digestFields = {
  schemaVersion,
  algorithm: z
    .literal(LEDGER_ALGORITHM)
    .describe("SHA-256 in the Merkle tree of RFC 6962; a leaf is the payload of a frame."),
  region: RegionName,
  shard: ShardName,
  logId: LogId,
  firstSequence: z.int().min(1).describe("Event sequence at which the first frame begins."),
  lastSequence: Sequence.describe("Last event sequence; one below `firstSequence` when no frame holds an event."),
  frames: z.int().min(1).describe("Frames of the range: the leaves."),
  at: LogTimeMs.describe("Log time of the last frame. ms."),
  chainBefore: ChainValue.describe("Chain value before the first frame; empty at the log's beginning."),
  chainAfter: Hash.describe("Chain value of the last frame."),
  root: Hash.describe("Root of the tree over the payloads, in order."),
};

/** What a range of frames comes to. Two ranges with the same digest hold the same bytes. */
export const LedgerDigest = z.strictObject({ format: z.literal(LEDGER_FORMATS.digest), ...digestFields });
export type LedgerDigest = Readonly<z.infer<typeof LedgerDigest>>;

/** A digest, and who vouches for it. Both of `keyId` and `signature` are there, or none. */
export const SignedDigest = z.strictObject({
  digest: LedgerDigest,
  keyId: Hash.optional().describe("SHA-256 of the public key (SPKI, DER)."),
  signature: z
    .string()
    .regex(/^[0-9a-f]{128}$/)
    .optional()
    .describe("Ed25519 over the digest's text: JSON without blanks, names in order (RFC 8785)."),
});
export type SignedDigest = Readonly<z.infer<typeof SignedDigest>>;

/** First line of an export: the fields of its digest. Padded with blanks to a fixed length. */
export const LedgerExportHeader = z.strictObject({ format: z.literal(LEDGER_FORMATS.export), ...digestFields });
export type LedgerExportHeader = Readonly<z.infer<typeof LedgerExportHeader>>;

/** A line of an export between the first and the last. */
export const LedgerExportFrame = z.strictObject({
  chain: Hash.describe("SHA-256 of the payload's bytes: the frame's chain value."),
  payload: z.string().describe("The stored bytes of the frame, which are UTF-8."),
});
export type LedgerExportFrame = Readonly<z.infer<typeof LedgerExportFrame>>;

/** Last line of an export. */
export const LedgerExportFooter = z.strictObject({
  frames: z.int().min(1),
  checksum: Hash.describe("SHA-256 of all bytes between the first and the last line."),
  signed: SignedDigest,
});
export type LedgerExportFooter = Readonly<z.infer<typeof LedgerExportFooter>>;

/** That one event is in the range of a digest. */
export const LedgerProof = z.strictObject({
  format: z.literal(LEDGER_FORMATS.proof),
  schemaVersion,
  sequence: z.int().min(1).describe("Event sequence of the event."),
  index: z.int().min(0).describe("Which frame of the range holds it; the first is 0."),
  payload: z.string().describe("The stored bytes of that frame, which are UTF-8."),
  path: path.describe("The hashes beside the way from the frame to the root, from below."),
  signed: SignedDigest,
});
export type LedgerProof = Readonly<z.infer<typeof LedgerProof>>;

/** That the range of an older digest is the beginning of the range of a newer one: nothing was rewritten in between. */
export const LedgerExtension = z.strictObject({
  format: z.literal(LEDGER_FORMATS.extension),
  schemaVersion,
  older: SignedDigest,
  newer: SignedDigest,
  path: path.describe("Consistency proof of RFC 6962."),
});
export type LedgerExtension = Readonly<z.infer<typeof LedgerExtension>>;
