/** Finds and reads Delta Lake logs in a folder: everything is checked before the first commit of a table is handed out. */
import { createHash } from "node:crypto";
import { closeSync, constants, type Dirent, fstatSync, lstatSync, openSync, readdirSync, readFileSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { OperatingError } from "../../contracts/errors.ts";
import { utf8Length } from "../../contracts/ids.ts";
import { ITEM_BYTES_MAX, REQUEST_ID_LENGTH_MAX, RESOURCE_ID_BYTES_MAX } from "../../contracts/limits.ts";
import { type DeltaChanges, DeltaLogError, parseDeltaCommit, sumProblem } from "./delta-commit.ts";

const LOG_FOLDER = "_delta_log";
const IS_LINK = "it is a link, and links are not followed";
/** A link that was put in place of the file since it was looked at is not followed either, and a pipe is not waited for. */
const OPEN_FLAGS = constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0);
const COMMIT_FILE = /^(\d{20})\.json$/;

/** One commit of a table, checked. */
export interface DeltaCommit {
  readonly table: string;
  readonly version: number;
  /** The file's text, byte for byte. */
  readonly text: string;
  /** What it is as the body of an item. Encoded JSON bytes. */
  readonly bodyBytes: number;
}

/** The commits of one table in version order, from version 0 without a hole. */
export interface DeltaTable {
  readonly table: string;
  readonly commits: readonly DeltaCommit[];
}

export interface DeltaFolder {
  /** In order of name. */
  readonly tables: readonly DeltaTable[];
  /** What could not be read; the tables above are complete all the same. */
  readonly failures: readonly DeltaLogError[];
}

/**
 * Reads every Delta table under a folder. A table is named by its path below the folder, `/` between the parts; a folder that is a
 * table itself by its own name. Links below the folder are not followed, so that no circle is walked and nothing outside is read: a
 * linked log or commit is a failure of its table.
 *
 * Throws: OperatingError (definite) when the folder itself cannot be read. One bad table is a failure in the result.
 */
export function readDeltaFolder(folder: string): DeltaFolder {
  const failures: DeltaLogError[] = [];
  const found = findTables(folder, failures);
  const tables: DeltaTable[] = [];
  for (const { table, path } of found) {
    try {
      tables.push(readDeltaTable(table, path));
    } catch (error) {
      if (!(error instanceof DeltaLogError)) throw error;
      failures.push(error);
    }
  }
  return { tables, failures };
}

interface FoundTable {
  readonly table: string;
  readonly path: string;
}

/** Walks the folders with an own stack: a deep tree must not end in a stack overflow. */
function findTables(folder: string, failures: DeltaLogError[]): readonly FoundTable[] {
  const found: FoundTable[] = [];
  const waiting = [""];
  for (let name = waiting.pop(); name !== undefined; name = waiting.pop()) {
    const path = join(folder, name);
    const table = name === "" ? basename(resolve(folder)) : name;
    const entries = listFolder(path);
    if (entries instanceof Error) {
      if (name === "")
        throw new OperatingError("delta_folder_unreadable", `cannot read the folder ${folder}: ${entries.message}`, {
          definite: true,
          cause: entries,
        });
      failures.push(new DeltaLogError({ table, file: path }, `cannot read the folder: ${entries.message}`, entries));
      continue;
    }
    for (const entry of entries) {
      if (entry.name === LOG_FOLDER) {
        const problem = logProblem(entry);
        if (problem === undefined) found.push({ table, path });
        else failures.push(new DeltaLogError({ table, file: join(path, LOG_FOLDER) }, problem));
      } else if (entry.isDirectory()) waiting.push(name === "" ? entry.name : `${name}/${entry.name}`);
    }
  }
  return found.sort((left, right) => (left.table < right.table ? -1 : 1));
}

function logProblem(entry: Dirent): string | undefined {
  if (entry.isDirectory()) return undefined;
  return entry.isSymbolicLink() ? IS_LINK : "the log is not a folder";
}

function listFolder(path: string) {
  try {
    return readdirSync(path, { withFileTypes: true });
  } catch (error) {
    return error as Error; // readdir throws nothing but system errors
  }
}

function readDeltaTable(table: string, path: string): DeltaTable {
  if (utf8Length(table) > RESOURCE_ID_BYTES_MAX)
    throw new DeltaLogError(
      { table },
      `its name is longer than ${RESOURCE_ID_BYTES_MAX} bytes, the limit of a resource id`,
    );
  const log = join(path, LOG_FOLDER);
  const entries = listFolder(log);
  if (entries instanceof Error)
    throw new DeltaLogError({ table, file: log }, `cannot read the log: ${entries.message}`, entries);
  const files = entries.map((entry) => entry.name).filter((name) => COMMIT_FILE.test(name));
  files.sort();
  const hasCheckpoint = entries.some((entry) => entry.name.includes(".checkpoint"));
  if (files.length === 0) throw new DeltaLogError({ table, file: log }, "the log has no commit");
  const sizes = new TableSizes();
  const commits = files.map((name, index) => {
    const file = join(log, name);
    const version = Number(COMMIT_FILE.exec(name)?.[1]);
    if (version !== index) throw new DeltaLogError({ table, file }, holeProblem(version, index, hasCheckpoint));
    return readCommit(table, version, file, sizes);
  });
  return { table, commits };
}

/** Adds up a table's bytes as the catalog does, so that a sum that it cannot hold is told before anything is sent. */
class TableSizes {
  readonly #sizes = new Map<string, number>();
  #bytes = 0;

  /** Whether the sum stayed exact. */
  add({ files }: DeltaChanges): boolean {
    for (const { key, size } of files) {
      this.#bytes += (size ?? 0) - (this.#sizes.get(key) ?? 0);
      if (size === undefined) this.#sizes.delete(key);
      else this.#sizes.set(key, size);
      if (!Number.isSafeInteger(this.#bytes)) return false;
    }
    return true;
  }
}

function holeProblem(version: number, expected: number, hasCheckpoint: boolean): string {
  if (expected > 0) return `version ${expected} is missing: the log goes on with ${version}`;
  const why = hasCheckpoint
    ? "the older ones stand in a checkpoint, which is Parquet and not read here"
    : "there is no checkpoint either";
  return `the log does not begin at version 0: ${why}`;
}

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

function readCommit(table: string, version: number, file: string, sizes: TableSizes): DeltaCommit {
  const text = readText(table, file);
  const changes = parseDeltaCommit({ table, file }, text);
  if (!sizes.add(changes)) throw new DeltaLogError({ table, file }, sumProblem(version));
  const bodyBytes = utf8Length(JSON.stringify(text));
  if (bodyBytes > ITEM_BYTES_MAX) throw new DeltaLogError({ table, file }, sizeProblem(bodyBytes, ITEM_BYTES_MAX));
  return { table, version, text, bodyBytes };
}

function readText(table: string, file: string): string {
  try {
    if (lstatSync(file).isSymbolicLink()) throw new DeltaLogError({ table, file }, IS_LINK);
    const descriptor = openSync(file, OPEN_FLAGS);
    try {
      const entry = fstatSync(descriptor);
      if (!entry.isFile()) throw new Error("it is not a file");
      // Looked at before reading: nobody's file may fill our memory. Encoding only adds bytes, so this refuses nothing that fits.
      if (entry.size > ITEM_BYTES_MAX)
        throw new DeltaLogError({ table, file }, sizeProblem(entry.size, ITEM_BYTES_MAX));
      return decoder.decode(readFileSync(descriptor));
    } finally {
      closeSync(descriptor);
    }
  } catch (error) {
    throw error instanceof DeltaLogError ? error : unreadable(table, file, error as Error);
  }
}

function unreadable(table: string, file: string, cause: Error): DeltaLogError {
  const problem = cause instanceof TypeError ? "the file is not UTF-8" : `cannot read the file: ${cause.message}`;
  return new DeltaLogError({ table, file }, problem, cause);
}

/** The folder without the tables that have a commit above a shard's `itemBytesMax`: these become failures. */
export function withinItemLimit(folder: DeltaFolder, itemBytesMax: number): DeltaFolder {
  const failures = [...folder.failures];
  const tables = folder.tables.filter(({ table, commits }) => {
    const large = commits.find((commit) => commit.bodyBytes > itemBytesMax);
    if (large !== undefined)
      failures.push(
        new DeltaLogError({ table }, `version ${large.version}: ${sizeProblem(large.bodyBytes, itemBytesMax)}`),
      );
    return large === undefined;
  });
  return { tables, failures };
}

const sizeProblem = (size: number, itemBytesMax: number): string =>
  `the commit has ${size} bytes, more than the ${itemBytesMax} of an item body (option itemBytesMax of the shard, at most ${ITEM_BYTES_MAX})`;

/** The request id that makes a commit's item unique: `<table>@<version>`; of a long name its digest. */
export function commitRequestId(table: string, version: number): string {
  const plain = `${table}@${version}`;
  if (plain.length <= REQUEST_ID_LENGTH_MAX) return plain;
  return `sha256:${createHash("sha256").update(table).digest("hex")}@${version}`;
}

/** The version that a request id of `commitRequestId` names; undefined for any other. */
export function versionOfRequestId(requestId: string): number | undefined {
  const version = /@(0|[1-9]\d{0,15})$/.exec(requestId)?.[1];
  return version === undefined ? undefined : Number(version);
}
