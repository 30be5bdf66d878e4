/** The tables of an outbox and every statement on them, in the dialects of SQLite and PostgreSQL. Each statement is atomic by itself. */
import { OperatingError } from "../../contracts/errors.ts";

export type OutboxDialect = "sqlite" | "postgres";

export const OUTBOX_TABLE_DEFAULT = "omnirelay_outbox";
/** Two statements follow the name with a suffix, and PostgreSQL cuts names at 63 bytes. */
const TABLE = /^[a-z_][a-z0-9_]{0,39}$/;

/** What differs between the two. Times are ms since 1970, by the database's clock: relays on several machines have no other in common. */
const DIALECTS = {
  sqlite: {
    nowMs: "CAST(unixepoch('subsec') * 1000 AS INTEGER)",
    key: "INTEGER PRIMARY KEY AUTOINCREMENT",
    /** The numbers of a JSON list. */
    numbers: "SELECT value FROM json_each(?)",
  },
  postgres: {
    nowMs: "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)",
    key: "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
    numbers: "SELECT CAST(value AS BIGINT) FROM json_array_elements_text(CAST(? AS JSON))",
  },
} as const satisfies Record<OutboxDialect, object>;

/**
 * The statements that create an outbox where it is missing; for your migrations. `sequence` is the order, `request_id` makes each item one however
 * often it is sent, `sent_after` is the shard's sequence before it was first sent, `parked_code` and `parked_reason` say why it is sent no more.
 */
export function outboxTable(dialect: OutboxDialect, table: string = OUTBOX_TABLE_DEFAULT): string {
  requireTable(table);
  const { key, nowMs } = DIALECTS[dialect];
  return `CREATE TABLE IF NOT EXISTS ${table} (
  sequence ${key},
  request_id TEXT NOT NULL UNIQUE,
  item TEXT NOT NULL,
  created_ms BIGINT NOT NULL DEFAULT (${nowMs}),
  sent_after BIGINT,
  parked_code TEXT,
  parked_reason TEXT
);
CREATE INDEX IF NOT EXISTS ${table}_waiting ON ${table} (sequence) WHERE parked_code IS NULL;
CREATE TABLE IF NOT EXISTS ${table}_turn (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  owner TEXT NOT NULL,
  until_ms BIGINT NOT NULL
);
INSERT INTO ${table}_turn (id, owner, until_ms) VALUES (1, '', 0) ON CONFLICT DO NOTHING;
`;
}

/** Every statement returns rows, because some drivers ask for another call where none can come. Parameters are `?`, in order. */
export function outboxStatements(dialect: OutboxDialect, table: string) {
  requireTable(table);
  const { nowMs, numbers } = DIALECTS[dialect];
  return {
    /** request id, item. */
    insert: `INSERT INTO ${table} (request_id, item) VALUES (?, ?) RETURNING sequence`,
    /** owner, length in ms, owner. No row: another relay has the turn. */
    takeTurn: `UPDATE ${table}_turn SET owner = ?, until_ms = ${nowMs} + ? WHERE owner = ? OR until_ms < ${nowMs} RETURNING id`,
    /** owner. */
    endTurn: `UPDATE ${table}_turn SET until_ms = 0 WHERE owner = ? RETURNING id`,
    /** count. */
    first: `SELECT sequence, request_id, item, sent_after FROM ${table} WHERE parked_code IS NULL ORDER BY sequence LIMIT ?`,
    /** sequence of the shard, list. */
    markSent: `UPDATE ${table} SET sent_after = ? WHERE sequence IN (${numbers}) AND sent_after IS NULL RETURNING sequence`,
    /** list. */
    remove: `DELETE FROM ${table} WHERE sequence IN (${numbers}) RETURNING sequence`,
    /** code, reason, sequence. */
    park: `UPDATE ${table} SET parked_code = ?, parked_reason = ? WHERE sequence = ? RETURNING sequence`,
    stats: `SELECT count(*) AS rows, count(parked_code) AS parked,
  ${nowMs} - min(CASE WHEN parked_code IS NULL THEN created_ms END) AS lag_ms FROM ${table}`,
  } as const;
}

function requireTable(table: string): void {
  if (TABLE.test(table)) return;
  const message = `table: must match ${String(TABLE)}, and ${JSON.stringify(table)} does not`;
  throw new OperatingError("invalid_options", message, { definite: true });
}
