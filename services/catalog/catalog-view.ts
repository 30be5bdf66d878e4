/** Reads the catalog: whole, as the figures that `ingest` prints, and in pages for the control plane. */
import type { Database } from "better-sqlite3";

export interface TableView {
  readonly table: string;
  readonly kind: "delta" | "lakehouse";
  /** Last commit of a Delta table, from 0; of a demo table the count of its mutations. */
  readonly version: number;
  readonly activeFiles: number;
  readonly activeBytes: number;
  /** null when no schema is known. */
  readonly columns: readonly string[] | null;
  readonly partitionColumns: readonly string[];
  /** null when the log names no protocol. */
  readonly minReaderVersion: number | null;
  /** Snapshots kept of a demo table; 0 for a Delta table. */
  readonly snapshots: number;
}

export interface TablePage {
  readonly tables: readonly TableView[];
  /** Name to go on after; undefined at the end. */
  readonly cursor: string | undefined;
}

interface Row {
  readonly name: string;
  readonly kind: "delta" | "lakehouse";
  readonly version: number;
  readonly active_files: number;
  readonly active_bytes: number;
  readonly columns: string | null;
  readonly partition_columns: string;
  readonly min_reader_version: number | null;
  readonly snapshots: number;
}

const SELECT = `SELECT name, kind, version, active_files, active_bytes, columns, partition_columns, min_reader_version,
  (SELECT count(*) FROM lakehouse_snapshot WHERE table_name = name) AS snapshots FROM catalog_table`;

/** A page of tables in order of name (by code unit), after `cursor` where one is given. */
export function listTables(
  db: Database,
  page: { readonly limit: number; readonly cursor?: string | undefined },
): TablePage {
  const rows = db
    .prepare<[string, number], Row>(`${SELECT} WHERE name > ? ORDER BY name LIMIT ?`)
    .all(page.cursor ?? "", page.limit + 1);
  const tables = rows.slice(0, page.limit).map(viewOf);
  return { tables, cursor: rows.length > page.limit ? tables.at(-1)?.table : undefined };
}

/** One table, undefined when the catalog has none of that name. */
export function getTable(db: Database, name: string): TableView | undefined {
  const row = db.prepare<[string], Row>(`${SELECT} WHERE name = ?`).get(name);
  return row === undefined ? undefined : viewOf(row);
}

/** All Delta tables by name. A Map, for a table may be called `__proto__`. */
export function catalogView(db: Database): ReadonlyMap<string, TableView> {
  const rows = db.prepare<[], Row>(`${SELECT} WHERE kind = 'delta' ORDER BY name`).all();
  return new Map(rows.map((row) => [row.name, viewOf(row)]));
}

function viewOf(row: Row): TableView {
  return {
    table: row.name,
    kind: row.kind,
    version: row.version,
    activeFiles: row.active_files,
    activeBytes: row.active_bytes,
    columns: row.columns === null ? null : (JSON.parse(row.columns) as string[]),
    partitionColumns: JSON.parse(row.partition_columns) as string[],
    minReaderVersion: row.min_reader_version,
    snapshots: row.snapshots,
  };
}
