/** The Store port on SQLite: a node's small durable memory in its data folder. */
import type { Database, Statement } from "better-sqlite3";
import type { Store } from "../../contracts/ports.ts";
import { openSqlite, type SqliteOptions } from "./sqlite.ts";
import { asStoreError } from "./sqlite-errors.ts";

const TABLE =
  "CREATE TABLE IF NOT EXISTS store_entry (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID";

/** Keys and values of one file. With the default durability `put` has reached the disk when it returns. */
export class SqliteStore implements Store {
  readonly #db: Database;
  readonly #get: Statement<[string], string>;
  readonly #put: Statement<[string, string]>;

  /** Throws: as `openSqlite`. */
  static open(path: string, options: SqliteOptions = {}): SqliteStore {
    return new SqliteStore(openSqlite(path, options));
  }

  constructor(db: Database) {
    this.#db = db;
    db.exec(TABLE);
    this.#get = db.prepare<[string], string>("SELECT value FROM store_entry WHERE key = ?").pluck();
    this.#put = db.prepare<[string, string]>(
      "INSERT INTO store_entry (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
    );
  }

  get(key: string): string | undefined {
    return this.#do(() => this.#get.get(key));
  }

  put(key: string, value: string): void {
    this.#do(() => this.#put.run(key, value));
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
