/**
 * Snapshots in a SQLite file of their own in the data folder. Synchronous inside: it packs and writes in the calling thread, so it belongs
 * into a worker thread (`SnapshotThread`) wherever somebody waits for an answer.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import type { Database, Statement } from "better-sqlite3";
import { OperatingError } from "../../contracts/errors.ts";
import {
  checkChunk,
  decodeChunk,
  encodeChunk,
  proveChunk,
  readInOrder,
  SnapshotSum,
  TextCutter,
} from "./snapshot-chunk.ts";
import {
  aborted,
  assertLabel,
  damaged,
  type EncodedChunk,
  judgeExisting,
  labelText,
  missing,
  readLabel,
  requireUsable,
  SNAPSHOT_FORMAT,
  type SnapshotInfo,
  type SnapshotLabel,
  type SnapshotStore,
  type SnapshotWriter,
  snapshotError,
  surplus,
  takenMeanwhile,
  titleOf,
} from "./snapshot-store.ts";
import { openSqlite } from "./sqlite.ts";
import { asStoreError, storeError } from "./sqlite-errors.ts";

export const SNAPSHOT_FILE = "snapshots.sqlite";
/** KiB. */
const CACHE_KIB = 2_048;
/** `published_at_ms` is the flag: a row without it is being written, or was left by a crash. */
const TABLES = `
  CREATE TABLE IF NOT EXISTS snapshot (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    region TEXT, shard TEXT, sequence INTEGER, format INTEGER, label TEXT, root TEXT,
    chunks INTEGER, bytes INTEGER, text_bytes INTEGER, published_at_ms INTEGER
  ) STRICT;
  CREATE UNIQUE INDEX IF NOT EXISTS snapshot_name ON snapshot (region, shard, sequence) WHERE published_at_ms IS NOT NULL;
  CREATE TABLE IF NOT EXISTS snapshot_chunk (
    snapshot INTEGER NOT NULL, position INTEGER NOT NULL, text_bytes INTEGER NOT NULL, sha256 TEXT NOT NULL, data BLOB NOT NULL,
    PRIMARY KEY (snapshot, position)
  ) STRICT;
`;

export interface SqliteSnapshotOptions {
  /**
   * `sweep` (default): whoever opens is the one writer of the folder, so what is unpublished was left by a crash and is removed. `keep`: for
   * readers beside a running writer; a sweep would take away what that one is writing, and its publish would fail.
   */
  readonly leftovers?: "sweep" | "keep" | undefined;
}

/** Takes everything at once. */
export interface SqliteSnapshotWriter extends SnapshotWriter {
  write(text: string): void;
  add(chunk: EncodedChunk): void;
}

interface Row {
  readonly id: number;
  readonly region: string;
  readonly shard: string;
  readonly sequence: number;
  readonly format: number;
  readonly label: string;
  readonly root: string;
  readonly chunks: number;
  readonly bytes: number;
  readonly textBytes: number;
  readonly publishedAtMs: number;
}

/** Invariant: a row with `published_at_ms` has all its chunks, and they were read back before it got that. */
export class SqliteSnapshotStore implements SnapshotStore {
  readonly #db: Database;
  readonly #list: Statement<[string, string], Row>;
  readonly #chunk: Statement<[number, number], EncodedChunk>;
  readonly #isThere: Statement<[number], number>;
  readonly #writers = new Set<SqliteWriter>();

  /** The file is `snapshots.sqlite` in the folder, which exists. Throws: as `openSqlite`. */
  static open(folder: string, options: SqliteSnapshotOptions = {}): SqliteSnapshotStore {
    const path = join(folder, SNAPSHOT_FILE);
    const db = openSqlite(path);
    try {
      return new SqliteSnapshotStore(db, options);
    } catch (error) {
      db.close();
      throw asStoreError(error, path);
    }
  }

  private constructor(db: Database, { leftovers = "sweep" }: SqliteSnapshotOptions) {
    this.#db = db;
    db.exec(TABLES);
    if (leftovers === "sweep") sweep(db);
    // Chunks are written once and read in order.
    db.pragma(`cache_size = -${CACHE_KIB}`);
    // Chunks need not reach the disk one by one: the commit that publishes them takes all with it.
    db.pragma("synchronous = NORMAL");
    this.#list = db.prepare(
      `SELECT id, region, shard, sequence, format, label, root, chunks, bytes, text_bytes AS textBytes, published_at_ms AS publishedAtMs
       FROM snapshot WHERE region = ? AND shard = ? AND published_at_ms IS NOT NULL ORDER BY sequence DESC`,
    );
    this.#chunk = db.prepare(
      "SELECT text_bytes AS textBytes, sha256, data FROM snapshot_chunk WHERE snapshot = ? AND position = ?",
    );
    this.#isThere = db.prepare<[number], number>("SELECT 1 FROM snapshot WHERE id = ?").pluck();
  }

  /** The file behind it, for checks. */
  get database(): Database {
    return this.#db;
  }

  begin(): SqliteSnapshotWriter {
    const writer = new SqliteWriter(this.#db, this, () => this.#writers.delete(writer));
    this.#writers.add(writer);
    return writer;
  }

  async list(region: string, shard: string): Promise<SnapshotInfo[]> {
    return guarded(this.#db, () => this.#list.all(region, shard)).map((row) => infoOf(row, this.#db.name));
  }

  async *open(info: SnapshotInfo): AsyncGenerator<string> {
    const read = async (index: number) => {
      const chunk = this.chunk(info, index);
      return { ...sumOf(chunk), text: decodeChunk(info.label, index, chunk) };
    };
    for await (const { text } of readInOrder(info, read, 0)) yield text;
  }

  chunks(info: SnapshotInfo): AsyncGenerator<EncodedChunk> {
    return readInOrder(info, async (index) => this.chunk(info, index), 0);
  }

  /** One chunk, 0-based, checked but still packed. Throws: `snapshot_damaged`, `snapshot_missing`; both definite. */
  chunk(info: SnapshotInfo, index: number): EncodedChunk {
    requireUsable(info);
    const chunk = this.#readChunk(info, index);
    if (chunk === undefined) {
      if (guarded(this.#db, () => this.#isThere.get(Number(info.id))) === undefined) throw missing(info.label);
      throw damaged(info.label, `chunk ${index + 1} of ${info.chunks} is missing`);
    }
    checkChunk(info.label, index, chunk);
    return chunk;
  }

  async verify(info: SnapshotInfo): Promise<void> {
    let index = 0;
    for await (const chunk of this.chunks(info)) {
      proveChunk(info.label, index, chunk);
      await nextTurn();
      index += 1;
    }
  }

  async remove(info: SnapshotInfo): Promise<void> {
    guarded(this.#db, () => removeRows(this.#db, Number(info.id)));
  }

  async prune(newest: SnapshotLabel, keep: number): Promise<number> {
    const gone = surplus(await this.list(newest.region, newest.shard), keep, newest);
    for (const info of gone) await this.remove(info);
    return gone.length;
  }

  async close(): Promise<void> {
    for (const writer of [...this.#writers]) writer.abort();
    this.#db.close();
  }

  /** A page that SQLite finds broken breaks this snapshot, not the others. */
  #readChunk(info: SnapshotInfo, index: number): EncodedChunk | undefined {
    try {
      return guarded(this.#db, () => this.#chunk.get(Number(info.id), index));
    } catch (error) {
      if (!(error instanceof OperatingError) || error.code !== "store_corrupt") throw error;
      throw damaged(info.label, `the file ${this.#db.name} is damaged at chunk ${index + 1}`, error);
    }
  }
}

class SqliteWriter implements SqliteSnapshotWriter {
  readonly #db: Database;
  readonly #store: SqliteSnapshotStore;
  readonly #done: () => void;
  readonly #cutter = new TextCutter();
  readonly #sum = new SnapshotSum();
  #id: number | undefined;
  #bytes = 0;
  #state: "open" | "publishing" | "over" = "open";
  #failure: { readonly error: unknown } | undefined;

  constructor(db: Database, store: SqliteSnapshotStore, done: () => void) {
    this.#db = db;
    this.#store = store;
    this.#done = done;
  }

  write(text: string): void {
    this.#guarded(() => {
      for (const piece of this.#cutter.push(text)) this.#put(encodeChunk(piece));
    });
  }

  add(chunk: EncodedChunk): void {
    this.#guarded(() => this.#put(chunk));
  }

  async publish(label: SnapshotLabel): Promise<SnapshotInfo> {
    assertLabel(label);
    const info = this.#guarded(() => {
      const rest = this.#cutter.end();
      if (rest !== "") this.#put(encodeChunk(rest));
      this.#id ??= insertRow(this.#db);
      return this.#unpublished(label, this.#id);
    });
    this.#state = "publishing";
    try {
      await this.#store.verify(info);
      return await this.#publish({ ...info, verifiedAtMs: Date.now() });
    } catch (error) {
      this.#failure = { error };
      throw error;
    } finally {
      this.#end();
    }
  }

  abort(): void {
    if (this.#state === "over") return;
    this.#failure ??= { error: aborted() };
    this.#end();
  }

  async #publish(info: SnapshotInfo): Promise<SnapshotInfo> {
    const { region, shard, sequence } = info.label;
    const existing = (await this.#store.list(region, shard)).find((one) => one.label.sequence === sequence);
    if (existing !== undefined) {
      const verdict = await judgeExisting(existing, info.label, (one) => this.#store.verify(one));
      if (verdict === "keep") return existing;
    }
    guarded(this.#db, () => publishRow(this.#db, info, existing));
    this.#id = undefined;
    return info;
  }

  #unpublished(label: SnapshotLabel, id: number): SnapshotInfo {
    const { chunks, textBytes } = this.#sum;
    const root = this.#sum.root(label);
    const where = this.#db.name;
    return { label, id: String(id), where, bytes: this.#bytes, textBytes, chunks, root, verifiedAtMs: 0 };
  }

  #put(chunk: EncodedChunk): void {
    this.#id ??= insertRow(this.#db);
    const { textBytes, sha256, data } = chunk;
    this.#db
      .prepare("INSERT INTO snapshot_chunk (snapshot, position, text_bytes, sha256, data) VALUES (?, ?, ?, ?, ?)")
      .run(this.#id, this.#sum.chunks, textBytes, sha256, data);
    this.#sum.add(chunk);
    this.#bytes += data.length;
  }

  #guarded<T>(step: () => T): T {
    if (this.#failure !== undefined) throw this.#failure.error;
    assert(this.#state === "open", "a snapshot that was published takes nothing more");
    try {
      return guarded(this.#db, step);
    } catch (error) {
      this.#failure = { error };
      throw error;
    }
  }

  /** What was not published goes away; if even that fails, the next opening sweeps it. */
  #end(): void {
    this.#state = "over";
    this.#done();
    const id = this.#id;
    if (id === undefined || !this.#db.open) return;
    try {
      removeRows(this.#db, id);
    } catch (error) {
      if (!(asStoreError(error, this.#db.name) instanceof OperatingError)) throw error;
    }
  }
}

function guarded<T>(db: Database, step: () => T): T {
  if (!db.open) throw storeError("store_closed", db.name, "it was closed meanwhile; open it again");
  try {
    return step();
  } catch (error) {
    throw asStoreError(error, db.name);
  }
}

const sumOf = ({ textBytes, sha256 }: EncodedChunk) => ({ textBytes, sha256 });
const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

function infoOf(row: Row, where: string): SnapshotInfo {
  const { id, format, root, chunks, bytes, textBytes, publishedAtMs: verifiedAtMs } = row;
  const rest = { id: String(id), where, root, chunks, bytes, textBytes, verifiedAtMs };
  return { ...readLabel(row, format, row.label), ...rest };
}

function insertRow(db: Database): number {
  return Number(db.prepare("INSERT INTO snapshot DEFAULT VALUES").run().lastInsertRowid);
}

function removeRows(db: Database, id: number): void {
  const remove = db.transaction(() => {
    db.prepare("DELETE FROM snapshot WHERE id = ?").run(id);
    db.prepare("DELETE FROM snapshot_chunk WHERE snapshot = ?").run(id);
  });
  remove.immediate();
}

function sweep(db: Database): void {
  const remove = db.transaction(() => {
    db.exec("DELETE FROM snapshot WHERE published_at_ms IS NULL");
    db.exec("DELETE FROM snapshot_chunk WHERE snapshot NOT IN (SELECT id FROM snapshot)");
  });
  remove.immediate();
}

/** The one step after which the snapshot exists, on the disk when it returns. */
function publishRow(db: Database, info: SnapshotInfo, replaced: SnapshotInfo | undefined): void {
  const { label, root, chunks, bytes, textBytes, verifiedAtMs } = info;
  const { region, shard, sequence } = label;
  const publish = db.transaction(() => {
    const taken = db
      .prepare<[string, string, number], number>(
        "SELECT id FROM snapshot WHERE region = ? AND shard = ? AND sequence = ? AND published_at_ms IS NOT NULL",
      )
      .pluck()
      .get(region, shard, sequence);
    if (taken !== undefined && String(taken) !== replaced?.id) throw takenMeanwhile(label);
    if (replaced !== undefined) removeRows(db, Number(replaced.id));
    const { changes } = db
      .prepare(
        `UPDATE snapshot SET region = ?, shard = ?, sequence = ?, format = ?, label = ?, root = ?, chunks = ?, bytes = ?, text_bytes = ?,
         published_at_ms = ? WHERE id = ?`,
      )
      .run(
        ...[region, shard, sequence, SNAPSHOT_FORMAT, labelText(label), root, chunks, bytes, textBytes, verifiedAtMs],
        Number(info.id),
      );
    if (changes !== 1)
      throw snapshotError(
        "snapshot_swept",
        label,
        `${titleOf(label)} was swept while it was written: another process opened ${db.name} as its writer; stop that one`,
      );
  });
  db.pragma("synchronous = FULL");
  try {
    publish.immediate();
  } finally {
    db.pragma("synchronous = NORMAL");
  }
}
