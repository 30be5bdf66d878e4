/** The public entry of the outbox: what users import as `omnirelay/outbox`. */
export { enqueueInTransaction } from "./enqueue-in-transaction.ts";
export type { OutboxDatabase, OutboxValue, PostgresDatabase, SqliteDatabase } from "./outbox-database.ts";
export { OutboxRelay, type OutboxRelayOptions, type OutboxStats, type ParkedRow } from "./outbox-relay.ts";
export { OUTBOX_TABLE_DEFAULT, type OutboxDialect, outboxTable } from "./outbox-sql.ts";
