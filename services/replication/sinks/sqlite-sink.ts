/** The sink that writes rows into a SQLite file: events and the place where they end in one commit, so that each event is there once. */
import assert from "node:assert/strict";
import { dirname, resolve } from "node:path";
import { z } from "zod";
import type { ReplicationEvent } from "../../../contracts/envelope.ts";
import { OperatingError } from "../../../contracts/errors.ts";
import type { Checkpoint } from "../../../contracts/followers.ts";
import { asStoreError } from "../../persistence/sqlite-errors.ts";
import { makeFolders } from "../../runtime/data-folder.ts";
import type { Sink, SinkBatch, SinkDeps, SinkKind, SinkScope } from "../sink.ts";
import { PlacedDatabase } from "./placed-database.ts";
import { eventsBehind, placeIn } from "./places.ts";
import { foreignLog } from "./sink-errors.ts";
import { asFileError } from "./sink-files.ts";
import { layOut, SqliteRows, TABLE_NAME } from "./sqlite-tables.ts";

const BUSY_MS_DEFAULT = 250;
const KEEP_DAYS_MAX = 36_500;
const DAY_MS = 24 * 60 * 60 * 1_000;
/** Rows that retention removes with one batch: this many, and twice as many as the batch brings, so that it gets ahead of any backlog. */
const FORGET_ROWS = 500;
const PASSING_CODES: ReadonlySet<string> = new Set(["store_full", "store_busy"]);

const SqliteOptions = z.strictObject({
  path: z
    .string()
    .min(1)
    .describe(
      "The file; made where it is missing. Relative paths begin at the working directory. Shards may share it.",
    ),
  table: z
    .string()
    .regex(TABLE_NAME, { error: "must match ^[a-z][a-z0-9_]{0,62}$ and be no name of SQLite or of sinks" })
    .default("events")
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

export class SqliteSink implements Sink {
  readonly #options: SqliteOptions;
  readonly #clock: SinkDeps["clock"];
  readonly #path: string;
  #placed: PlacedDatabase | undefined;
  #rows: SqliteRows | undefined;

  constructor(options: SqliteOptions, { clock }: Pick<SinkDeps, "clock">) {
    this.#options = options;
    this.#clock = clock;
    this.#path = resolve(options.path);
  }

  async open(scope: SinkScope, checkpoint: Checkpoint | undefined): Promise<Checkpoint | undefined> {
    assert(this.#placed === undefined, "a sink is opened once");
    const { durability, busyMs: busyTimeoutMs, table } = this.#options;
    return this.#guarded(() => {
      makeFolderOf(this.#path, scope);
      const options = { path: this.#path, durability, busyTimeoutMs };
      this.#placed = PlacedDatabase.open(options, scope, (db) => layOut(db, table));
      this.#rows = new SqliteRows(this.#placed.db, table, scope);
      // Another sink may have written the rows, of another log: these would overwrite each other.
      const logId = this.#rows.oldest()?.logId ?? scope.logId;
      if (logId !== scope.logId) throw foreignLog(scope, `${this.#path}, table ${table}`, logId);
      return this.#placed.place ?? (checkpoint && placeIn(checkpoint));
    });
  }

  async apply(batch: SinkBatch, signal: AbortSignal): Promise<void> {
    this.#guarded(() =>
      this.#opened().apply(batch, signal, (place) => this.#write(eventsBehind(batch.events, place?.sequence ?? 0))),
    );
  }

  async seek(to: Checkpoint): Promise<void> {
    this.#guarded(() => this.#opened().seek(to));
  }

  async close(): Promise<void> {
    this.#placed?.close();
    this.#placed = undefined;
  }

  #opened(): PlacedDatabase {
    assert(this.#placed !== undefined, "a sink that is not open is given nothing");
    return this.#placed;
  }

  /** Adds events, and takes away what retention says; in the transaction that moves the place. */
  #write(events: readonly ReplicationEvent[]): void {
    const rows = this.#rows;
    const newest = events.at(-1)?.sequenceNumber;
    if (rows === undefined || newest === undefined) return;
    rows.insert(events);
    const { keepEvents, keepDays } = this.#options;
    if (keepEvents === 0 && keepDays === 0) return;
    const upToSequence = keepEvents === 0 ? 0 : newest - keepEvents;
    const beforeTime = keepDays === 0 ? "" : new Date(this.#clock.wallMs() - keepDays * DAY_MS).toISOString();
    const oldest = rows.oldest();
    if (oldest === undefined || (oldest.sequence > upToSequence && oldest.timestamp >= beforeTime)) return;
    rows.forget({ upToSequence, beforeTime, rowsMax: FORGET_ROWS + 2 * events.length });
  }

  #guarded<T>(step: () => T): T {
    try {
      return step();
    } catch (error) {
      throw asSinkError(error, this.#path);
    }
  }
}

/** What can pass by itself is not definite here, for the pump tries it again: a full disk, another process's long commit. */
function asSinkError(error: unknown, path: string): unknown {
  const stored = asStoreError(error, path);
  if (!(stored instanceof OperatingError) || !PASSING_CODES.has(stored.code)) return stored;
  const { code, message, details } = stored;
  return new OperatingError(code, message, { definite: false, cause: error, details });
}

function makeFolderOf(path: string, scope: SinkScope): void {
  try {
    makeFolders(dirname(path));
  } catch (error) {
    throw asFileError(error, scope, path);
  }
}

export const sqliteKind: SinkKind<SqliteOptions> = {
  kind: "sqlite",
  summary: "Writes one row per event into a SQLite file, with the place in the same commit.",
  guarantee: "exactly once",
  options: SqliteOptions,
  target: ({ path, table }) => `the table ${table} of ${resolve(path)}`,
  create: (options, deps) => new SqliteSink(options, deps),
};
