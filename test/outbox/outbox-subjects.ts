/** The databases that the outbox is tried on: each driver with a database of its own, for vitest's `describe.each`. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { PGlite } from "@electric-sql/pglite";
import Database from "better-sqlite3";
import pg from "pg";
import type { EnqueueInput } from "../../services/client/mod.ts";
import {
  enqueueInTransaction,
  type OutboxDatabase,
  outboxTable,
  type PostgresDatabase,
} from "../../services/outbox/mod.ts";
import { postgresNote, postgresServer } from "../support/postgres.ts";
import type { Cleanup } from "../support/process.ts";

export interface OutboxSubject {
  readonly db: OutboxDatabase;
  /** Enqueues the items in one transaction, which is then committed or rolled back. */
  write(items: readonly EnqueueInput[], end?: "COMMIT" | "ROLLBACK"): Promise<void>;
  rows(sql: string): Promise<readonly Record<string, unknown>[]>;
}

export function sqliteFile(cleanup: Cleanup): string {
  const folder = mkdtempSync(join(tmpdir(), "omnirelay-outbox-"));
  cleanup(async () => rmSync(folder, { recursive: true, force: true }));
  return join(folder, "service.sqlite");
}

export function nodeSqlite(path: string): DatabaseSync {
  const db = new DatabaseSync(path);
  db.exec("PRAGMA journal_mode = WAL; PRAGMA busy_timeout = 5000");
  return db;
}

export function ofSqlite(db: DatabaseSync | Database.Database): OutboxSubject {
  db.exec(outboxTable("sqlite"));
  return {
    db,
    write: async (items, end = "COMMIT") => {
      db.exec("BEGIN IMMEDIATE");
      try {
        for (const item of items) enqueueInTransaction(db, item);
        db.exec(end);
      } catch (error) {
        db.exec("ROLLBACK");
        throw error;
      }
    },
    rows: async (sql) => db.prepare(sql).all() as Record<string, unknown>[],
  };
}

type Transaction = (run: (db: PostgresDatabase) => Promise<void>) => Promise<unknown>;
class RolledBack extends Error {}

/** `transaction` commits unless its function throws. */
async function ofPostgres(db: PostgresDatabase, transaction: Transaction): Promise<OutboxSubject> {
  for (const statement of outboxTable("postgres").split(";\n").filter(Boolean)) await db.query(statement, []);
  return {
    db,
    write: (items, end = "COMMIT") =>
      transaction(async (within) => {
        for (const item of items) await enqueueInTransaction(within, item);
        if (end === "ROLLBACK") throw new RolledBack();
      }).then(
        () => undefined,
        (error: unknown) => {
          if (!(error instanceof RolledBack)) throw error;
        },
      ),
    rows: async (sql) => (await db.query(sql, [])).rows as Record<string, unknown>[],
  };
}

/** A transaction as a service writes it with pg: on one client of its pool. */
async function withPool(pool: pg.Pool, run: (db: PostgresDatabase) => Promise<void>): Promise<void> {
  const client = await pool.connect();
  try {
    await client.query("BEGIN");
    await run(client);
    await client.query("COMMIT");
  } catch (error) {
    await client.query("ROLLBACK");
    throw error;
  } finally {
    client.release();
  }
}

/** The outbox in a PostgreSQL that runs. */
export async function postgresOutbox(url: string, cleanup: Cleanup): Promise<OutboxSubject> {
  const pool = new pg.Pool({ connectionString: url });
  cleanup(() => pool.end());
  return ofPostgres(pool, (run) => withPool(pool, run));
}

export interface NamedSubject {
  readonly name: string;
  /** Why it cannot be tried here. */
  readonly note: string | undefined;
  open(cleanup: Cleanup): Promise<OutboxSubject>;
}

export const SUBJECTS: readonly NamedSubject[] = [
  {
    name: "node:sqlite",
    note: undefined,
    open: async (cleanup) => {
      const db = nodeSqlite(sqliteFile(cleanup));
      cleanup(async () => db.close());
      return ofSqlite(db);
    },
  },
  {
    name: "better-sqlite3",
    note: undefined,
    open: async (cleanup) => {
      const db = new Database(sqliteFile(cleanup));
      cleanup(async () => void db.close());
      return ofSqlite(db);
    },
  },
  {
    name: "PGlite",
    note: undefined,
    open: async (cleanup) => {
      const db = new PGlite();
      cleanup(() => db.close());
      return ofPostgres(db, (run) => db.transaction(run));
    },
  },
  {
    name: "PostgreSQL",
    note: postgresNote,
    open: async (cleanup) => postgresOutbox(await postgresServer(cleanup), cleanup),
  },
];
