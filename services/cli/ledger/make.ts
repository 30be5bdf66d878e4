/** What `ledger export`, `digest` and `prove` do: a range is read once, from the log or from an export, and becomes a file. */
import type { KeyObject } from "node:crypto";
import type { NatsConnection } from "@nats-io/transport-node";
import {
  LEDGER_FORMATS,
  LEDGER_VERSION,
  type LedgerExtension,
  type LedgerProof,
  type SignedDigest,
} from "../../../contracts/ledger.ts";
import { signDigest } from "../../runtime/ledger-digest.ts";
import { differences, readDigest } from "./documents.ts";
import { readExport } from "./export-reader.ts";
import { ExportWriter, mustNotExist } from "./export-writer.ts";
import { ledgerError } from "./problem.ts";
import { type LedgerReading, readLedger } from "./read-log.ts";
import { LedgerSum, type SumOptions } from "./sum.ts";
import { rangeOf } from "./verify.ts";

export interface MakeRequest {
  readonly region: string;
  readonly shard: string;
  readonly from?: number | undefined;
  readonly to?: number | undefined;
  /** Digest whose range it is. */
  readonly digest?: string | undefined;
  readonly signKey?: KeyObject | undefined;
  readonly onProgress: (read: number, total: number) => void;
}

/** Runs with a connection, which is closed afterwards. */
export type Connect = <Result>(use: (connection: NatsConnection) => Promise<Result>) => Promise<Result>;

/** Writes the frames of a range. Nothing is written when anything is wrong with them. */
export async function makeExport(
  request: MakeRequest & { readonly out: string; readonly isForced: boolean },
  connect: Connect,
): Promise<SignedDigest> {
  const { out, isForced } = request;
  mustNotExist(out, isForced);
  let writer: ExportWriter | undefined;
  const begin = async (): Promise<LedgerReading> => {
    await writer?.discard();
    const next = await ExportWriter.open(out);
    writer = next;
    return { sum: new LedgerSum(), frame: (frame) => next.frame(frame) };
  };
  try {
    const { signed } = await readRange(request, {}, connect, begin);
    await writer?.finish(signed, isForced);
    writer = undefined;
    return signed;
  } finally {
    await writer?.discard();
  }
}

/** The digest of a range of the log. */
export async function makeDigest(request: MakeRequest, connect: Connect): Promise<SignedDigest> {
  return (await readRange(request, {}, connect)).signed;
}

/** The proof of one event. Throws, definite: OperatingError `ledger_event_missing`. */
export async function makeProof(
  request: MakeRequest & { readonly sequence: number; readonly file?: string | undefined },
  connect: Connect,
): Promise<LedgerProof> {
  const { sequence } = request;
  const { sum, signed } = await readRange(request, { sequence }, connect);
  const proof = sum.proof();
  const { firstSequence, lastSequence } = signed.digest;
  if (proof === undefined)
    throw ledgerError(
      "ledger_event_missing",
      `sequence ${sequence} is not in the range, which holds the events ${firstSequence} to ${lastSequence}`,
    );
  return { format: LEDGER_FORMATS.proof, schemaVersion: LEDGER_VERSION, ...proof, signed };
}

/** The proof that a range begins with that of an older digest. Throws, definite: OperatingError `ledger_digest_mismatch`, `ledger_foreign`. */
export async function makeExtension(
  request: MakeRequest & { readonly older: string; readonly file?: string | undefined },
  connect: Connect,
): Promise<LedgerExtension> {
  const older = await readDigest(request.older);
  const { frames } = older.digest;
  const { sum, signed } = await readRange(request, { olderFrames: frames }, connect, undefined, older);
  const beginning = sum.beginning();
  if (beginning === undefined)
    throw ledgerError(
      "log_tail_lost",
      `the older digest is of ${frames} frames; there are ${sum.frames}: frames are lost`,
    );
  const text = differences(beginning.digest, older.digest);
  if (text !== "")
    throw ledgerError("ledger_digest_mismatch", `the range does not begin with that of ${request.older}: ${text}`);
  const { format, path } = { format: LEDGER_FORMATS.extension, path: beginning.path };
  return { format, schemaVersion: LEDGER_VERSION, older, newer: signed, path };
}

interface ReadRange {
  readonly sum: LedgerSum;
  readonly signed: SignedDigest;
}

/** Reads the range that the request names. Its digest is signed anew where a key is given, else as it was found. */
async function readRange(
  request: MakeRequest & { readonly file?: string | undefined },
  options: SumOptions,
  connect: Connect,
  begin: () => Promise<LedgerReading> = async () => ({ sum: new LedgerSum(options) }),
  older?: SignedDigest,
): Promise<ReadRange> {
  const { file, digest: digestFile, signKey, onProgress } = request;
  const known = digestFile === undefined ? undefined : await readDigest(digestFile);
  let sum: LedgerSum;
  let signed: SignedDigest | undefined;
  if (file !== undefined) {
    sum = (await begin()).sum;
    signed = await readExport(file, false, sum, onProgress);
  } else {
    const start = older === undefined ? {} : { ...rangeOf(older.digest, request), frames: undefined };
    const range = {
      ...request,
      ...start,
      ...(known === undefined ? {} : rangeOf(known.digest, request)),
      isStrict: false,
    };
    sum = await connect((connection) => readLedger(connection, range, begin));
  }
  const digest = sum.digest();
  const text = known === undefined ? "" : differences(digest, known.digest);
  if (text !== "")
    throw ledgerError("ledger_digest_mismatch", `the range is not the one that ${digestFile} is of: ${text}`);
  if (signKey !== undefined) return { sum, signed: signDigest(digest, signKey) };
  return { sum, signed: known ?? signed ?? { digest } };
}
