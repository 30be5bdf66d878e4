/** SQLite's errors in the words of the mesh: what failed, whether anything happened, and what an operator can do. */
import Database from "better-sqlite3";
import { OperatingError } from "../../contracts/errors.ts";

/** Primary result code of SQLite -> our code and what to do about it. */
const REASONS: Readonly<Record<string, readonly [code: string, advice: string]>> = {
  SQLITE_CANTOPEN: ["store_unusable", "check that its folder exists and that this user may write there"],
  SQLITE_READONLY: ["store_unusable", "give file and folder to this user, or mount the volume for writing"],
  SQLITE_PERM: ["store_unusable", "give file and folder to this user"],
  SQLITE_NOTADB: [
    "store_corrupt",
    "it is no SQLite file, or its beginning is damaged; restore it, or give another path",
  ],
  SQLITE_CORRUPT: ["store_corrupt", "the file is damaged; restore it from a backup, or move it away to begin anew"],
  SQLITE_FULL: ["store_full", "free space on its volume"],
  SQLITE_BUSY: ["store_busy", "another process holds it; stop that one, or wait"],
  SQLITE_PROTOCOL: ["store_busy", "other processes start on it at the same time; try again"],
};

/** The OperatingError of what better-sqlite3 threw about a file; anything else is a defect and comes back as it is. */
export function asStoreError(error: unknown, path: string): unknown {
  if (error instanceof OperatingError) return error;
  if (error instanceof TypeError && /directory does not exist/.test(error.message))
    return storeError("store_unusable", path, "its folder does not exist; create it", error);
  if (!(error instanceof Database.SqliteError)) return error;
  const reason = REASONS[primaryCode(error.code)];
  // A statement that is wrong, or breaks a constraint, is the caller's.
  if (reason === undefined) return error.code.startsWith("SQLITE_IOERR") ? ioError(error, path) : error;
  return storeError(reason[0], path, `${error.message}: ${reason[1]}`, error);
}

export function storeError(code: string, path: string, reason: string, cause?: unknown): OperatingError {
  return new OperatingError(code, `the store ${path} cannot be used: ${reason}`, {
    definite: true,
    details: { path },
    ...(cause === undefined ? {} : { cause }),
  });
}

/** After an I/O error it is not known what a commit left on the disk. */
function ioError(error: Error & { readonly code: string }, path: string): OperatingError {
  return new OperatingError(
    "store_failed",
    `the store ${path} failed: ${error.message} (${error.code}); check the disk`,
    {
      definite: false,
      cause: error,
      details: { path },
    },
  );
}

/** `SQLITE_BUSY_SNAPSHOT` -> `SQLITE_BUSY`. */
function primaryCode(code: string): string {
  return code.split("_", 2).join("_");
}
