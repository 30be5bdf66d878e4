/** The small files of the ledger, one JSON object each: digests, proofs and extensions, read with every check and written whole. */
import { open, readFile, rename, rm } from "node:fs/promises";
import type { z } from "zod";
import type { OperatingError } from "../../../contracts/errors.ts";
import {
  LEDGER_FORMATS,
  LEDGER_VERSION,
  type LedgerDigest,
  LedgerExtension,
  LedgerProof,
  SignedDigest,
} from "../../../contracts/ledger.ts";
import { mustNotExist, unwritable } from "./export-writer.ts";
import { ledgerError } from "./problem.ts";

/** Larger than any frame as a JSON string, and than any path. */
const FILE_BYTES_MAX = 32 * 1_024 * 1_024;

/** A file that `ledger digest` wrote. Throws, definite: `ledger_file_unreadable`, `ledger_file_invalid`, `ledger_file_version`. */
export const readDigest = (path: string): Promise<SignedDigest> => read(path, SignedDigest, LEDGER_FORMATS.digest);
/** A file that `ledger prove` wrote. Throws as `readDigest`. */
export const readProof = (path: string): Promise<LedgerProof> => read(path, LedgerProof, LEDGER_FORMATS.proof);
/** A file that `ledger prove --older` wrote. Throws as `readDigest`. */
export const readExtension = (path: string): Promise<LedgerExtension> =>
  read(path, LedgerExtension, LEDGER_FORMATS.extension);

async function read<Value>(path: string, schema: z.ZodType<Value>, format: string): Promise<Value> {
  const bytes = await readFile(path).catch((error: unknown) => {
    throw unreadable(path, error);
  });
  const content = bytes.length > FILE_BYTES_MAX ? undefined : objectOf(bytes);
  if (content === undefined)
    throw ledgerError(
      "ledger_file_invalid",
      `${path} is no JSON object: it was cut off or changed, or is another file (an export is given with --file)`,
    );
  // A digest stands in its envelope; everything else says itself what it is.
  const named = content as { readonly digest?: unknown };
  const problem = formatProblem(Object(named.digest ?? content), format, path);
  if (problem !== undefined) throw problem;
  const parsed = schema.safeParse(content);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw ledgerError("ledger_file_invalid", `${path}: ${issue?.path.join(".") || "the file"}: ${issue?.message}`);
}

function objectOf(bytes: Buffer): object | undefined {
  try {
    const value: unknown = JSON.parse(bytes.toString("utf8"));
    return typeof value === "object" && value !== null && !Array.isArray(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

/** What is wrong when a file is of another kind or of another release. */
export function formatProblem(content: object, wanted: string, where: string): OperatingError | undefined {
  const { format, schemaVersion } = content as { readonly format?: unknown; readonly schemaVersion?: unknown };
  if (format !== wanted) {
    const kind = Object.entries(LEDGER_FORMATS).find(([, known]) => known === format)?.[0];
    const found = kind === undefined ? "no file of the ledger" : `the ${kind} of a ledger`;
    return ledgerError("ledger_file_invalid", `${where}: ${found}; expected is ${wanted}`);
  }
  if (schemaVersion === LEDGER_VERSION) return undefined;
  return ledgerError(
    "ledger_file_version",
    `${where}: schema version ${JSON.stringify(schemaVersion)}; this release reads ${LEDGER_VERSION}`,
  );
}

/** Writes a file whole, or not at all. Throws, definite: `ledger_file_exists`, `ledger_file_unwritable`. */
export async function writeDocument(path: string, value: object, isForced: boolean): Promise<void> {
  mustNotExist(path, isForced);
  const partial = `${path}.partial`;
  try {
    const file = await open(partial, "w");
    try {
      await file.writeFile(`${JSON.stringify(value)}\n`);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(partial, path);
  } catch (error) {
    await rm(partial, { force: true });
    throw unwritable(path, error);
  }
}

/** In which fields two digests differ, as a sentence; empty when in none. */
export function differences(found: LedgerDigest, expected: LedgerDigest): string {
  const names = Object.keys(expected) as (keyof LedgerDigest)[];
  return names
    .filter((name) => found[name] !== expected[name])
    .map((name) => `${name} is ${JSON.stringify(found[name])} and not ${JSON.stringify(expected[name])}`)
    .join(", ");
}

export const unreadable = (path: string, error: unknown) =>
  ledgerError("ledger_file_unreadable", `cannot read ${path}: ${(error as Error).message}`, error);
