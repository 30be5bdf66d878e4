/** The catalog: what Delta commits and demo mutations add up to, written only through the fence of a lease. */
import assert from "node:assert/strict";
import type { Database } from "better-sqlite3";
import { OperatingError } from "../../contracts/errors.ts";
import { FencedStore, type FencedWrite } from "../persistence/mod.ts";
import { createIds } from "../runtime/ids.ts";
import { DeltaLogError, type FileChange, parseDeltaCommit, sumProblem } from "./delta-commit.ts";
import type { LakehouseMutation } from "./lakehouse-mutation.ts";

/** `applied`: done now. `duplicate`: this effect was done before, nothing was changed. */
export type ApplyOutcome = "applied" | "duplicate";

/**
 * Invariant: `active_files` and `active_bytes` of a Delta table are the count and the sum of its rows in `delta_file`; kept here, so
 * that a page of tables does not count files.
 */
const TABLES = `
  CREATE TABLE IF NOT EXISTS catalog_table (
    name TEXT PRIMARY KEY,
    kind TEXT NOT NULL CHECK (kind IN ('delta', 'lakehouse')),
    version INTEGER NOT NULL,
    active_files INTEGER NOT NULL,
    active_bytes INTEGER NOT NULL,
    columns TEXT,
    partition_columns TEXT NOT NULL,
    min_reader_version INTEGER
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS delta_file (
    table_name TEXT NOT NULL,
    key TEXT NOT NULL,
    size INTEGER NOT NULL,
    PRIMARY KEY (table_name, key)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS lakehouse_snapshot (
    table_name TEXT NOT NULL,
    snapshot INTEGER NOT NULL,
    files INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    PRIMARY KEY (table_name, snapshot)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS catalog_source (only_row INTEGER PRIMARY KEY CHECK (only_row = 1), log_id TEXT NOT NULL) STRICT;
  CREATE TABLE IF NOT EXISTS catalog_identity (only_row INTEGER PRIMARY KEY CHECK (only_row = 1), catalog_id TEXT NOT NULL) STRICT;
`;

/** Opens, or makes, the catalog in a file (`:memory:` for none that lasts). Throws: OperatingError when the file is not ours to open. */
export function openCatalog(path: string): FencedStore {
  return FencedStore.open(path, { migrate: (db) => db.exec(TABLES) });
}

/** The id that a catalog has had since it was made: it stays the same wherever the file is moved to. */
export function catalogIdOf(store: FencedStore): string {
  const db = store.database;
  db.prepare("INSERT INTO catalog_identity (only_row, catalog_id) VALUES (1, ?) ON CONFLICT DO NOTHING").run(
    createIds().id("catalog"),
  );
  const id = db.prepare<[], string>("SELECT catalog_id FROM catalog_identity").pluck().get();
  assert(id !== undefined, "a catalog has an id");
  return id;
}

/**
 * Checks that a catalog is not bound to another log, without binding it.
 * Throws: OperatingError `catalog_log_differs` (definite).
 */
export function checkCatalogLog(store: FencedStore, logId: string): void {
  const db = store.database;
  const bound = db.prepare<[], string>("SELECT log_id FROM catalog_source").pluck().get();
  if (bound === undefined || bound === logId) return;
  throw new OperatingError(
    "catalog_log_differs",
    `the catalog ${db.name} was written from log ${bound}, not from ${logId}: use the data folder of that mesh, or another --data-dir`,
    { definite: true },
  );
}

/**
 * Binds a catalog to the log that its items come from: the tokens of another log are other numbers, so its fence would refuse or,
 * worse, let pass at random.
 * Throws: OperatingError `catalog_log_differs` (definite).
 */
export function bindCatalog(store: FencedStore, logId: string): void {
  const db = store.database;
  db.prepare("INSERT INTO catalog_source (only_row, log_id) VALUES (1, ?) ON CONFLICT DO NOTHING").run(logId);
  checkCatalogLog(store, logId);
}

/**
 * Applies one commit of a Delta table, in one transaction with the fence.
 *
 * Refuses with: whatever FencedStore refuses (a lower token than it has seen).
 * Throws: DeltaLogError for text that is no commit, and for sizes that add up to more than a number holds; OperatingError `version_gap` when `version` is not the table's next one: a commit
 * was lost or applied out of order, and nothing after it may be applied. All definite.
 */
export function applyDeltaCommit(
  store: FencedStore,
  write: FencedWrite,
  table: string,
  version: number,
  commit: string,
): ApplyOutcome {
  const changes = parseDeltaCommit({ table }, commit);
  return store.apply(write, (db) => {
    const last = db
      .prepare<[string], { version: number; kind: string; bytes: number }>(
        "SELECT version, kind, active_bytes AS bytes FROM catalog_table WHERE name = ?",
      )
      .get(table);
    const next = last === undefined ? 0 : last.version + 1;
    if (version !== next || (last !== undefined && last.kind !== "delta"))
      throw new OperatingError(
        "version_gap",
        `table ${JSON.stringify(table)} is to get version ${version}, but its next one is ${next}`,
        {
          definite: true,
          details: { table, version, next },
        },
      );
    if (last === undefined) insertTable(db, table, "delta", null, []);
    const grown = changeFiles(db, table, changes.files, (bytes) => {
      if (!Number.isSafeInteger((last?.bytes ?? 0) + bytes)) throw new DeltaLogError({ table }, sumProblem(version));
    });
    db.prepare(
      "UPDATE catalog_table SET version = ?, active_files = active_files + ?, active_bytes = active_bytes + ? WHERE name = ?",
    ).run(version, grown.files, grown.bytes, table);
    if (changes.metadata !== undefined)
      updateColumns(db, table, changes.metadata.columns, changes.metadata.partitionColumns);
    if (changes.protocol !== undefined)
      db.prepare("UPDATE catalog_table SET min_reader_version = ? WHERE name = ?").run(
        changes.protocol.minReaderVersion,
        table,
      );
  });
}

/** Applies the file changes in order; returns by how much the table's count and bytes change. `check` sees the bytes after each. */
function changeFiles(
  db: Database,
  table: string,
  files: readonly FileChange[],
  check: (bytes: number) => void,
): { files: number; bytes: number } {
  const find = db
    .prepare<[string, string], number>("SELECT size FROM delta_file WHERE table_name = ? AND key = ?")
    .pluck();
  const put = db.prepare(
    "INSERT INTO delta_file (table_name, key, size) VALUES (?, ?, ?) ON CONFLICT (table_name, key) DO UPDATE SET size = excluded.size",
  );
  const remove = db.prepare("DELETE FROM delta_file WHERE table_name = ? AND key = ?");
  const grown = { files: 0, bytes: 0 };
  for (const { key, size } of files) {
    const before = find.get(table, key);
    if (before !== undefined) {
      grown.files -= 1;
      grown.bytes -= before;
    }
    if (size !== undefined) {
      put.run(table, key, size);
      grown.files += 1;
      grown.bytes += size;
    } else if (before !== undefined) remove.run(table, key);
    check(grown.bytes);
  }
  return grown;
}

/** Applies one mutation of the demo, in one transaction with the fence. A table that is not there yet is made without columns. */
export function applyLakehouseMutation(
  store: FencedStore,
  write: FencedWrite,
  mutation: LakehouseMutation,
): ApplyOutcome {
  return store.apply(write, (db) => {
    const { table } = mutation;
    const row = db
      .prepare<[string], { kind: string; columns: string | null; version: number }>(
        "SELECT kind, columns, version FROM catalog_table WHERE name = ?",
      )
      .get(table);
    if (row !== undefined && row.kind !== "lakehouse")
      throw new OperatingError("table_kind_differs", `table ${JSON.stringify(table)} is a Delta table`, {
        definite: true,
      });
    if (row === undefined) insertTable(db, table, "lakehouse", [], []);
    const version = (row?.version ?? 0) + 1;
    db.prepare("UPDATE catalog_table SET version = ? WHERE name = ?").run(version, table);
    if (mutation.kind === "CreateTable") updateColumns(db, table, mutation.columns, mutation.partitionColumns ?? []);
    else if (mutation.kind === "AlterSchema") alterColumns(db, table, JSON.parse(row?.columns ?? "[]"), mutation);
    else if (mutation.kind === "CommitSnapshot") commitSnapshot(db, table, version, mutation);
    else vacuum(db, table, mutation.keep);
  });
}

type Mutation<K extends LakehouseMutation["kind"]> = Extract<LakehouseMutation, { kind: K }>;

function alterColumns(
  db: Database,
  table: string,
  columns: readonly string[],
  mutation: Mutation<"AlterSchema">,
): void {
  const kept = new Set([...columns, ...(mutation.add ?? [])]);
  for (const column of mutation.drop ?? []) kept.delete(column);
  db.prepare("UPDATE catalog_table SET columns = ? WHERE name = ?").run(JSON.stringify([...kept]), table);
}

function commitSnapshot(db: Database, table: string, snapshot: number, mutation: Mutation<"CommitSnapshot">): void {
  const { files, bytes } = mutation;
  const sums = db
    .prepare<[string], { files: number; bytes: number }>(
      "SELECT active_files AS files, active_bytes AS bytes FROM catalog_table WHERE name = ?",
    )
    .get(table);
  for (const sum of [(sums?.files ?? 0) + files, (sums?.bytes ?? 0) + bytes])
    if (!Number.isSafeInteger(sum))
      throw new OperatingError(
        "sum_too_large",
        `table ${JSON.stringify(table)}: its files or bytes would add up to more than ${Number.MAX_SAFE_INTEGER}`,
        { definite: true },
      );
  db.prepare("INSERT INTO lakehouse_snapshot (table_name, snapshot, files, bytes) VALUES (?, ?, ?, ?)").run(
    table,
    snapshot,
    files,
    bytes,
  );
  db.prepare(
    "UPDATE catalog_table SET active_files = active_files + ?, active_bytes = active_bytes + ? WHERE name = ?",
  ).run(files, bytes, table);
}

function vacuum(db: Database, table: string, keep: number): void {
  db.prepare(
    `DELETE FROM lakehouse_snapshot WHERE table_name = ? AND snapshot NOT IN
      (SELECT snapshot FROM lakehouse_snapshot WHERE table_name = ? ORDER BY snapshot DESC LIMIT ?)`,
  ).run(table, table, keep);
}

function insertTable(
  db: Database,
  table: string,
  kind: string,
  columns: readonly string[] | null,
  partitionColumns: readonly string[],
): void {
  const result = db
    .prepare(
      "INSERT INTO catalog_table (name, kind, version, active_files, active_bytes, columns, partition_columns) VALUES (?, ?, 0, 0, 0, ?, ?)",
    )
    .run(table, kind, columns === null ? null : JSON.stringify(columns), JSON.stringify(partitionColumns));
  assert.equal(result.changes, 1);
}

function updateColumns(
  db: Database,
  table: string,
  columns: readonly string[] | null,
  partitionColumns: readonly string[],
): void {
  db.prepare("UPDATE catalog_table SET columns = ?, partition_columns = ? WHERE name = ?").run(
    columns === null ? null : JSON.stringify(columns),
    JSON.stringify(partitionColumns),
    table,
  );
}
