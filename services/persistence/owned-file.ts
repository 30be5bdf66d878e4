/** Keeps a second process out of a folder: a file of it that one process holds as long as it lives. A note of a process id would outlive it. */
import Database from "better-sqlite3";
import type { Closable } from "../../contracts/ports.ts";
import { openSqlite } from "./sqlite.ts";

/** How long to wait for another process that is just making the file. ms. */
const BUSY_MS = 1_000;

/**
 * Takes the file, which is made where it is missing; the operating system gives it back when the process ends, however it ends.
 * Undefined while somebody else holds it.
 * Throws: as `openSqlite`.
 */
export function ownFile(path: string): Closable | undefined {
  const db = openSqlite(path, { durability: "normal", busyTimeoutMs: BUSY_MS });
  try {
    db.pragma("busy_timeout = 0");
    // Never committed: the write lock of the database is what is held.
    db.exec("BEGIN IMMEDIATE");
    return db;
  } catch (error) {
    db.close();
    if (error instanceof Database.SqliteError && error.code.startsWith("SQLITE_BUSY")) return undefined;
    throw error;
  }
}
