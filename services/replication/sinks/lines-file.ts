/** The data file that lines are added to: it knows which of its bytes are whole lines, and which of these are on the disk. */
import assert from "node:assert/strict";
import { type FileHandle, stat } from "node:fs/promises";
import { join } from "node:path";
import type { LinesName } from "./lines-names.ts";
import type { FileHost } from "./sink-files.ts";

const REWRITE_BYTES = 1024 * 1024;

interface OpenParts {
  readonly name: LinesName;
  readonly path: string;
  readonly inode: number;
  readonly handle: FileHandle;
  readonly bytes: number;
}

/**
 * Invariant: up to `bytes` there are whole lines; up to `syncedBytes`, at most `bytes`, they are on the disk. Behind `bytes` there may be
 * a torn rest, which the next write removes first.
 */
export class LinesFile {
  readonly name: LinesName;
  bytes: number;
  syncedBytes: number;
  readonly #handle: FileHandle;
  readonly #path: string;
  /** The number of the file in its file system: what has its name may be another one. */
  readonly #inode: number;
  #isTorn = false;
  /** A sync has failed: the system may have dropped what it could not write, and would call the next sync a success. */
  #isSyncDoubtful = false;

  static async create(host: FileHost, folder: string, name: LinesName): Promise<LinesFile> {
    const path = join(folder, name.name);
    return LinesFile.#of(name, path, await host.open(path, "wx+"), 0);
  }

  /** A file that has whole lines up to `bytes`; what is behind them goes. */
  static async resume(host: FileHost, folder: string, name: LinesName, bytes: number): Promise<LinesFile> {
    const path = join(folder, name.name);
    return LinesFile.#of(name, path, await host.open(path, "r+"), bytes);
  }

  static async #of(name: LinesName, path: string, handle: FileHandle, bytes: number): Promise<LinesFile> {
    try {
      const { ino, size } = await handle.stat();
      if (size !== bytes) await handle.truncate(bytes);
      // What a killed process wrote counts from now on, so it has to be on the disk.
      if (bytes > 0) await handle.sync();
      return new LinesFile({ name, path, inode: ino, handle, bytes });
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  private constructor(parts: OpenParts) {
    this.name = parts.name;
    this.#path = parts.path;
    this.#inode = parts.inode;
    this.#handle = parts.handle;
    this.bytes = parts.bytes;
    this.syncedBytes = parts.bytes;
  }

  /** Whether the lines still stand under the name: somebody may have moved, removed or emptied the file, and nobody would find more lines. */
  async isInPlace(): Promise<boolean> {
    try {
      const { ino, size } = await stat(this.#path);
      return ino === this.#inode && size >= this.bytes;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return false;
      throw error;
    }
  }

  /** Adds whole lines. After an error none of them counts. */
  async append(lines: Buffer): Promise<void> {
    if (this.#isTorn) await this.#handle.truncate(this.bytes);
    this.#isTorn = true;
    await this.#writeAt(lines, this.bytes);
    this.#isTorn = false;
    this.bytes += lines.length;
  }

  /** Resolves when everything is on the disk. */
  async sync(): Promise<void> {
    if (this.syncedBytes === this.bytes) return;
    const { bytes } = this;
    if (this.#isSyncDoubtful) await this.#rewriteFrom(this.syncedBytes);
    this.#isSyncDoubtful = true;
    await this.#handle.datasync();
    this.#isSyncDoubtful = false;
    this.syncedBytes = bytes;
  }

  close(): Promise<void> {
    return this.#handle.close();
  }

  /** Writes the same bytes once more, so that a sync has to bring them to the disk. */
  async #rewriteFrom(fromByte: number): Promise<void> {
    const buffer = Buffer.alloc(REWRITE_BYTES);
    for (let at = fromByte; at < this.bytes; ) {
      const length = Math.min(REWRITE_BYTES, this.bytes - at);
      const { bytesRead } = await this.#handle.read(buffer, 0, length, at);
      assert(bytesRead > 0, `${this.name.name} ends at ${at}, before ${this.bytes}`);
      await this.#writeAt(buffer.subarray(0, bytesRead), at);
      at += bytesRead;
    }
  }

  async #writeAt(bytes: Buffer, position: number): Promise<void> {
    for (let done = 0; done < bytes.length; ) {
      const { bytesWritten } = await this.#handle.write(bytes, done, bytes.length - done, position + done);
      done += bytesWritten;
    }
  }
}
