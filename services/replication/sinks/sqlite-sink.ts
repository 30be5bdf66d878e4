/** The sink that writes rows into a SQLite file: events and the place where they end in one commit, so that each event is there once. */
import assert from "node:assert/strict";
import { dirname, resolve } from "node:path";
import type { Database } from "better-sqlite3";
import { z } from "zod";
import type { ReplicationEvent } from "../../../contracts/envelope.ts";
import { OperatingError } from "../../../contracts/errors.ts";
import type { Checkpoint } from "../../../contracts/followers.ts";
import { openSqlite } from "../../persistence/sqlite.ts";
import { asStoreError, storeError } from "../../persistence/sqlite-errors.ts";
import { makeFolders } from "../../runtime/data-folder.ts";
import type { Sink, SinkBatch, SinkDeps, SinkKind, SinkScope } from "../sink.ts";
import { eventsBehind, isBehind, placeIn } from "./places.ts";
import { foreignLog, sinkTaken } from "./sink-errors.ts";
import { asFileError } from "./sink-files.ts";
import { layOut, SqliteRows, TABLE_NAME } from "./sqlite-tables.ts";

const BUSY_MS_DEFAULT = 250;
const KEEP_DAYS_MAX = 36_500;
const DAY_MS = 24 * 60 * 60 * 1_000;
/** Rows that retention removes with one batch: this many, and twice as many as the batch brings, so that it gets ahead of any backlog. */
const FORGET_ROWS = 500;

const SqliteOptions = z.strictObject({
  path: z
    .string()
    .min(1)
    .describe(
      "The file; made where it is missing. Relative paths begin at the working directory. Shards may share it.",
    ),
  table: z
    .string()
    .regex(TABLE_NAME, { error: "must match ^[a-z][a-z0-9_]{0,62}$ and be no table of SQLite or of the sink" })
    .default("replication_event")
    .describe("Table of the events."),
  durability: z
    .enum(["full", "normal"])
    .default("full")
    .describe(
      "`full`: a commit is on the disk before the batch counts as done. `normal`: a power cut may take the last commits, whose events then come again.",
    ),
  keepEvents: z
    .int()
    .min(0)
    .default(0)
    .describe(
      "How far below the newest event of its shard an event is kept, in sequences; 0 keeps all. Older ones go as newer ones come.",
    ),
  keepDays: z
    .int()
    .min(0)
    .max(KEEP_DAYS_MAX)
    .default(0)
    .describe("How long events are kept, by their log time. Days; 0 keeps all. Older ones go as newer ones come."),
  busyMs: z
    .int()
    .min(0)
    .max(10_000)
    .default(BUSY_MS_DEFAULT)
    .describe("How long a commit waits for that of another process, which stops this process as long. ms."),
});
type SqliteOptions = z.infer<typeof SqliteOptions>;

interface OpenState {
  readonly scope: SinkScope;
  readonly db: Database;
  readonly rows: SqliteRows;
  place: Checkpoint | undefined;
  /** Of the place when this instance last read or wrote it: whoever else has written since, this one may not. */
  revision: number;
}

export class SqliteSink implements Sink {
  readonly #options: SqliteOptions;
  readonly #clock: SinkDeps["clock"];
  readonly #path: string;
  #open: OpenState | undefined;

  constructor(options: SqliteOptions, { clock }: Pick<SinkDeps, "clock">) {
    this.#options = options;
    this.#clock = clock;
    this.#path = resolve(options.path);
  }

  async open(scope: SinkScope, checkpoint: Checkpoint | undefined): Promise<Checkpoint | undefined> {
    assert(this.#open === undefined, "a sink is opened once");
    const db = this.#openFile(scope);
    try {
      const rows = new SqliteRows(db, this.#options.table, scope);
      const stored = rows.storedPlace();
      if (stored !== undefined && stored.place.logId !== scope.logId)
        throw foreignLog(scope, `${this.#path}, table ${this.#options.table}`, stored.place.logId);
      const place = stored?.place ?? (checkpoint && placeIn(checkpoint));
      this.#open = { scope, db, rows, place, revision: stored?.revision ?? 0 };
      return place;
    } catch (error) {
      db.close();
      throw this.#asSinkError(error);
    }
  }

  async apply({ events, upTo }: SinkBatch, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const open = this.#requireOpen();
    const { place } = open;
    const isAhead = place === undefined || isBehind(place, upTo);
    this.#commit(open, eventsBehind(events, place?.sequence ?? 0), isAhead ? upTo : place);
  }

  async seek(to: Checkpoint): Promise<void> {
    this.#commit(this.#requireOpen(), [], to);
  }

  async close(): Promise<void> {
    this.#open?.db.close();
    this.#open = undefined;
  }

  #requireOpen(): OpenState {
    assert(this.#open !== undefined, "a sink that is not open is given nothing");
    return this.#open;
  }

  #openFile(scope: SinkScope): Database {
    const { durability, busyMs, table } = this.#options;
    try {
      makeFolders(dirname(this.#path));
    } catch (error) {
      throw asFileError(error, scope, this.#path);
    }
    let db: Database | undefined;
    try {
      db = openSqlite(this.#path, { durability, busyTimeoutMs: busyMs });
      const outcome = layOut(db, table);
      if (outcome.kind === "ready") return db;
      throw outcome.kind === "newer"
        ? storeError(
            "store_newer",
            this.#path,
            `layout ${outcome.layout} of ${table} is newer; start the newer release`,
          )
        : storeError("store_foreign", this.#path, `its table ${table} is not a sink's; name another table`);
    } catch (error) {
      db?.close();
      throw this.#asSinkError(error);
    }
  }

  /** Events, place and what retention takes away, or nothing of it. */
  #commit(open: OpenState, events: readonly ReplicationEvent[], place: Checkpoint): void {
    const { scope, db, rows, revision } = open;
    const to = placeIn(place);
    const change = db.transaction(() => {
      if (!rows.movePlace(to, revision)) throw sinkTaken(scope, this.#path);
      rows.insert(events);
      this.#forget(rows, events);
    });
    try {
      change.immediate();
    } catch (error) {
      throw this.#asSinkError(error);
    }
    open.place = to;
    open.revision = revision + 1;
  }

  #forget(rows: SqliteRows, events: readonly ReplicationEvent[]): void {
    const { keepEvents, keepDays } = this.#options;
    const newest = events.at(-1)?.sequenceNumber;
    if (newest === undefined || (keepEvents === 0 && keepDays === 0)) return;
    const upToSequence = keepEvents === 0 ? 0 : newest - keepEvents;
    const beforeTime = keepDays === 0 ? "" : new Date(this.#clock.wallMs() - keepDays * DAY_MS).toISOString();
    const oldest = rows.oldest();
    if (oldest === undefined || (oldest.sequence > upToSequence && oldest.timestamp >= beforeTime)) return;
    rows.forget({ upToSequence, beforeTime, rowsMax: FORGET_ROWS + 2 * events.length });
  }

  /** What can pass by itself is not definite here, for the pump tries it again: a full disk, another process's long commit. */
  #asSinkError(error: unknown): unknown {
    const stored = asStoreError(error, this.#path);
    if (!(stored instanceof OperatingError) || !PASSING_CODES.has(stored.code)) return stored;
    const { code, message, details } = stored;
    return new OperatingError(code, message, { definite: false, cause: error, details });
  }
}

const PASSING_CODES: ReadonlySet<string> = new Set(["store_full", "store_busy"]);

export const sqliteKind: SinkKind<SqliteOptions> = {
  kind: "sqlite",
  summary: "Writes one row per event into a SQLite file, with the place in the same commit.",
  guarantee: "exactly once",
  options: SqliteOptions,
  create: (options, deps) => new SqliteSink(options, deps),
};
