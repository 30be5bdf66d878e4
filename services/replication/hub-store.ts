/** What a hub keeps: the events of any number of shards, each once, and how far each sink has come. One SQLite file, one transaction for each batch. */
import type { Database, Statement } from "better-sqlite3";
import { OperatingError } from "../../contracts/errors.ts";
import type { Checkpoint } from "../../contracts/followers.ts";
import { openSqlite, type SqliteOptions } from "../persistence/sqlite.ts";
import { asStoreError } from "../persistence/sqlite-errors.ts";
import type { SinkScope } from "./sink.ts";
import { isBehind } from "./sinks/places.ts";
import { foreignLog } from "./sinks/sink-errors.ts";

/** An event as it is stored: `text` is its JSON. */
export interface StoredEvent {
  readonly sequence: number;
  readonly chain: string;
  readonly eventType: string;
  readonly text: string;
}
/** A batch that has been checked: its events are of its scope, and rise within (after, upTo]. */
export interface HubBatch {
  readonly scope: SinkScope;
  readonly after: Checkpoint;
  readonly upTo: Checkpoint;
  readonly events: readonly StoredEvent[];
}

/** `hub_event` is there to be read by others; all else is the hub's own. */
const TABLES = `
  CREATE TABLE IF NOT EXISTS hub_log (
    id INTEGER PRIMARY KEY,
    region TEXT NOT NULL,
    shard TEXT NOT NULL,
    log_id TEXT NOT NULL,
    UNIQUE (region, shard)
  ) STRICT;
  CREATE TABLE IF NOT EXISTS hub_event (
    log INTEGER NOT NULL REFERENCES hub_log,
    sequence INTEGER NOT NULL,
    chain TEXT NOT NULL,
    event_type TEXT NOT NULL,
    event TEXT NOT NULL,
    UNIQUE (log, sequence)
  ) STRICT;
  CREATE TABLE IF NOT EXISTS hub_place (
    sink TEXT NOT NULL,
    log INTEGER NOT NULL REFERENCES hub_log,
    place TEXT NOT NULL,
    PRIMARY KEY (sink, log)
  ) STRICT, WITHOUT ROWID;
`;

/**
 * Invariant: every event of a scope between two of its places is stored, those apart that the sink's filter leaves out; none is stored twice,
 * and none is ever changed.
 */
export class HubStore {
  readonly #db: Database;
  readonly #findLog: Statement<[string, string], { readonly id: number; readonly logId: string }>;
  readonly #addLog: Statement<[string, string, string]>;
  readonly #getPlace: Statement<[string, number], string>;
  readonly #putPlace: Statement<[string, number, string]>;
  readonly #addEvent: Statement<[number, number, string, string, string]>;
  readonly #chainOf: Statement<[number, number], string>;

  /** Throws: as `openSqlite`. */
  static open(path: string, options: SqliteOptions = {}): HubStore {
    return new HubStore(openSqlite(path, options));
  }

  private constructor(db: Database) {
    this.#db = db;
    db.exec(TABLES);
    this.#findLog = db.prepare("SELECT id, log_id AS logId FROM hub_log WHERE region = ? AND shard = ?");
    this.#addLog = db.prepare("INSERT INTO hub_log (region, shard, log_id) VALUES (?, ?, ?)");
    this.#getPlace = db
      .prepare<[string, number], string>("SELECT place FROM hub_place WHERE sink = ? AND log = ?")
      .pluck();
    this.#putPlace = db.prepare(
      "INSERT INTO hub_place (sink, log, place) VALUES (?, ?, ?) ON CONFLICT (sink, log) DO UPDATE SET place = excluded.place",
    );
    this.#addEvent = db.prepare(
      "INSERT INTO hub_event (log, sequence, chain, event_type, event) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
    );
    this.#chainOf = db
      .prepare<[number, number], string>("SELECT chain FROM hub_event WHERE log = ? AND sequence = ?")
      .pluck();
  }

  /** Where the events of a scope end; undefined when it has none. Throws: OperatingError `sink_foreign_log` (definite), `store_…`. */
  position(scope: SinkScope): Checkpoint | undefined {
    return this.#transaction(() => {
      const log = this.#log(scope);
      return log === undefined ? undefined : this.#place(scope, log);
    });
  }

  /** Throws: OperatingError `sink_foreign_log` (definite), `store_…`. */
  seek(scope: SinkScope, to: Checkpoint): Checkpoint {
    return this.#transaction(() => {
      this.#putPlace.run(scope.sink, this.#log(scope) ?? this.#newLog(scope), JSON.stringify(to));
      return to;
    });
  }

  /**
   * Stores what is new of a batch; resolves to where the scope's events end now. It is on the disk when this returns.
   * Throws: OperatingError `sink_foreign_log`, `sink_gap`, `effect_conflict` (all definite: nothing is stored), `store_…`.
   */
  append(batch: HubBatch): Checkpoint {
    const { scope, after, upTo, events } = batch;
    return this.#transaction(() => {
      const log = this.#log(scope) ?? this.#newLog(scope);
      const place = this.#place(scope, log);
      if (after.sequence > (place?.sequence ?? 0)) throw gap(scope, place?.sequence ?? 0, after.sequence);
      for (const { sequence, chain, eventType, text } of events) {
        const { changes } = this.#addEvent.run(log, sequence, chain, eventType, text);
        if (changes === 0) requireSame(scope, sequence, { stored: this.#chainOf.get(log, sequence), chain });
      }
      if (place !== undefined && !isBehind(place, upTo)) return place;
      this.#putPlace.run(scope.sink, log, JSON.stringify(upTo));
      return upTo;
    });
  }

  /** Closing twice is allowed. */
  close(): void {
    this.#db.close();
  }

  #log(scope: SinkScope): number | undefined {
    const log = this.#findLog.get(scope.region, scope.shard);
    if (log !== undefined && log.logId !== scope.logId) throw foreignLog(scope, "this hub", log.logId);
    return log?.id;
  }

  #newLog({ region, shard, logId }: SinkScope): number {
    return Number(this.#addLog.run(region, shard, logId).lastInsertRowid);
  }

  #place({ sink }: SinkScope, log: number): Checkpoint | undefined {
    const text = this.#getPlace.get(sink, log);
    return text === undefined ? undefined : (JSON.parse(text) as Checkpoint);
  }

  #transaction<T>(step: () => T): T {
    try {
      return this.#db.transaction(step).immediate();
    } catch (error) {
      throw asStoreError(error, this.#db.name);
    }
  }
}

function gap({ region, shard, logId }: SinkScope, place: number, after: number): OperatingError {
  return new OperatingError(
    "sink_gap",
    `the events ${place + 1} to ${after} of ${region}/${shard} are missing at the hub; open the sink again, so that it goes on from there`,
    { definite: true, details: { region, shard, logId, place, after } },
  );
}

function requireSame(
  { region, shard, logId }: SinkScope,
  sequence: number,
  { stored, chain }: { readonly stored: string | undefined; readonly chain: string },
): void {
  if (stored === chain) return;
  throw new OperatingError(
    "effect_conflict",
    `event ${sequence} of ${region}/${shard} comes from another frame than the one that is stored: one of the two is no event of log ${logId}`,
    { definite: true, details: { region, shard, logId, sequence, stored, chain } },
  );
}
