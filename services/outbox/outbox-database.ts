/** The drivers that an outbox runs on, by the little that it needs of them, so that the package depends on none. */
import { OperatingError } from "../../contracts/errors.ts";
import type { OutboxDialect } from "./outbox-sql.ts";

export type OutboxValue = string | number;
/** `DatabaseSync` of node:sqlite, `Database` of better-sqlite3. */
export interface SqliteDatabase {
  prepare(sql: string): { all(...values: OutboxValue[]): unknown[] };
}
/** `Client`, `Pool` and `PoolClient` of pg, PGlite. Within a transaction of yours: its own client, not the pool. */
export interface PostgresDatabase {
  query(sql: string, values: OutboxValue[]): Promise<{ readonly rows: unknown[] }>;
}
export type OutboxDatabase = SqliteDatabase | PostgresDatabase;

type Row = Readonly<Record<string, unknown>>;

export const dialectOf = (db: OutboxDatabase): OutboxDialect => ("prepare" in db ? "sqlite" : "postgres");

export function runSqlite(db: SqliteDatabase, sql: string, values: readonly OutboxValue[]): readonly Row[] {
  return db.prepare(sql).all(...values) as Row[];
}

export async function runPostgres(
  db: PostgresDatabase,
  sql: string,
  values: readonly OutboxValue[],
): Promise<readonly Row[]> {
  let index = 0;
  const numbered = sql.replaceAll("?", () => {
    index += 1;
    return `$${index}`;
  });
  return (await db.query(numbered, [...values])).rows as Row[];
}

/** Runs a statement for the relay. Throws: OperatingError `outbox_database`, whatever the driver throws: a file that is busy, a connection that is down. */
export async function run(db: OutboxDatabase, sql: string, values: readonly OutboxValue[]): Promise<readonly Row[]> {
  try {
    return "prepare" in db ? runSqlite(db, sql, values) : await runPostgres(db, sql, values);
  } catch (error) {
    throw databaseError(error);
  }
}

function databaseError(cause: unknown): OperatingError {
  const message = `the outbox cannot be read or written: ${cause instanceof Error ? cause.message : String(cause)}`;
  return new OperatingError("outbox_database", message, { definite: false, cause });
}
