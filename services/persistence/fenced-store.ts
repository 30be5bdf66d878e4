/**
 * Writes that only the newest lease may make: the fence stands in the same file, and moves in the same transaction, as what it guards.
 * A worker that has lost its lease without knowing it is stopped here, at the resource.
 */
import assert from "node:assert/strict";
import { isAsyncFunction } from "node:util/types";
import type { Database, Statement } from "better-sqlite3";
import { OperatingError } from "../../contracts/errors.ts";
import { openSqlite, type SqliteOptions } from "./sqlite.ts";
import { asStoreError } from "./sqlite-errors.ts";

export interface FencedWrite {
  /** What the token is compared for: the lease's `fenceKey`. */
  readonly fenceKey: string;
  /** The lease's fencing token. */
  readonly token: number;
  /** Names the effect, so that it is applied at most once; for example the item id. Absent: every call applies. */
  readonly effectId?: string | undefined;
}

/**
 * `applied`: committed. `duplicate`: an effect of this id was committed before; nothing was run.
 * `rejected`: a higher token has written under the key; nothing was changed.
 */
export type FencedResult<T> =
  | { readonly kind: "applied"; readonly value: T }
  | { readonly kind: "duplicate" }
  | { readonly kind: "rejected"; readonly code: "stale_token"; readonly highestToken: number };

/** What an effect may return: no promise, as what it awaits would be written outside of the transaction. */
type Synchronous<T> = T extends PromiseLike<unknown> ? never : T;

export interface FencedStoreOptions extends SqliteOptions {
  /** Makes the application's own tables; runs in a transaction at each opening, so `CREATE TABLE IF NOT EXISTS`. */
  readonly migrate?: ((db: Database) => void) | undefined;
}
export interface Fence {
  readonly fenceKey: string;
  readonly token: number;
}
export interface Effect extends Fence {
  readonly effectId: string;
}

const TABLES = `
  CREATE TABLE IF NOT EXISTS fence (fence_key TEXT PRIMARY KEY, token INTEGER NOT NULL CHECK (token > 0)) STRICT, WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS fence_effect (
    effect_id TEXT PRIMARY KEY,
    fence_key TEXT NOT NULL,
    token INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
`;

/**
 * A fence in front of the tables of one file. Several processes may have the file open: each write is one immediate transaction.
 * Invariant: the token of a key never decreases; of two committed writes under a key the later has no lower token.
 */
export class FencedStore {
  readonly #db: Database;
  readonly #highest: Statement<[string], number>;
  readonly #raise: Statement<[string, number]>;
  readonly #effect: Statement<[string], number>;
  readonly #putEffect: Statement<[string, string, number]>;
  readonly #mark: Statement<[]>;
  readonly #unmark: Statement<[]>;

  /** Throws: as `openSqlite`. */
  static open(path: string, options: FencedStoreOptions = {}): FencedStore {
    const db = openSqlite(path, options);
    try {
      if (options.migrate !== undefined) db.transaction(options.migrate).immediate(db);
      return new FencedStore(db);
    } catch (error) {
      db.close();
      throw asStoreError(error, path);
    }
  }

  /** Puts a fence into a database that `openSqlite` has opened. */
  constructor(db: Database) {
    this.#db = db;
    db.exec(TABLES);
    this.#highest = db.prepare<[string], number>("SELECT token FROM fence WHERE fence_key = ?").pluck();
    this.#raise = db.prepare<[string, number]>(
      "INSERT INTO fence (fence_key, token) VALUES (?, ?) ON CONFLICT (fence_key) DO UPDATE SET token = excluded.token",
    );
    this.#effect = db.prepare<[string], number>("SELECT 1 FROM fence_effect WHERE effect_id = ?").pluck();
    this.#putEffect = db.prepare<[string, string, number]>(
      "INSERT INTO fence_effect (effect_id, fence_key, token) VALUES (?, ?, ?)",
    );
    this.#mark = db.prepare("SAVEPOINT omnirelay_effect");
    this.#unmark = db.prepare("RELEASE omnirelay_effect");
  }

  /** The database behind the fence: for reading, and for what needs no fence. */
  get database(): Database {
    return this.#db;
  }

  /**
   * Runs `effect` in one immediate transaction with the fence.
   *
   * An equal token is let through: it is the same lease. What `effect` throws is thrown on, and everything is rolled back, the token too:
   * nothing was written under it, so an older holder that comes between wrote before it, not over it. Who has to fence others off before
   * reading calls `write` with an effect that does nothing.
   * Throws: what `effect` throws; OperatingError `store_busy`, `store_full`, … (definite), `store_failed` (not definite);
   * `effect_not_synchronous`: an async function was not run (definite), an effect that returned a thenable was rolled back, but what it
   * awaits runs on (not definite); `effect_ended_transaction` (not definite): what stood before a commit of its own is written.
   */
  write<T>(write: FencedWrite, effect: (db: Database) => Synchronous<T>): FencedResult<T> {
    const { fenceKey, token, effectId } = write;
    assert(fenceKey !== "", "a fence key is not empty");
    assert(Number.isSafeInteger(token) && token > 0, `a token is a positive integer, not ${token}`);
    assert(!this.#db.inTransaction, "a fenced write is a transaction of its own");
    if (isAsyncFunction(effect)) throw notSynchronous(write, "is an async function, and was not run", true);
    return this.#transaction((): FencedResult<T> => {
      const highestToken = this.#highest.get(fenceKey);
      if (highestToken !== undefined && token < highestToken)
        return { kind: "rejected", code: "stale_token", highestToken };
      if (token !== highestToken) this.#raise.run(fenceKey, token);
      if (effectId !== undefined) {
        if (this.#effect.get(effectId) !== undefined) return { kind: "duplicate" };
        this.#putEffect.run(effectId, fenceKey, token);
      }
      return { kind: "applied", value: this.#run(write, effect) };
    });
  }

  /** As `write`, with the refusal thrown. Throws: OperatingError `stale_token` (definite), and as `write`. */
  apply<T>(write: FencedWrite, effect: (db: Database) => Synchronous<T>): "applied" | "duplicate" {
    const result = this.write(write, effect);
    if (result.kind !== "rejected") return result.kind;
    const { fenceKey, token } = write;
    const { highestToken } = result;
    throw new OperatingError(
      "stale_token",
      `token ${token} is below ${highestToken}, which has written to ${fenceKey}`,
      {
        definite: true,
        details: { fenceKey, token, highestToken },
      },
    );
  }

  /** The highest token that has written under the key; undefined when none has. */
  highestToken(fenceKey: string): number | undefined {
    return this.#read(() => this.#highest.get(fenceKey));
  }
  hasEffect(effectId: string): boolean {
    return this.#read(() => this.#effect.get(effectId)) !== undefined;
  }
  get effectCount(): number {
    return this.#read(() => this.#db.prepare<[], number>("SELECT count(*) FROM fence_effect").pluck().get()) ?? 0;
  }
  /** All fences by key, for checks. Nothing may be written while they are read. */
  fences(): IterableIterator<Fence> {
    return this.#db.prepare<[], Fence>("SELECT fence_key AS fenceKey, token FROM fence ORDER BY fence_key").iterate();
  }
  /** All effects by id, for checks. Nothing may be written while they are read. */
  effects(): IterableIterator<Effect> {
    return this.#db
      .prepare<[], Effect>(
        "SELECT effect_id AS effectId, fence_key AS fenceKey, token FROM fence_effect ORDER BY effect_id",
      )
      .iterate();
  }

  /** Closing twice is allowed. */
  close(): void {
    this.#db.close();
  }

  /** Under a savepoint, which is gone when the effect has ended the transaction, also when it has begun another. */
  #run<T>(write: FencedWrite, effect: (db: Database) => Synchronous<T>): T {
    this.#mark.run();
    let value: T;
    try {
      value = effect(this.#db);
      if (isThenable(value)) throw notSynchronous(write, "returned a thenable, and was rolled back", false);
    } catch (error) {
      if (!this.#isRolledBackBy(error) && !this.#unmarked()) throw endedTransaction(write, error);
      throw error;
    }
    if (!this.#unmarked()) throw endedTransaction(write);
    return value;
  }

  /** Takes the mark away; false when it is not there any more. */
  #unmarked(): boolean {
    try {
      this.#unmark.run();
      return true;
    } catch (error) {
      if (error instanceof Error && error.message.startsWith("no such savepoint")) return false;
      throw error;
    }
  }

  /** After these SQLite may have rolled back by itself: that is no doing of the effect. Busy is none: the lock to write is ours. */
  #isRolledBackBy(error: unknown): boolean {
    const { code } = error instanceof Error ? (error as Error & { readonly code?: unknown }) : {};
    return !this.#db.inTransaction && typeof code === "string" && /^SQLITE_(FULL|IOERR|NOMEM)/.test(code);
  }

  #transaction<T>(step: () => T): T {
    const db = this.#db;
    try {
      db.exec("BEGIN IMMEDIATE");
      const value = step();
      db.exec("COMMIT");
      return value;
    } catch (error) {
      // After a full disk or an I/O error SQLite may have rolled back by itself.
      if (db.inTransaction) db.exec("ROLLBACK");
      throw asStoreError(error, db.name);
    }
  }

  #read<T>(step: () => T): T {
    try {
      return step();
    } catch (error) {
      throw asStoreError(error, this.#db.name);
    }
  }
}

function isThenable(value: unknown): boolean {
  return typeof (value as { readonly then?: unknown } | null | undefined)?.then === "function";
}

function notSynchronous({ fenceKey, token }: FencedWrite, what: string, definite: boolean): OperatingError {
  return new OperatingError(
    "effect_not_synchronous",
    `the effect under ${fenceKey} ${what}: what it awaits would be written outside of the fence; it has to be synchronous`,
    { definite, details: { fenceKey, token } },
  );
}

function endedTransaction({ fenceKey, token }: FencedWrite, cause?: unknown): OperatingError {
  return new OperatingError(
    "effect_ended_transaction",
    `the effect under ${fenceKey} has ended its transaction, so the fence does not hold for it; an effect neither commits nor rolls back`,
    { definite: false, cause, details: { fenceKey, token } },
  );
}
