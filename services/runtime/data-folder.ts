/** Makes sure at start that a data folder can be written, so that a wrong path is told at once and not at the first commit. */
import { accessSync, constants, existsSync, mkdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { OperatingError } from "../../contracts/errors.ts";

/**
 * Creates the folder where it is missing and returns its absolute path.
 * Throws: OperatingError `data_dir_unusable` (definite).
 */
export function prepareDataFolder(path: string): string {
  const folder = resolve(path);
  try {
    makeFolders(folder);
    if (!statSync(folder).isDirectory()) throw new Error("it is a file");
    accessSync(folder, constants.R_OK | constants.W_OK | constants.X_OK);
    // Access bits say nothing about a read-only file system, a full disk, or root: only a write does.
    const probe = join(folder, `.probe-${process.pid}`);
    writeFileSync(probe, "probe", { flush: true });
    rmSync(probe);
    return folder;
  } catch (cause) {
    throw unusable(folder, cause);
  }
}

/** Parent by parent: the recursive form of Node tries for ever where a folder can never be made, as below /proc. */
export function makeFolders(folder: string): void {
  const missing: string[] = [];
  for (let at = folder; !existsSync(at); at = dirname(at)) {
    missing.unshift(at);
    if (dirname(at) === at) break;
  }
  for (const path of missing) {
    try {
      mkdirSync(path);
    } catch (error) {
      // Another process may make the same one; whether it is a folder shows right after.
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    }
  }
}

/** No room: of the disk, of the user. */
const FULL_CODES: ReadonlySet<string> = new Set(["ENOSPC", "EDQUOT"]);

function unusable(folder: string, cause: unknown): OperatingError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  const isFull = FULL_CODES.has((cause as NodeJS.ErrnoException | undefined)?.code ?? "");
  const advice = isFull
    ? "Free space on that disk, or give another folder with --data-dir."
    : "Give another one with --data-dir, or its owner and permissions to this user.";
  return new OperatingError("data_dir_unusable", `the data folder ${folder} cannot be written: ${reason}. ${advice}`, {
    definite: true,
    cause,
    details: { folder },
  });
}

/** Where the workers of a data folder keep the catalog of a shard. One file per shard: tokens of different logs must not meet. */
export function catalogFile(dataDir: string, region: string, shard: string): string {
  return join(resolve(dataDir), `catalog.${region}.${shard}.sqlite`);
}
