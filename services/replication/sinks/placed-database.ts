/** A SQLite file in which the place of a sink moves in the transaction that writes its effects: what makes a sink exactly once. */
import assert from "node:assert/strict";
import type { Database, Statement } from "better-sqlite3";
import { z } from "zod";
import type { Checkpoint } from "../../../contracts/followers.ts";
import { openSqlite } from "../../persistence/sqlite.ts";
import { asStoreError } from "../../persistence/sqlite-errors.ts";
import type { SinkBatch, SinkScope } from "../sink.ts";
import { isBehind, placeIn } from "./places.ts";
import { foreignLog, sinkTaken } from "./sink-errors.ts";

/** Options of every sink that writes to such a file. */
export const placedFields = {
  path: z
    .string()
    .min(1)
    .describe(
      "SQLite file; its folder must exist. Several shards, and sinks of this kind by other names, may share one.",
    ),
  durability: z
    .enum(["full", "normal"])
    .default("full")
    .describe(
      "`full`: what has had its effect survives a loss of power. `normal`: it survives the end of the process.",
    ),
} as const;
export interface PlacedOptions {
  readonly path: string;
  readonly durability: "full" | "normal";
  /** As that of `openSqlite`. ms. */
  readonly busyTimeoutMs?: number;
}

const TABLE = `
  CREATE TABLE IF NOT EXISTS sink_place (
    sink TEXT NOT NULL,
    region TEXT NOT NULL,
    shard TEXT NOT NULL,
    log_id TEXT NOT NULL,
    revision INTEGER NOT NULL,
    place TEXT NOT NULL,
    PRIMARY KEY (sink, region, shard)
  ) STRICT, WITHOUT ROWID
`;
interface Row {
  readonly logId: string;
  readonly revision: number;
  readonly place: string;
}

/**
 * One scope's place. Invariant: `revision` rises with each commit, and who does not know the newest does not write: of two instances the one
 * that wrote last is the only one that may go on.
 */
export class PlacedDatabase {
  readonly db: Database;
  readonly #scope: SinkScope;
  readonly #read: Statement<[string, string, string], Row>;
  readonly #write: Statement<[string, string, string, string, number, string]>;
  #revision: number;

  /** `tables` makes the tables of the effects, if they are not there. Throws: as `openSqlite`; OperatingError `sink_foreign_log` (definite). */
  static open(options: PlacedOptions, scope: SinkScope, tables: (db: Database) => void): PlacedDatabase {
    const { path, durability, busyTimeoutMs } = options;
    const db = openSqlite(path, { durability, busyTimeoutMs });
    try {
      const create = db.transaction(() => {
        db.exec(TABLE);
        tables(db);
      });
      create.immediate();
      return new PlacedDatabase(db, scope);
    } catch (error) {
      db.close();
      throw asStoreError(error, path);
    }
  }

  private constructor(db: Database, scope: SinkScope) {
    this.db = db;
    this.#scope = scope;
    this.#read = db.prepare(
      "SELECT log_id AS logId, revision, place FROM sink_place WHERE sink = ? AND region = ? AND shard = ?",
    );
    this.#write = db.prepare(
      `INSERT INTO sink_place (sink, region, shard, log_id, revision, place) VALUES (?, ?, ?, ?, ?, ?)
       ON CONFLICT (sink, region, shard) DO UPDATE SET revision = excluded.revision, place = excluded.place`,
    );
    const row = this.#row();
    if (row !== undefined && row.logId !== scope.logId) throw foreignLog(scope, db.name, row.logId);
    this.#revision = row?.revision ?? 0;
  }

  /** Where the effects end; undefined when there is none. */
  get place(): Checkpoint | undefined {
    const row = this.#row();
    return row === undefined ? undefined : (JSON.parse(row.place) as Checkpoint);
  }

  /**
   * Runs `effects`, with the place behind which they are new, and moves the place, in one transaction: all or nothing.
   * Throws: what `effects` throws; the reason of `signal`; OperatingError `sink_taken`, and those of the store.
   */
  apply({ upTo }: SinkBatch, signal: AbortSignal, effects: (place: Checkpoint | undefined) => void): void {
    signal.throwIfAborted();
    this.#transaction((place) => {
      effects(place);
      return place === undefined || isBehind(place, upTo) ? upTo : place;
    });
  }

  /** Moves the place, with `effects` in the same transaction. Throws: OperatingError `sink_taken`, and those of the store. */
  seek(to: Checkpoint, effects: (place: Checkpoint | undefined) => void = () => {}): void {
    this.#transaction((place) => {
      effects(place);
      return to;
    });
  }

  /** Closing twice is allowed. */
  close(): void {
    this.db.close();
  }

  #row(): Row | undefined {
    const { sink, region, shard } = this.#scope;
    return this.#read.get(sink, region, shard);
  }

  #transaction(step: (place: Checkpoint | undefined) => Checkpoint): void {
    const { sink, region, shard, logId } = this.#scope;
    const revision = this.#revision + 1;
    const commit = this.db.transaction(() => {
      const row = this.#row();
      if ((row?.revision ?? 0) !== this.#revision) throw sinkTaken(this.#scope, this.db.name);
      assert(row === undefined || row.logId === logId, "a place stays with its log");
      const place = step(row === undefined ? undefined : (JSON.parse(row.place) as Checkpoint));
      this.#write.run(sink, region, shard, logId, revision, JSON.stringify(placeIn(place)));
    });
    try {
      commit.immediate();
    } catch (error) {
      throw asStoreError(error, this.db.name);
    }
    this.#revision = revision;
  }
}
