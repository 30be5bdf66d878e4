/** The table of events of a SQLite sink, and the statements on it. */
import type { Database, Statement } from "better-sqlite3";
import type { ReplicationEvent } from "../../../contracts/envelope.ts";
import { storeError } from "../../persistence/sqlite-errors.ts";
import type { SinkScope } from "../sink.ts";

/** Says of each table of events which layout it has. */
const LAYOUT_TABLE = "replication_layout";
/** How tables of events are named: nothing that has to be quoted with care, and no name that is ours or SQLite's own. */
export const TABLE_NAME = /^(?!sqlite_|sink_|replication_layout$)[a-z][a-z0-9_]{0,62}$/;

/** What each layout adds to the one before; the first one makes the table. Never changed, only added to. */
const LAYOUTS: readonly ((table: string) => string)[] = [
  (table) => `
    CREATE TABLE "${table}" (
      region TEXT NOT NULL,
      shard TEXT NOT NULL,
      sequence INTEGER NOT NULL,
      timestamp TEXT NOT NULL,
      event_type TEXT NOT NULL,
      item_id TEXT,
      resource_type TEXT,
      resource_id TEXT,
      owner_peer_id TEXT,
      ownership_token INTEGER,
      event TEXT NOT NULL,
      PRIMARY KEY (region, shard, sequence)
    ) STRICT`,
];

/** Besides region and shard, which are bound once for all rows. */
const COLUMNS = [
  ...["sequence", "timestamp", "event_type", "item_id", "resource_type", "resource_id"],
  ...["owner_peer_id", "ownership_token", "event"],
];
/** Rows of one insert: more make it no faster. */
const ROWS = 32;

/**
 * Makes the tables, or brings them to the newest layout; belongs into a transaction of the caller.
 * Throws: OperatingError `store_foreign` (another table has the name), `store_newer` (a newer release has changed it); both definite.
 */
export function layOut(db: Database, table: string): void {
  db.exec(`CREATE TABLE IF NOT EXISTS ${LAYOUT_TABLE} (
    table_name TEXT PRIMARY KEY,
    user_version INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID`);
  const read = db.prepare<[string], number>(`SELECT user_version FROM ${LAYOUT_TABLE} WHERE table_name = ?`).pluck();
  const layout = read.get(table) ?? 0;
  if (layout > LAYOUTS.length) {
    const reason = `layout ${layout} of its table ${table} is newer than ${LAYOUTS.length}; start the newer release again`;
    throw storeError("store_newer", db.name, reason);
  }
  const taken = db.prepare<[string], number>("SELECT count(*) FROM sqlite_schema WHERE name = ?").pluck().get(table);
  if (layout === 0 && taken !== 0)
    throw storeError(
      "store_foreign",
      db.name,
      `its table ${table} was not made by this kind of sink; name another one`,
    );
  for (const next of LAYOUTS.slice(layout)) db.exec(next(table));
  db.prepare(`INSERT OR REPLACE INTO ${LAYOUT_TABLE} VALUES (?, ?)`).run(table, LAYOUTS.length);
}

/** What is kept of the rows of a shard. */
export interface Retention {
  /** Rows up to this sequence may go. */
  readonly upToSequence: number;
  /** Rows from before this time may go; an ISO 8601 time in UTC. */
  readonly beforeTime: string;
  /** Most rows that go in one step. */
  readonly rowsMax: number;
}

export interface OldestRow {
  readonly sequence: number;
  readonly timestamp: string;
  readonly logId: string | null;
}

/** Statements on one shard's rows, prepared once. Those that write belong into a transaction of the caller. */
export class SqliteRows {
  readonly #db: Database;
  readonly #table: string;
  /** What is bound by name. */
  readonly #scope: Pick<SinkScope, "region" | "shard">;
  readonly #statements = new Map<string, Statement>();

  constructor(db: Database, table: string, { region, shard }: SinkScope) {
    this.#db = db;
    this.#table = table;
    this.#scope = { region, shard };
  }

  /** Adds rows. One that is there already, because events come again after a seek, takes the new contents. */
  insert(events: readonly ReplicationEvent[]): void {
    for (let start = 0; start < events.length; start += ROWS) {
      const rows = events.slice(start, start + ROWS);
      this.#statement(insertSql(this.#table, rows.length)).run(rows.flatMap(valuesOf), this.#scope);
    }
  }

  /** Removes the oldest rows that may go, not more than one step. Answers how many went. */
  forget({ upToSequence, beforeTime, rowsMax }: Retention): number {
    const oldest = `SELECT rowid FROM "${this.#table}" WHERE region = @region AND shard = @shard ORDER BY sequence`;
    return this.#statement(
      `DELETE FROM "${this.#table}" WHERE rowid IN (${oldest} LIMIT @rowsMax) AND (sequence <= @upToSequence OR timestamp < @beforeTime)`,
    ).run({ ...this.#scope, upToSequence, beforeTime, rowsMax }).changes;
  }

  /** The oldest row: it shows whose log this is, and whether anything may go. */
  oldest(): OldestRow | undefined {
    return this.#statement(
      `SELECT sequence, timestamp, event ->> '$.metadata."log.id"' AS logId FROM "${this.#table}"
       WHERE region = @region AND shard = @shard ORDER BY sequence LIMIT 1`,
    ).get(this.#scope) as OldestRow | undefined;
  }

  #statement(sql: string): Statement {
    const statement = this.#statements.get(sql) ?? this.#db.prepare(sql);
    this.#statements.set(sql, statement);
    return statement;
  }
}

function insertSql(table: string, rows: number): string {
  const row = `(@region, @shard${", ?".repeat(COLUMNS.length)})`;
  const names = COLUMNS.join(", ");
  return `INSERT INTO "${table}" (region, shard, ${names}) VALUES ${Array(rows).fill(row).join(", ")}
    ON CONFLICT DO UPDATE SET (${names}) = (${COLUMNS.map((name) => `excluded.${name}`).join(", ")})`;
}

/** In the order of `COLUMNS`. */
function valuesOf(event: ReplicationEvent): (string | number | null)[] {
  const { sequenceNumber, timestamp, eventType, itemId, resourceType, resourceId, ownerPeerId, ownershipToken } = event;
  return [
    ...[sequenceNumber, timestamp, eventType, itemId ?? null, resourceType ?? null, resourceId ?? null],
    ...[ownerPeerId ?? null, ownershipToken ?? null, JSON.stringify(event)],
  ];
}
