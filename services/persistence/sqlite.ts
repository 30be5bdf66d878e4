/**
 * Opens SQLite files with the settings that the mesh relies on, and refuses those that are not ours or not safe: the one door to a
 * database file, because a wrong pragma is silent.
 */
import { statSync } from "node:fs";
import Database from "better-sqlite3";
import { asStoreError, storeError } from "./sqlite-errors.ts";

export interface SqliteOptions {
  /**
   * `full` (default): a commit has reached the disk when it returns. `normal`: a commit survives the end of the process, but the last
   * ones may be lost with the power.
   */
  readonly durability?: "full" | "normal" | undefined;
  /** How long to wait for another process's transaction. ms; 5,000 by default. */
  readonly busyTimeoutMs?: number | undefined;
}

/** "OmRl" in the file's header: what `file` and we know our files by. */
const APPLICATION_ID = 0x4f_6d_52_6c;
/** Layout of our files. A file with a higher one was written by a newer release. */
const USER_VERSION = 1;
const BUSY_TIMEOUT_MS = 5_000;
/** Files up to this size are checked page by page at each start: it costs less than a tenth of a second. Bytes. */
const CHECK_BYTES_MAX = 64 * 1024 * 1024;
/** What is left of a write-ahead log after a checkpoint is cut to this. Bytes. */
const WAL_BYTES_KEPT = 64 * 1024 * 1024;
const RETRY_MS = 5;

/**
 * Opens the file, or creates it in a folder that exists; `:memory:` gives a database that ends with its connection.
 *
 * Throws: OperatingError `store_unusable` (folder missing, no right to write), `store_corrupt`, `store_foreign` (a database of somebody
 * else), `store_newer` (written by a newer release), `store_busy`, `store_sqlite` (a SQLite that can lose commits); all definite.
 */
export function openSqlite(path: string, options: SqliteOptions = {}): Database.Database {
  const { durability = "full", busyTimeoutMs = BUSY_TIMEOUT_MS } = options;
  let db: Database.Database | undefined;
  try {
    db = new Database(path, { timeout: busyTimeoutMs });
    checkSqliteVersion(db, path);
    db.pragma("trusted_schema = OFF");
    db.pragma("cell_size_check = ON");
    takeOwnership(db, path);
    checkPages(db, path);
    setJournal(db, path, busyTimeoutMs);
    db.pragma(`synchronous = ${durability === "full" ? "FULL" : "NORMAL"}`);
    db.pragma(`journal_size_limit = ${WAL_BYTES_KEPT}`);
    db.pragma("foreign_keys = ON");
    db.pragma("temp_store = MEMORY");
    return db;
  } catch (error) {
    db?.close();
    throw asStoreError(error, path);
  }
}

/** SQLite 3.7.0 to 3.51.2 can lose committed pages when two connections write and checkpoint at one instant; three lines have the repair. */
function checkSqliteVersion(db: Database.Database, path: string): void {
  const version = db.prepare<[], string>("SELECT sqlite_version()").pluck().get() ?? "";
  if (!isVersionSafe(version))
    throw storeError("store_sqlite", path, `SQLite ${version} can lose commits in WAL mode; 3.51.3 or newer is needed`);
}

export function isVersionSafe(version: string): boolean {
  const [major = 0, minor = 0, patch = 0] = version.split(".").map(Number);
  if (major !== 3) return major > 3;
  if (minor === 44) return patch >= 6;
  if (minor === 50) return patch >= 7;
  return minor > 51 || (minor === 51 && patch >= 3);
}

/** Marks an empty file as ours; refuses any other that is not. One transaction, because several processes may begin a file together. */
function takeOwnership(db: Database.Database, path: string): void {
  if (isOurs(db, path)) return;
  const mark = db.transaction(() => {
    if (isOurs(db, path)) return;
    db.pragma(`application_id = ${APPLICATION_ID}`);
    db.pragma(`user_version = ${USER_VERSION}`);
  });
  mark.immediate();
}

function isOurs(db: Database.Database, path: string): boolean {
  const applicationId = db.pragma("application_id", { simple: true });
  const version = Number(db.pragma("user_version", { simple: true }));
  if (applicationId === APPLICATION_ID) {
    if (version > USER_VERSION)
      throw storeError(
        "store_newer",
        path,
        `its layout ${version} is newer than ${USER_VERSION}; start the newer release again`,
      );
    return true;
  }
  const tables = db.prepare<[], number>("SELECT count(*) FROM sqlite_schema").pluck().get();
  if (applicationId !== 0 || version !== 0 || tables !== 0)
    throw storeError("store_foreign", path, "it is a database of another application; give another path");
  return false;
}

/** A damaged page would otherwise show when somebody happens to read it. */
function checkPages(db: Database.Database, path: string): void {
  if (db.memory || statSync(path).size > CHECK_BYTES_MAX) return;
  const result = db.pragma("quick_check(1)", { simple: true });
  if (result !== "ok")
    throw storeError("store_corrupt", path, `${result}; restore it from a backup, or move it away to begin anew`);
}

/** Switching to WAL needs the file alone for a moment and does not wait by itself, so processes that start together take turns. */
function setJournal(db: Database.Database, path: string, busyTimeoutMs: number): void {
  const endMs = performance.now() + busyTimeoutMs;
  for (;;) {
    try {
      const mode = db.pragma("journal_mode = WAL", { simple: true });
      if (mode === "wal" || (mode === "memory" && db.memory)) return;
      throw storeError(
        "store_unusable",
        path,
        `its volume does not allow write-ahead logging (journal mode stays ${mode})`,
      );
    } catch (error) {
      const isBusy = error instanceof Database.SqliteError && error.code.startsWith("SQLITE_BUSY");
      if (!isBusy || performance.now() >= endMs) throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, RETRY_MS);
    }
  }
}
