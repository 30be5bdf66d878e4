/** Keeps two dispatchers out of one data folder: each would overwrite what the other remembers. */
import { join } from "node:path";
import { OperatingError } from "../../contracts/errors.ts";
import type { Closable } from "../../contracts/ports.ts";
import { ownFile } from "../persistence/owned-file.ts";

const OWNED_FILE = "dispatcher.lock";

/**
 * Takes the folder; the operating system gives it back when the process ends, however it ends.
 * Throws: OperatingError `data_dir_in_use` (definite).
 */
export function ownFolder(folder: string): Closable {
  const owned = ownFile(join(folder, OWNED_FILE));
  if (owned !== undefined) return owned;
  throw new OperatingError(
    "data_dir_in_use",
    `another dispatcher uses the data folder ${folder}; give this one a folder of its own with --data-dir`,
    { definite: true, details: { folder } },
  );
}
