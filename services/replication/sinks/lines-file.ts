/** The data file that lines are added to: it knows which of its bytes are whole lines, and which of these are on the disk. */
import assert from "node:assert/strict";
import type { FileHandle } from "node:fs/promises";
import { join } from "node:path";
import type { LinesName } from "./lines-names.ts";
import type { FileHost } from "./sink-files.ts";

const REWRITE_BYTES = 1024 * 1024;

/**
 * Invariant: up to `bytes` there are whole lines; up to `syncedBytes`, at most `bytes`, they are on the disk. Behind `bytes` there may be
 * a torn rest, which the next write removes first.
 */
export class LinesFile {
  readonly name: LinesName;
  bytes: number;
  syncedBytes: number;
  readonly #handle: FileHandle;
  #isTorn = false;
  /** A sync has failed: the system may have dropped what it could not write, and would call the next sync a success. */
  #isSyncDoubtful = false;

  static async create(host: FileHost, folder: string, name: LinesName): Promise<LinesFile> {
    return new LinesFile(name, await host.open(join(folder, name.name), "wx+"), 0);
  }

  /** A file that has whole lines up to `bytes`; what is behind them goes. */
  static async resume(host: FileHost, folder: string, name: LinesName, bytes: number): Promise<LinesFile> {
    const handle = await host.open(join(folder, name.name), "r+");
    try {
      await handle.truncate(bytes);
      await handle.sync();
      return new LinesFile(name, handle, bytes);
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  private constructor(name: LinesName, handle: FileHandle, bytes: number) {
    this.name = name;
    this.#handle = handle;
    this.bytes = bytes;
    this.syncedBytes = bytes;
  }

  /** Whether somebody has removed the file: what is written to it now, nobody would find. */
  async isRemoved(): Promise<boolean> {
    return (await this.#handle.stat()).nlink === 0;
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
