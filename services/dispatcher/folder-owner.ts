/** Keeps two dispatchers out of one data folder: each would overwrite what the other remembers. */
import { join } from "node:path";
import type { Database } from "better-sqlite3";
import { OperatingError } from "../../contracts/errors.ts";
import { openSqlite } from "../persistence/sqlite.ts";

const LOCK_FILE = "dispatcher.lock";

/**
 * Takes the folder; the operating system gives it back when the process ends, however it ends.
 * Throws: OperatingError `data_dir_in_use` (definite).
 */
export function ownFolder(folder: string): Database {
  const lock = openSqlite(join(folder, LOCK_FILE));
  lock.pragma("busy_timeout = 0");
  try {
    // Never committed: the write lock of the file is the lock of the folder.
    lock.exec("BEGIN IMMEDIATE");
    return lock;
  } catch (error) {
    lock.close();
    throw inUse(folder, error);
  }
}

function inUse(folder: string, cause: unknown): OperatingError {
  return new OperatingError(
    "data_dir_in_use",
    `another dispatcher uses the data folder ${folder}; give this one a folder of its own with --data-dir`,
    { definite: true, cause, details: { folder } },
  );
}
