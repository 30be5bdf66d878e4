/** What sinks do with files: what makes them durable, and the system's errors in words that say what to do. */
import { type FileHandle, open, rename, rm } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { OperatingError } from "../../../contracts/errors.ts";
import type { Closable } from "../../../contracts/ports.ts";
import { ownFile } from "../../persistence/owned-file.ts";
import type { SinkScope } from "../sink.ts";
import { titleOf } from "./sink-errors.ts";

/** Through here file sinks change files: what one process holds and does ends with it, and a test can end it. */
export interface FileHost {
  open(path: string, flags: string): Promise<FileHandle>;
  rename(from: string, to: string): Promise<void>;
  /** A file that is not there is removed already. */
  remove(path: string): Promise<void>;
  /** As `ownFile`. */
  own(path: string): Closable | undefined;
}

export const FILE_HOST: FileHost = {
  open: (path, flags) => open(path, flags),
  rename: (from, to) => rename(from, to),
  remove: (path) => rm(path, { force: true }),
  own: ownFile,
};

/** What a sink whose files are below a folder writes to; see `SinkKind.target`. */
export const folderTarget = (folder: string): string => `the folder ${resolve(folder)}`;

/** Makes names that were added to a folder, or taken away, durable. */
export async function syncFolder(host: FileHost, folder: string): Promise<void> {
  const handle = await host.open(folder, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Writes a file as a whole, durably: after a kill or a power cut there is all of it, or what was there before. */
export async function writeWhole(host: FileHost, path: string, text: string): Promise<void> {
  const partial = `${path}.tmp`;
  await host.remove(partial);
  const handle = await host.open(partial, "wx");
  try {
    await handle.writeFile(text);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await host.rename(partial, path);
  await syncFolder(host, dirname(path));
}

/** No room: of the disk, of the user. */
const FULL_CODES: ReadonlySet<string> = new Set(["ENOSPC", "EDQUOT"]);
/** What does not pass by itself. */
const UNUSABLE_CODES: ReadonlySet<string> = new Set([
  ...["EACCES", "EPERM", "EROFS", "ENOTDIR", "EISDIR", "ENOENT", "ENAMETOOLONG", "ELOOP", "EINVAL"],
]);

/** The OperatingError of what the file system threw; anything else is a defect and comes back as it is. */
export function asFileError(error: unknown, scope: SinkScope, where: string): unknown {
  if (!(error instanceof Error) || error instanceof OperatingError) return error;
  const code = (error as NodeJS.ErrnoException).code ?? "";
  if ((error as NodeJS.ErrnoException).errno === undefined) return error;
  const title = `${titleOf(scope)} cannot write to ${where}: ${error.message}`;
  const rest = { cause: error, details: { ...scope, where, errno: code } };
  if (FULL_CODES.has(code))
    return new OperatingError("sink_full", `${title}; free space on that volume`, { definite: false, ...rest });
  if (UNUSABLE_CODES.has(code)) {
    const advice = "give the folder and its files to this user, or give the sink another folder";
    return new OperatingError("sink_unusable", `${title}; ${advice}`, { definite: true, ...rest });
  }
  return new OperatingError("sink_failed", `${title}; check the disk`, { definite: false, ...rest });
}

/** What is in the place cannot be what the sink left there: going on would hide that something is missing. */
export function damaged(scope: SinkScope, where: string, what: string, advice: string): OperatingError {
  return new OperatingError("sink_damaged", `${titleOf(scope)} cannot go on in ${where}: ${what}; ${advice}`, {
    definite: true,
    details: { ...scope, where },
  });
}
