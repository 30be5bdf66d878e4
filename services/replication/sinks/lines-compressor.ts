/** Compresses the closed files of a JSON-lines folder beside the work, one at a time. What fails stays as it was, and is tried again later. */
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { createGzip } from "node:zlib";
import type { Reporter } from "../../../contracts/ports.ts";
import type { SinkScope } from "../sink.ts";
import { COMPRESSED, type LinesName, PARTIAL } from "./lines-names.ts";
import { asFileError, type FileHost, syncFolder } from "./sink-files.ts";

export interface CompressorOptions {
  readonly host: FileHost;
  readonly folder: string;
  readonly scope: SinkScope;
  readonly reporter: Reporter;
}

export class LinesCompressor {
  readonly #options: CompressorOptions;
  readonly #stop = new AbortController();
  readonly #waiting: LinesName[] = [];
  #running: Promise<void> = Promise.resolve();
  #isRunning = false;

  constructor(options: CompressorOptions) {
    this.#options = options;
  }

  add(...names: readonly LinesName[]): void {
    this.#waiting.push(...names);
    if (!this.#isRunning) this.#running = this.#run();
  }

  /** Ends what is under way: the next opening begins it anew. */
  async close(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { scope, folder, reporter } = this.#options;
    this.#isRunning = true;
    try {
      for (let name = this.#waiting[0]; name !== undefined; name = this.#waiting[0]) {
        await this.#compress(name);
        this.#waiting.shift();
      }
    } catch (error) {
      // Nothing depends on it: the next closed file, or the next opening, tries it again.
      if (!this.#stop.signal.aborted)
        reporter.warn("sink_compression_failed", { ...scope, error: asFileError(error, scope, folder) });
    } finally {
      this.#isRunning = false;
    }
  }

  /** The file goes only when its compressed form is whole and on the disk, so that a kill at any time leaves one of the two. */
  async #compress({ name }: LinesName): Promise<void> {
    const { host, folder } = this.#options;
    const { signal } = this.#stop;
    const path = join(folder, name);
    const target = path + COMPRESSED;
    const partial = target + PARTIAL;
    const from = await host.open(path, "r");
    try {
      const to = await host.open(partial, "w");
      await pipeline(from.createReadStream(), createGzip(), to.createWriteStream({ flush: true }), { signal });
    } finally {
      await from.close();
    }
    signal.throwIfAborted();
    await host.rename(partial, target);
    await syncFolder(host, folder);
    await host.remove(path);
  }
}
