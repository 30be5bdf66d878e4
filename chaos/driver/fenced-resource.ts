/** The resource that the workers of a run write to: a real fenced store in one file, which keeps a journal of what it has taken. */
import { join } from "node:path";
import { type FencedResult, FencedStore } from "../../services/persistence/fenced-store.ts";
import type { FencedRecord, FencedWrite } from "../operations.ts";

const FILE = "fenced-resource.sqlite";
const JOURNAL = `
  CREATE TABLE IF NOT EXISTS journal (
    id INTEGER PRIMARY KEY AUTOINCREMENT, resource TEXT NOT NULL, itemId TEXT NOT NULL, token INTEGER NOT NULL, operation TEXT NOT NULL
  ) STRICT;
`;

/** Opens the resource of the run, or makes it. Several processes may have it open. */
export function openResource(folder: string): FencedStore {
  return FencedStore.open(join(folder, FILE), { migrate: (db) => void db.exec(JOURNAL) });
}

/** Writes under the fence of the lease; `operation` is the id of the recorded operation. Throws: as `FencedStore.write`. */
export function writeFenced(store: FencedStore, write: FencedWrite, operation: string): FencedResult<null> {
  const { resource, itemId, token } = write;
  return store.write({ fenceKey: resource, token }, (db) => {
    db.prepare("INSERT INTO journal (resource, itemId, token, operation) VALUES (?, ?, ?, ?)").run(
      resource,
      itemId,
      token,
      operation,
    );
    return null;
  });
}

/** Everything that the resource has taken, in its order. */
export function readJournal(folder: string): readonly FencedRecord[] {
  const store = openResource(folder);
  try {
    return store.database
      .prepare<[], FencedRecord>("SELECT resource, itemId, token, operation FROM journal ORDER BY id")
      .all();
  } finally {
    store.close();
  }
}
