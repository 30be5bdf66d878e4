/** The tables of a SQLite sink, and the statements on them: effects and the place where they end stand in one file, so that one commit moves both. */
import type { Database, Statement } from "better-sqlite3";
import type { ReplicationEvent } from "../../../contracts/envelope.ts";
import { Checkpoint } from "../../../contracts/followers.ts";
import type { SinkScope } from "../sink.ts";

/** Tables of every such file; the table of events is named by the options. */
const LAYOUT_TABLE = "replication_layout";
const PLACE_TABLE = "replication_place";
/** How tables of events are named: nothing that has to be quoted with care, and none of ours or SQLite's own. */
export const TABLE_NAME = /^(?!sqlite_|replication_(layout|place)$)[a-z][a-z0-9_]{0,62}$/;

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

/** `foreign`: a table of somebody else has the name. `newer`: a newer release has changed its layout. */
export type LayoutOutcome =
  | { readonly kind: "ready" | "foreign" }
  | { readonly kind: "newer"; readonly layout: number };

/** Makes the tables, or brings them to the newest layout. Other processes may do the same at the same time. */
export function layOut(db: Database, table: string): LayoutOutcome {
  const change = db.transaction((): LayoutOutcome => {
    db.exec(`CREATE TABLE IF NOT EXISTS ${LAYOUT_TABLE} (
      table_name TEXT PRIMARY KEY,
      user_version INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID`);
    db.exec(`CREATE TABLE IF NOT EXISTS ${PLACE_TABLE} (
      table_name TEXT NOT NULL,
      region TEXT NOT NULL,
      shard TEXT NOT NULL,
      log_id TEXT NOT NULL,
      sequence INTEGER NOT NULL,
      revision INTEGER NOT NULL,
      place TEXT NOT NULL,
      PRIMARY KEY (table_name, region, shard)
    ) STRICT, WITHOUT ROWID`);
    const read = db.prepare<[string], number>(`SELECT user_version FROM ${LAYOUT_TABLE} WHERE table_name = ?`).pluck();
    const layout = read.get(table) ?? 0;
    if (layout > LAYOUTS.length) return { kind: "newer", layout };
    const taken = db.prepare<[string], number>("SELECT count(*) FROM sqlite_schema WHERE name = ?").pluck().get(table);
    if (layout === 0 && taken !== 0) return { kind: "foreign" };
    for (const next of LAYOUTS.slice(layout)) db.exec(next(table));
    db.prepare(`INSERT OR REPLACE INTO ${LAYOUT_TABLE} VALUES (?, ?)`).run(table, LAYOUTS.length);
    return { kind: "ready" };
  });
  return change.immediate();
}

export interface StoredPlace {
  readonly place: Checkpoint;
  /** Rises with each commit: only who knows the newest may write. 0: there is no place yet. */
  readonly revision: number;
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

/** Statements on one shard's rows, prepared once. Those that write belong into a transaction of the caller. */
export class SqliteRows {
  readonly #db: Database;
  readonly #table: string;
  /** What is bound by name. */
  readonly #scope: { readonly table: string; readonly region: string; readonly shard: string };
  readonly #statements = new Map<string, Statement>();

  constructor(db: Database, table: string, { region, shard }: SinkScope) {
    this.#db = db;
    this.#table = table;
    this.#scope = { table, region, shard };
  }

  storedPlace(): StoredPlace | undefined {
    const row = this.#statement(
      `SELECT place, revision FROM ${PLACE_TABLE} WHERE table_name = @table AND region = @region AND shard = @shard`,
    ).get(this.#scope) as { readonly place: string; readonly revision: number } | undefined;
    return row === undefined ? undefined : { place: Checkpoint.parse(JSON.parse(row.place)), revision: row.revision };
  }

  /** Writes the place where its revision is still the one that is known. Answers whether it was. */
  movePlace(place: Checkpoint, revision: number): boolean {
    const { logId, sequence } = place;
    const sql =
      revision === 0
        ? `INSERT INTO ${PLACE_TABLE} (table_name, region, shard, log_id, sequence, place, revision)
           VALUES (@table, @region, @shard, @logId, @sequence, @text, 1) ON CONFLICT DO NOTHING`
        : `UPDATE ${PLACE_TABLE} SET log_id = @logId, sequence = @sequence, place = @text, revision = @revision + 1
           WHERE table_name = @table AND region = @region AND shard = @shard AND revision = @revision`;
    const text = JSON.stringify(place);
    return this.#statement(sql).run({ ...this.#scope, logId, sequence, text, revision }).changes === 1;
  }

  /** Adds rows. One that is there already, because events come again after a seek, takes the new contents. */
  insert(events: readonly ReplicationEvent[]): void {
    const { region, shard } = this.#scope;
    for (let start = 0; start < events.length; start += ROWS) {
      const rows = events.slice(start, start + ROWS);
      this.#statement(insertSql(this.#table, rows.length)).run(rows.flatMap(valuesOf), { region, shard });
    }
  }

  /** Removes the oldest rows that may go, not more than one step. Answers how many went. */
  forget({ upToSequence, beforeTime, rowsMax }: Retention): number {
    const oldest = `SELECT rowid FROM "${this.#table}" WHERE region = @region AND shard = @shard ORDER BY sequence`;
    const { region, shard } = this.#scope;
    return this.#statement(
      `DELETE FROM "${this.#table}" WHERE rowid IN (${oldest} LIMIT @rowsMax) AND (sequence <= @upToSequence OR timestamp < @beforeTime)`,
    ).run({ region, shard, upToSequence, beforeTime, rowsMax }).changes;
  }

  /** The oldest row, by which it shows whether anything may go. */
  oldest(): { readonly sequence: number; readonly timestamp: string } | undefined {
    const { region, shard } = this.#scope;
    return this.#statement(
      `SELECT sequence, timestamp FROM "${this.#table}" WHERE region = @region AND shard = @shard ORDER BY sequence LIMIT 1`,
    ).get({ region, shard }) as { readonly sequence: number; readonly timestamp: string } | undefined;
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
