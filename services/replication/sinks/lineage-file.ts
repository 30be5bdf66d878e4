/** Files of run events, one JSON line each: for those who collect lineage from files. One file for each shard and UTC day of log time. */
import { open } from "node:fs/promises";
import { join, resolve } from "node:path";
import type { Closable } from "../../../contracts/ports.ts";
import { makeFolders } from "../../runtime/data-folder.ts";
import type { SinkScope } from "../sink.ts";
import { LinesFile } from "./lines-file.ts";
import { sinkTaken } from "./sink-errors.ts";
import { asFileError, FILE_HOST, syncFolder } from "./sink-files.ts";

const NEWLINE = 10;
const READ_BYTES = 64 * 1024;

/** A line, and the day that it belongs to: `2026-01-31`. */
export interface LineOfDay {
  readonly day: string;
  readonly text: string;
}

/** Where a sink's lines go. Lines may be there twice after a crash; none is torn but the last one, which goes when the file is opened. */
export class LineageFiles {
  readonly #folder: string;
  readonly #scope: SinkScope;
  #owned: Closable | undefined;
  #file: LinesFile | undefined;

  constructor(folder: string, scope: SinkScope) {
    this.#folder = resolve(folder);
    this.#scope = scope;
  }

  /** Throws: OperatingError `sink_taken`, `sink_unusable`, and as `openSqlite`. */
  async open(): Promise<void> {
    await this.#typed(async () => {
      makeFolders(this.#folder);
      const { region, shard } = this.#scope;
      this.#owned = FILE_HOST.own(join(this.#folder, `${region}.${shard}.writer.lock`));
      if (this.#owned === undefined) throw sinkTaken(this.#scope, this.#folder);
    });
  }

  /** Resolves when the lines are on the disk. Throws: OperatingError `sink_full`, `sink_unusable`, `sink_failed`. */
  async append(lines: readonly LineOfDay[]): Promise<void> {
    await this.#typed(async () => {
      for (let start = 0; start < lines.length; ) {
        const day = lines[start]?.day ?? "";
        let end = start;
        while (lines[end]?.day === day) end += 1;
        const file = await this.#fileOf(day);
        await file.append(
          Buffer.from(
            lines
              .slice(start, end)
              .map(({ text }) => `${text}\n`)
              .join(""),
          ),
        );
        start = end;
      }
      await this.#file?.sync();
    });
  }

  /** Closing twice is allowed. */
  async close(): Promise<void> {
    const file = this.#file;
    this.#file = undefined;
    await file?.close();
    this.#owned?.close();
    this.#owned = undefined;
  }

  async #fileOf(day: string): Promise<LinesFile> {
    const { region, shard } = this.#scope;
    if (this.#file?.name.day === day) return this.#file;
    await this.#file?.sync();
    await this.#file?.close();
    this.#file = undefined;
    const name = `${region}.${shard}.${day}.jsonl`;
    const bytes = await wholeBytes(join(this.#folder, name));
    const named = { name, first: 0, day, isCompressed: false };
    this.#file = await LinesFile.resume(FILE_HOST, this.#folder, named, bytes);
    await syncFolder(FILE_HOST, this.#folder);
    return this.#file;
  }

  async #typed<T>(step: () => Promise<T>): Promise<T> {
    try {
      return await step();
    } catch (error) {
      throw asFileError(error, this.#scope, this.#folder);
    }
  }
}

/** Makes the file if it is not there; answers where its last whole line ends. */
async function wholeBytes(path: string): Promise<number> {
  const handle = await open(path, "a+");
  try {
    const buffer = Buffer.alloc(READ_BYTES);
    for (let end = (await handle.stat()).size; end > 0; ) {
      const start = Math.max(0, end - READ_BYTES);
      const { bytesRead } = await handle.read(buffer, 0, end - start, start);
      const at = buffer.subarray(0, bytesRead).lastIndexOf(NEWLINE);
      if (at !== -1) return start + at + 1;
      end = start;
    }
    return 0;
  } finally {
    await handle.close();
  }
}
