/** The two SQLite subjects of the snapshot suite, in a folder of their own: the store itself, and the thread. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "better-sqlite3";
import { type SnapshotInfo, type SnapshotStore, SqliteSnapshotStore } from "../../services/persistence/mod.ts";
import type { Cleanup, Damage, SnapshotSubject } from "./snapshot-suite.ts";

export function temporaryFolder(cleanup: (dispose: () => Promise<void>) => void): string {
  const folder = mkdtempSync(join(tmpdir(), "omnirelay-snapshots-"));
  cleanup(async () => rmSync(folder, { recursive: true }));
  return folder;
}

const DAMAGES: Readonly<Record<Damage, string>> = {
  "truncated chunk":
    "UPDATE snapshot_chunk SET data = substr(data, 1, length(data) - 9) WHERE snapshot = ? AND position = 1",
  "flipped byte":
    "UPDATE snapshot_chunk SET data = CAST(substr(data, 1, 999) || x'00ff' || substr(data, 1002) AS BLOB) WHERE snapshot = ? AND position = 1",
  "missing chunk": "DELETE FROM snapshot_chunk WHERE snapshot = ? AND position = 1",
  "missing last chunk":
    "DELETE FROM snapshot_chunk WHERE snapshot = ? AND position = (SELECT max(chunks) - 1 FROM snapshot)",
  "swapped chunks":
    "UPDATE snapshot_chunk SET position = CASE position WHEN 1 THEN -2 ELSE -1 END WHERE snapshot = ? AND position IN (1, 2)",
};

export async function sqliteSubject(
  cleanup: Cleanup,
  open: (folder: string) => Promise<SnapshotStore> = async (folder) => SqliteSnapshotStore.open(folder),
): Promise<SnapshotSubject & { readonly folder: string }> {
  const folder = temporaryFolder(cleanup);
  const store = await open(folder);
  const db = new Database(join(folder, "snapshots.sqlite"));
  cleanup(async () => {
    db.close();
    await store.close();
  });
  return {
    folder,
    store,
    damage: async (info: SnapshotInfo, damage: Damage) => {
      db.prepare(DAMAGES[damage]).run(info.id);
      db.prepare("UPDATE snapshot_chunk SET position = -position WHERE position < 0").run();
    },
    relabel: async (info, text) => void db.prepare("UPDATE snapshot SET label = ? WHERE id = ?").run(text, info.id),
    storedChunks: async () => Number(db.prepare("SELECT count(*) FROM snapshot_chunk").pluck().get()),
  };
}
