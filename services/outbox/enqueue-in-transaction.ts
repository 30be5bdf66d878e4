/** Puts an item into the outbox within a transaction of the caller: it is enqueued if, and only if, that transaction commits. */
import { randomUUID } from "node:crypto";
import { type EnqueueInput, encodeItem } from "../client/entries.ts";
import { RefusedError } from "../client/refusal.ts";
import {
  dialectOf,
  type OutboxDatabase,
  type PostgresDatabase,
  runPostgres,
  runSqlite,
  type SqliteDatabase,
} from "./outbox-database.ts";
import { OUTBOX_TABLE_DEFAULT, outboxStatements } from "./outbox-sql.ts";

/**
 * Inserts the item, checked as an enqueue checks it, and returns its request id: the item's own, or a new one. A `delayMs` counts from when the
 * relay sends it.
 * Throws: RefusedError `invalid_argument`, `payload_too_large`; and what the driver throws.
 */
export function enqueueInTransaction(db: SqliteDatabase, item: EnqueueInput, table?: string): string;
export function enqueueInTransaction(db: PostgresDatabase, item: EnqueueInput, table?: string): Promise<string>;
export function enqueueInTransaction(
  db: OutboxDatabase,
  item: EnqueueInput,
  table: string = OUTBOX_TABLE_DEFAULT,
): string | Promise<string> {
  const requestId = item.requestId ?? randomUUID();
  const encoded = encodeItem({ ...item, requestId });
  if (encoded.kind === "refused") throw new RefusedError(encoded.error);
  const { insert } = outboxStatements(dialectOf(db), table);
  const values = [requestId, encoded.entry.text];
  if (!("prepare" in db)) return runPostgres(db, insert, values).then(() => requestId);
  runSqlite(db, insert, values);
  return requestId;
}
