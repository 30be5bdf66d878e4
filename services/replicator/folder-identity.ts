/**
 * Tells an earlier start of this process from another process of the same peer id: by an id that lives in the data folder, and belongs to
 * the process that has the folder.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { OperatingError } from "../../contracts/errors.ts";
import type { Ids } from "../../contracts/ports.ts";
import { ownFile } from "../persistence/owned-file.ts";

const OWNED_FILE = "replicator.lock";
const ID_FILE = "replicator.id";
const ID = /^[0-9A-Za-z]{22}$/;

export interface FolderIdentity {
  /** The same for each start with this folder; one of its own for whoever comes while another process has the folder. */
  readonly id: string;
  /** Gives the folder back. */
  close(): void;
}

/** Throws: OperatingError `data_dir_unusable` (definite), and as `openSqlite`. */
export function identityOfFolder(folder: string, ids: Ids): FolderIdentity {
  const owned = ownFile(join(folder, OWNED_FILE));
  if (owned === undefined) return { id: ids.id("folder"), close: () => {} };
  try {
    return { id: rememberedId(join(folder, ID_FILE), ids), close: () => owned.close() };
  } catch (error) {
    owned.close();
    throw error;
  }
}

/** What is no whole id was cut off by a crash: another one only costs the wait for the silence of the earlier start. */
function rememberedId(path: string, ids: Ids): string {
  try {
    const known = textOf(path);
    if (ID.test(known)) return known;
    const id = ids.id("folder");
    writeFileSync(path, id, { flush: true });
    return id;
  } catch (error) {
    throw unusable(path, error as Error);
  }
}

function unusable(path: string, cause: Error): OperatingError {
  const message = `the file ${path} cannot be used: ${cause.message}`;
  return new OperatingError("data_dir_unusable", message, { definite: true, cause, details: { path } });
}

function textOf(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return "";
    throw error;
  }
}
