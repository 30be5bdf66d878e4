/** Objects as files: written beside their name, made durable, then linked to it, so that a name holds a whole object or none. */
import { randomUUID } from "node:crypto";
import type { Dir } from "node:fs";
import { link, mkdir, open, opendir, readFile, rm, stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { OperatingError } from "../../../contracts/errors.ts";
import { damaged } from "./objects-format.ts";
import { cutShort, LowestSequences, OBJECT_BYTES_MAX, type ObjectPlace, sequenceOfName } from "./objects-place.ts";
import { FILE_HOST, syncFolder } from "./sink-files.ts";

/** Files that were not linked are leftovers of a crash when they are so old: longer than any write takes. ms. */
const LEFTOVER_AGE_MS = 3_600_000;
const LEFTOVER = /^\..+\.partial$/;
/** Entries of a folder that are read at once. */
const ENTRIES_PER_READ = 1_000;

export class FilePlace implements ObjectPlace {
  readonly where: string;
  readonly #root: string;

  /** `root`: a folder, which is created when it is missing. */
  constructor(root: string) {
    this.#root = resolve(root);
    this.where = `the folder ${this.#root}`;
  }

  async prepare(folder: string): Promise<void> {
    const path = join(this.#root, folder);
    await this.#told(async () => {
      const created = await mkdir(path, { recursive: true });
      // A folder is durable by its entry in the one above.
      for (let at = path; created !== undefined && at.length >= created.length; at = dirname(at))
        await syncFolder(FILE_HOST, dirname(at));
      await this.#removeLeftovers(folder);
      // What a process linked that died before it could do this.
      await syncFolder(FILE_HOST, path);
    });
  }

  put(name: string, bytes: Uint8Array, signal: AbortSignal): Promise<"created" | "taken"> {
    const path = join(this.#root, name);
    const partial = join(dirname(path), `.${basename(path)}.${randomUUID()}.partial`);
    return this.#told(async () => {
      try {
        const file = await open(partial, "wx");
        try {
          await file.writeFile(bytes, { signal });
          await file.sync();
        } finally {
          await file.close();
        }
        const outcome = await linked(partial, path);
        await syncFolder(FILE_HOST, dirname(path));
        return outcome;
      } finally {
        await rm(partial, { force: true });
      }
    });
  }

  get(name: string, signal: AbortSignal): Promise<Uint8Array | undefined> {
    return this.#told(async () => {
      const path = join(this.#root, name);
      try {
        const { size } = await stat(path);
        if (size > OBJECT_BYTES_MAX) throw damaged(name, this.where, `it has ${size} bytes`);
        return await readFile(path, { signal });
      } catch (error) {
        if (codeOf(error) === "ENOENT") return undefined;
        throw error;
      }
    });
  }

  async list(folder: string, after: number, limit: number): Promise<readonly number[]> {
    const lowest = new LowestSequences(after, limit);
    for await (const sequence of this.#sequences(folder)) lowest.add(sequence);
    return lowest.rising();
  }

  async last(folder: string, upTo: number): Promise<number | undefined> {
    let last: number | undefined;
    for await (const sequence of this.#sequences(folder))
      if (sequence <= upTo && (last === undefined || sequence > last)) last = sequence;
    return last;
  }

  async close(): Promise<void> {
    // Nothing is kept open between calls.
  }

  async *#sequences(folder: string): AsyncGenerator<number> {
    const directory = await this.#told(() => this.#entries(folder));
    for await (const { name } of directory) {
      const sequence = sequenceOfName(folder, `${folder}/${name}`);
      if (sequence !== undefined) yield sequence;
    }
  }

  #entries(folder: string): Promise<Dir> {
    return opendir(join(this.#root, folder), { bufferSize: ENTRIES_PER_READ });
  }

  async #removeLeftovers(folder: string): Promise<void> {
    const beforeMs = Date.now() - LEFTOVER_AGE_MS;
    for await (const { name } of await this.#entries(folder)) {
      if (!LEFTOVER.test(name)) continue;
      const path = join(this.#root, folder, name);
      const { mtimeMs } = await stat(path);
      if (mtimeMs < beforeMs) await rm(path, { force: true });
    }
  }

  async #told<T>(step: () => Promise<T>): Promise<T> {
    try {
      return await step();
    } catch (error) {
      throw error instanceof OperatingError ? error : this.#failure(error);
    }
  }

  #failure(error: unknown): unknown {
    const { code, message, syscall } = error as NodeJS.ErrnoException;
    if (code === "ABORT_ERR") return cutShort(this.where, error);
    if (syscall === undefined) return error;
    const { name, definite, advice } = FAILURES[code ?? ""] ?? FAILED;
    return new OperatingError(name, `${this.where}: ${message}; ${advice}`, {
      ...{ definite, cause: error },
      details: { where: this.where, errno: code },
    });
  }
}

interface Failure {
  readonly name: string;
  readonly definite: boolean;
  readonly advice: string;
}
/** The codes are those of `asFileError`. */
const UNUSABLE: Failure = {
  ...{ name: "sink_unusable", definite: true },
  advice: "give the folder and its files to this user, or give the sink another folder",
};
const FULL: Failure = { name: "sink_full", definite: false, advice: "free space on that volume" };
const FAILED: Failure = { name: "sink_failed", definite: false, advice: "check the disk" };
const FAILURES: Readonly<Record<string, Failure>> = {
  ...{ ENOSPC: FULL, EDQUOT: FULL, EFBIG: FULL },
  ...{ EACCES: UNUSABLE, EPERM: UNUSABLE, EROFS: UNUSABLE, ENOENT: UNUSABLE, ENOTDIR: UNUSABLE, EEXIST: UNUSABLE },
  ...{ EISDIR: UNUSABLE, ELOOP: UNUSABLE, ENAMETOOLONG: UNUSABLE, EINVAL: UNUSABLE },
};
/** What a file system without hard links answers. */
const NO_LINKS: ReadonlySet<string> = new Set(["EPERM", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EMLINK"]);

const codeOf = (error: unknown): string => (error as NodeJS.ErrnoException).code ?? "";

/** Gives a file its name, unless there is one of that name. */
async function linked(partial: string, path: string): Promise<"created" | "taken"> {
  try {
    await link(partial, path);
    return "created";
  } catch (error) {
    if (codeOf(error) === "EEXIST") return "taken";
    if (!NO_LINKS.has(codeOf(error))) throw error;
    throw unfit(dirname(path), error);
  }
}

function unfit(folder: string, cause: unknown): OperatingError {
  const message = `${folder} stands on a file system without hard links (${codeOf(cause)}), so no file can be created there in one step; give the sink another folder`;
  return new OperatingError("sink_unusable", message, { definite: true, cause });
}
