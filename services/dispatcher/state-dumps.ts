/** Keeps the state of a shard node that halted, so that `omnirelay state diff` can show what was wrong with it. */
import { createWriteStream, statSync } from "node:fs";
import { mkdir, readdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { Reporter } from "../../contracts/ports.ts";
import { dumpText } from "../core/dump-text.ts";
import type { Halt } from "../core/log-reader.ts";
import type { ShardState } from "../core/state.ts";

const FOLDER = "dumps";
/** Dumps of one shard that are kept: a node that is started again and again must not fill the disk. */
const KEPT = 3;

export class StateDumps {
  readonly #folder: string;
  readonly #running = new Set<Promise<void>>();

  constructor(dataDir: string) {
    this.#folder = join(dataDir, FOLDER);
  }

  /** Writes the state of a halted node, which nobody changes any more, in the background. */
  write(
    place: { readonly region: string; readonly shard: string },
    halt: Halt,
    state: ShardState,
    reporter: Reporter,
  ): void {
    const prefix = `${place.region}.${place.shard}.`;
    const name = `${prefix}${String(state.sequence).padStart(20, "0")}.${halt.code}.jsonl`;
    const running = this.#write(name, prefix, state).then(
      () => reporter.error("state_dumped", { file: join(this.#folder, name), sequence: state.sequence }),
      (error: unknown) => reporter.error("dump_failed", { file: join(this.#folder, name), message: String(error) }),
    );
    this.#running.add(running);
    void running.finally(() => this.#running.delete(running));
  }

  /** Resolves when nothing is being written any more. */
  async settled(): Promise<void> {
    await Promise.all(this.#running);
  }

  async #write(name: string, prefix: string, state: ShardState): Promise<void> {
    await mkdir(this.#folder, { recursive: true, mode: 0o700 });
    const partial = join(this.#folder, `${name}.partial`);
    await pipeline(Readable.from(dumpText(state)), createWriteStream(partial, { flush: true, mode: 0o600 }));
    await rename(partial, join(this.#folder, name));
    await this.#sweep(prefix);
  }

  /** Keeps the newest; what an earlier process left unfinished goes. */
  async #sweep(prefix: string): Promise<void> {
    const names = (await readdir(this.#folder)).filter((name) => name.startsWith(prefix));
    const files = names.map((name) => ({ path: join(this.#folder, name), isPartial: name.endsWith(".partial") }));
    const dated = files.map((file) => ({ ...file, writtenMs: statSync(file.path).mtimeMs }));
    dated.sort((left, right) => Number(left.isPartial) - Number(right.isPartial) || right.writtenMs - left.writtenMs);
    for (const [index, { path, isPartial }] of dated.entries())
      if (isPartial || index >= KEPT) await rm(path, { force: true });
  }
}
