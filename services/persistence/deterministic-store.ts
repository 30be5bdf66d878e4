/**
 * What is remembered of effects by their ids, so that an effect takes place once: the port, and its SQLite implementation. Others (PostgreSQL, Redis) implement
 * the port.
 */
import type { Database, Statement } from "better-sqlite3";
import { OperatingError } from "../../contracts/errors.ts";
import { openSqlite, type SqliteOptions } from "./sqlite.ts";
import { asStoreError } from "./sqlite-errors.ts";

/** What is remembered of one effect. */
export interface DeterministicRecord {
  /** What the body is, for those who read it: `omnirelay.event`, for example. */
  readonly kind: string;
  /** Version of the body's layout, from 1. */
  readonly version: number;
  /** Any text; JSON by custom. */
  readonly body: string;
  /** ms since 1970. */
  readonly recordedAtMs: number;
}

type Awaitable<T> = T | PromiseLike<T>;

/** All methods throw OperatingErrors of the store; `effect_id_invalid` (definite) for an id that is empty or too long. */
export interface DeterministicStateStore {
  /** What is remembered; undefined when nothing is. */
  get(effectId: string): Awaitable<DeterministicRecord | undefined>;
  /** Remembers, instead of whatever was remembered before. */
  set(effectId: string, record: DeterministicRecord): Awaitable<void>;
  /** Remembers unless something is remembered already; answers whether it did. Of any number of callers one gets `true`. */
  tryAdd(effectId: string, record: DeterministicRecord): Awaitable<boolean>;
}

/** Longest effect id: it may hold a resource id. Characters. */
const EFFECT_ID_LENGTH_MAX = 1_024;

const TABLE = `
  CREATE TABLE IF NOT EXISTS effect_record (
    effect_id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    version INTEGER NOT NULL,
    body TEXT NOT NULL,
    recorded_at_ms INTEGER NOT NULL
  ) STRICT
`;

/** The port on one SQLite file. It answers at once, so that it can be part of a transaction of the database's owner. */
export class SqliteDeterministicStore implements DeterministicStateStore {
  readonly #db: Database;
  readonly #get: Statement<[string], DeterministicRecord>;
  readonly #set: Statement<[string, string, number, string, number]>;
  readonly #add: Statement<[string, string, number, string, number]>;

  /** Throws: as `openSqlite`. */
  static open(path: string, options: SqliteOptions = {}): SqliteDeterministicStore {
    return new SqliteDeterministicStore(openSqlite(path, options));
  }

  /** Puts the store into a database that `openSqlite` has opened. */
  constructor(db: Database) {
    this.#db = db;
    db.exec(TABLE);
    const insert = "INSERT INTO effect_record (effect_id, kind, version, body, recorded_at_ms) VALUES (?, ?, ?, ?, ?)";
    this.#get = db.prepare(
      "SELECT kind, version, body, recorded_at_ms AS recordedAtMs FROM effect_record WHERE effect_id = ?",
    );
    this.#add = db.prepare(`${insert} ON CONFLICT DO NOTHING`);
    this.#set = db.prepare(
      `${insert} ON CONFLICT (effect_id) DO UPDATE SET kind = excluded.kind, version = excluded.version,
       body = excluded.body, recorded_at_ms = excluded.recorded_at_ms`,
    );
  }

  get(effectId: string): DeterministicRecord | undefined {
    return this.#do(() => this.#get.get(checkedId(effectId)));
  }

  set(effectId: string, { kind, version, body, recordedAtMs }: DeterministicRecord): void {
    this.#do(() => this.#set.run(checkedId(effectId), kind, version, body, recordedAtMs));
  }

  tryAdd(effectId: string, { kind, version, body, recordedAtMs }: DeterministicRecord): boolean {
    return this.#do(() => this.#add.run(checkedId(effectId), kind, version, body, recordedAtMs)).changes === 1;
  }

  /** Closing twice is allowed. */
  close(): void {
    this.#db.close();
  }

  #do<T>(step: () => T): T {
    try {
      return step();
    } catch (error) {
      throw asStoreError(error, this.#db.name);
    }
  }
}

function checkedId(effectId: string): string {
  if (effectId !== "" && effectId.length <= EFFECT_ID_LENGTH_MAX) return effectId;
  const message = `an effect id has 1 to ${EFFECT_ID_LENGTH_MAX} characters, not ${effectId.length}`;
  throw new OperatingError("effect_id_invalid", message, { definite: true });
}
