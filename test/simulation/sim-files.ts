/**
 * The files of a simulated mesh: the production stores on SQLite, opened as the processes open theirs. What a commit has not brought to the
 * disk goes with the power. All files are one database in memory, which a process of the simulation opens once; names keep them apart.
 */
import type { Store } from "../../contracts/ports.ts";
import { FencedStore } from "../../services/persistence/fenced-store.ts";
import { openSqlite } from "../../services/persistence/sqlite.ts";
import { SqliteStore } from "../../services/persistence/sqlite-store.ts";

const db = openSqlite(":memory:");
const store = new SqliteStore(db);
const fence = new FencedStore(db);
/** In WAL mode a commit has reached the disk only where it is synced by itself: FULL is 2. */
const isSynced = Number(db.pragma("synchronous", { simple: true })) >= 2;
const forgetEntry = db.prepare<[string]>("DELETE FROM store_entry WHERE key = ?");
const forgetFence = db.prepare<[string]>("DELETE FROM fence WHERE fence_key = ?");
const forgetEffect = db.prepare<[string]>("DELETE FROM fence_effect WHERE effect_id = ?");
const lowerFence = db.prepare<[number, string]>("UPDATE fence SET token = ? WHERE fence_key = ?");

const wipes = ["store_entry", "fence", "fence_effect"].map((table) => db.prepare(`DELETE FROM ${table}`));

/** Empties every file, for the next run. */
export function emptyFiles(): void {
  for (const wipe of wipes) wipe.run();
}

/** Commits of one file that are not on the disk yet: how to undo each, oldest first. */
class Unsynced {
  #undo: (() => void)[] = [];

  committed(undo: () => void): void {
    if (!isSynced) this.#undo.push(undo);
  }

  /** The power goes: of the commits in order the first share was written by the system itself. */
  cut(kept: number): void {
    const lost = this.#undo.splice(Math.floor(this.#undo.length * kept));
    for (const undo of lost.reverse()) undo();
    this.#undo = [];
  }
}

/** A dispatcher's own file. */
export class StoreFile implements Store {
  readonly #prefix: string;
  /** What `put` has promised to keep. */
  readonly #promised = new Map<string, string>();
  readonly #unsynced = new Unsynced();

  constructor(name: string) {
    this.#prefix = `${name}/`;
  }

  get(key: string): string | undefined {
    return store.get(this.#prefix + key);
  }

  put(key: string, value: string): void {
    const name = this.#prefix + key;
    const before = isSynced ? undefined : store.get(name);
    store.put(name, value);
    this.#promised.set(key, value);
    this.#unsynced.committed(() => {
      if (before === undefined) forgetEntry.run(name);
      else store.put(name, before);
    });
  }

  /** The power goes. Answers the keys that do not hold any more what was put last. */
  cut(kept: number): readonly string[] {
    this.#unsynced.cut(kept);
    return [...this.#promised].flatMap(([key, value]) => (this.get(key) === value ? [] : [key]));
  }
}

/** The file of a resource that is guarded by a fence. */
export class FenceFile {
  readonly #prefix: string;
  readonly #unsynced = new Unsynced();

  constructor(name: string) {
    this.#prefix = `${name}/`;
  }

  /** `effectId` empty: raises the fence alone. */
  write(key: string, token: number, effectId: string): "applied" | "duplicate" | "rejected" {
    const fenceKey = this.#prefix + key;
    const effect = effectId === "" ? {} : { effectId: this.#prefix + effectId };
    const before = isSynced ? undefined : fence.highestToken(fenceKey);
    const { kind } = fence.write({ fenceKey, token, ...effect }, () => undefined);
    if (kind !== "rejected")
      this.#unsynced.committed(() => {
        if (before === undefined) forgetFence.run(fenceKey);
        else lowerFence.run(before, fenceKey);
        if (kind === "applied" && effect.effectId !== undefined) forgetEffect.run(effect.effectId);
      });
    return kind;
  }

  hasEffect(effectId: string): boolean {
    return fence.hasEffect(this.#prefix + effectId);
  }

  cut(kept: number): void {
    this.#unsynced.cut(kept);
  }
}
