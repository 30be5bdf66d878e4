/** The databases whose outbox the command relays. PostgreSQL's driver is loaded when it is asked for, and installed by whoever needs it. */
import Database from "better-sqlite3";
import { OperatingError } from "../../contracts/errors.ts";
import type { OutboxDatabase } from "../outbox/mod.ts";

/** How long a statement waits for a transaction of the service, which stops the relay as long; then it is tried again. ms. */
const BUSY_MS = 250;
const CONNECT_MS = 10_000;
const STATEMENT_MS = 30_000;
/** One at work, and one for the figures that are told meanwhile. */
const CONNECTIONS_MAX = 2;

export interface OpenDatabase {
  readonly db: OutboxDatabase;
  close(): Promise<void>;
}

/** Opens the service's own file, as it is. Throws: OperatingError `outbox_database` (definite). */
export function openSqliteOutbox(path: string): OpenDatabase {
  let db: Database.Database;
  try {
    db = new Database(path, { fileMustExist: true, timeout: BUSY_MS });
  } catch (error) {
    throw unusable(`the SQLite file ${path} cannot be opened`, error as Error);
  }
  return { db, close: async () => void db.close() };
}

/**
 * `variable` holds the URL, which has a password in it. `onError` hears of connections that break while nobody uses them.
 * Throws: OperatingError `secret_unusable`, `driver_missing`; definite. Whether the server answers shows with the first statement.
 */
export async function openPostgresOutbox(variable: string, onError: (error: Error) => void): Promise<OpenDatabase> {
  const connectionString = process.env[variable] ?? "";
  if (connectionString === "")
    throw new OperatingError("secret_unusable", `the variable ${variable} holds no URL of a database; set it`, {
      definite: true,
    });
  const { Pool } = await postgresDriver();
  const pool = new Pool({
    ...{ connectionString, max: CONNECTIONS_MAX, application_name: "omnirelay outbox relay" },
    ...{ connectionTimeoutMillis: CONNECT_MS, statement_timeout: STATEMENT_MS, query_timeout: STATEMENT_MS },
  });
  pool.on("error", onError);
  return { db: pool, close: () => pool.end() };
}

async function postgresDriver(): Promise<Pick<typeof import("pg"), "Pool">> {
  try {
    return (await import("pg")).default;
  } catch (error) {
    throw missingDriver(error);
  }
}

function missingDriver(cause: unknown): OperatingError {
  const message = "PostgreSQL needs its driver beside this package: npm install pg";
  return new OperatingError("driver_missing", message, { definite: true, cause });
}

function unusable(what: string, cause: Error): OperatingError {
  return new OperatingError("outbox_database", `${what}: ${cause.message}`, { definite: true, cause });
}
