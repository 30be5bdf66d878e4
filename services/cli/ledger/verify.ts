/** What `ledger verify` does: the log, an export or a proof is checked, and whatever is wrong becomes part of the report. */
import type { KeyObject } from "node:crypto";
import type { NatsConnection } from "@nats-io/transport-node";
import { OperatingError } from "../../../contracts/errors.ts";
import type { LedgerDigest, SignedDigest } from "../../../contracts/ledger.ts";
import { checkSignature, type SignatureVerdict } from "../../runtime/ledger-digest.ts";
import { differences, readDigest, readExtension, readProof } from "./documents.ts";
import { readExport } from "./export-reader.ts";
import { ledgerError, type Place, problemPlace } from "./problem.ts";
import { checkExtension, checkProof, type ProvenEvent } from "./proofs.ts";
import { readLedger } from "./read-log.ts";
import { LedgerSum } from "./sum.ts";

export interface VerifyRequest {
  readonly region: string;
  readonly shard: string;
  readonly from?: number | undefined;
  readonly to?: number | undefined;
  /** Files; at most one of the first three. */
  readonly file?: string | undefined;
  readonly proof?: string | undefined;
  readonly extension?: string | undefined;
  readonly digest?: string | undefined;
  readonly isStrict: boolean;
  readonly publicKey?: KeyObject | undefined;
  readonly onProgress: (read: number, total: number) => void;
}

export interface LedgerReport {
  readonly ok: boolean;
  readonly source: "log" | "export" | "proof" | "extension";
  /** Of all that was checked; absent when something is wrong. */
  readonly digest?: LedgerDigest;
  /** Frames and events that were found good. */
  readonly frames: number;
  readonly events: number;
  readonly emptyFrames: number;
  readonly voids: { readonly count: number; readonly first: readonly string[] };
  readonly signature: SignatureVerdict;
  readonly keyId?: string | undefined;
  /** Whether it agrees with the digest in the file that was given. */
  readonly agrees?: boolean;
  readonly event?: ProvenEvent;
  /** Of an extension. */
  readonly older?: LedgerDigest;
  readonly problem?: { readonly code: string; readonly message: string; readonly place?: Place | undefined };
}

type Found = Partial<LedgerReport> & { readonly signed?: SignedDigest | undefined };

/** Throws what is no finding about the ledger: files that are not there, and what NATS answers. */
export async function verifyLedger(
  request: VerifyRequest,
  connect: <Result>(use: (connection: NatsConnection) => Promise<Result>) => Promise<Result>,
): Promise<LedgerReport> {
  const { file, proof, extension } = request;
  const source =
    file !== undefined ? "export" : proof !== undefined ? "proof" : extension !== undefined ? "extension" : "log";
  let sum = new LedgerSum();
  const newSum = () => {
    sum = new LedgerSum();
    return sum;
  };
  const report = (found: Found): LedgerReport => {
    const { signed, ...rest } = found;
    const counts = { frames: sum.frames, events: eventsOf(sum), ...sum.counts() };
    return { ok: true, source, ...counts, signature: "none", keyId: signed?.keyId, ...rest };
  };
  try {
    const known = request.digest === undefined ? undefined : await readDigest(request.digest);
    if (proof !== undefined) return report(await verifyProof(proof, known, request));
    if (extension !== undefined) return report(await verifyExtension(extension, known, request));
    if (file !== undefined) return report(await verifyExport(file, known, request, newSum()));
    return report(await connect((connection) => verifyLog(connection, known, request, newSum)));
  } catch (error) {
    if (!isFinding(error)) throw error;
    const { code, message } = error;
    return report({ ok: false, problem: { code, message, place: problemPlace(error) } });
  }
}

/** Whether an error says something about what was checked. */
function isFinding(error: unknown): error is OperatingError {
  if (!(error instanceof OperatingError) || NO_FINDINGS.has(error.code)) return false;
  return problemPlace(error) !== undefined || /^(ledger_|log_)/.test(error.code);
}

/** Wrong arguments. */
const NO_FINDINGS: ReadonlySet<string> = new Set([
  "ledger_file_unreadable",
  "ledger_key_invalid",
  "ledger_range_invalid",
]);

function eventsOf(sum: LedgerSum): number {
  if (sum.frames === 0) return 0;
  const { firstSequence, lastSequence } = sum.digest();
  return lastSequence - firstSequence + 1;
}

async function verifyProof(path: string, known: SignedDigest | undefined, request: VerifyRequest): Promise<Found> {
  const proof = await readProof(path);
  const event = checkProof(proof);
  const { signed } = proof;
  const agreement = agree(signed.digest, known, request);
  return { ...agreement, digest: signed.digest, event, signed, signature: checkSignature(signed, request.publicKey) };
}

async function verifyExtension(path: string, known: SignedDigest | undefined, request: VerifyRequest): Promise<Found> {
  const extension = await readExtension(path);
  checkExtension(extension);
  const { older, newer } = extension;
  checkSignature(older, request.publicKey);
  // The digest that the auditor kept is the older one; the newer one may be known as well.
  const isNewer = known !== undefined && differences(newer.digest, known.digest) === "";
  const agreement = isNewer ? { agrees: true } : agree(older.digest, known, request);
  const signature = checkSignature(newer, request.publicKey);
  return { ...agreement, older: older.digest, digest: newer.digest, signed: newer, signature };
}

async function verifyExport(
  path: string,
  known: SignedDigest | undefined,
  request: VerifyRequest,
  sum: LedgerSum,
): Promise<Found> {
  const signed = await readExport(path, request.isStrict, sum, request.onProgress);
  const agreement = agree(signed.digest, known, request);
  return { ...agreement, digest: signed.digest, signed, signature: checkSignature(signed, request.publicKey) };
}

async function verifyLog(
  connection: NatsConnection,
  known: SignedDigest | undefined,
  request: VerifyRequest,
  newSum: () => LedgerSum,
): Promise<Found> {
  const signature = known === undefined ? "none" : checkSignature(known, request.publicKey);
  const range = known === undefined ? request : { ...request, ...rangeOf(known.digest, request) };
  const sum = await readLedger(connection, range, async () => ({ sum: newSum() }));
  const digest = sum.digest();
  return { ...agree(digest, known, request), digest, signed: known, signature };
}

/** The range of a digest in the log of the same shard. Throws, definite: OperatingError `ledger_foreign`. */
export function rangeOf(
  { region, shard, logId, chainBefore, firstSequence, frames }: LedgerDigest,
  log: { readonly region: string; readonly shard: string },
) {
  if (region === log.region && shard === log.shard)
    return { begin: { logId, chainBefore, firstSequence }, frames, from: undefined, to: undefined };
  throw ledgerError("ledger_foreign", `the digest is of ${region}/${shard}, not of ${log.region}/${log.shard}`);
}

/** Throws, definite: OperatingError `ledger_digest_mismatch`. */
function agree(found: LedgerDigest, known: SignedDigest | undefined, { digest: path }: VerifyRequest) {
  if (known === undefined) return {};
  const text = differences(found, known.digest);
  if (text === "") return { agrees: true };
  throw ledgerError("ledger_digest_mismatch", `what was checked does not agree with ${path}: ${text}`);
}
