/** What a stretch of a run has cost: time, processor time of each process, bytes written. Read by the client itself, around the stretch. */
import { mkdirSync } from "node:fs";
import type { Percentiles } from "./machine.ts";
import type { ServerProcess } from "./peers/peer.ts";
import { bytesInFolder, bytesWrittenBy, cpuMsOf, machineCpuMs, rssBytesOf } from "./servers/processes.ts";

/** The result of one stretch. */
export interface Figures {
  /** What the row is judged by, in the unit of its scenario. */
  readonly value: number;
  readonly items?: number;
  /** ms. */
  readonly elapsedMs?: number;
  /** Processor time by process, `client` among them. ms per 1,000 items. */
  readonly cpuMs?: Readonly<Record<string, number>>;
  /** Processors in use, by process and by all `others` on the machine: 1 is one whole processor. */
  readonly busy?: Readonly<Record<string, number>>;
  /** By the servers to disks. Bytes per item. */
  readonly bytesWritten?: number;
  /** What the data folder grew by. Bytes per item. */
  readonly bytesKept?: number;
  readonly latencyMs?: Percentiles;
  readonly more?: Readonly<Record<string, number>>;
}

export interface MeterSource {
  readonly processes: readonly ServerProcess[];
  readonly folder: string;
}

/** Processor time is counted in steps of 10 ms: a stretch of less than a second says little about it. */
export class Meter {
  readonly #source: MeterSource;

  constructor(source: MeterSource) {
    this.#source = source;
    mkdirSync(source.folder, { recursive: true });
  }

  /** Runs the stretch, which returns how many items it handled. Its value is the rate in items/s. */
  async rate(action: () => Promise<number>): Promise<Figures> {
    const before = this.#read();
    const start = performance.now();
    const items = await action();
    const elapsedMs = performance.now() - start;
    const after = this.#read();
    const spent = Object.fromEntries(
      Object.entries(after.cpuMs).map(([name, ms]) => [name, ms - (before.cpuMs[name] ?? 0)]),
    );
    const perThousand = (ms: number): number => round((ms * 1_000) / items);
    const own = Object.values(spent).reduce((sum, ms) => sum + ms, 0);
    return {
      value: Math.round((items / elapsedMs) * 1_000),
      items,
      elapsedMs: Math.round(elapsedMs),
      cpuMs: mapValues(spent, perThousand),
      // What anything else on the machine took: a run beside which something else ran says little.
      busy: mapValues({ ...spent, others: Math.max(0, after.machineMs - before.machineMs - own) }, (ms) =>
        round(ms / elapsedMs),
      ),
      bytesWritten: Math.round((after.bytesWritten - before.bytesWritten) / items),
      bytesKept: Math.round((after.bytesKept - before.bytesKept) / items),
    };
  }

  /** Memory of each server process. MiB. */
  rssMib(): Readonly<Record<string, number>> {
    return this.#byName(({ pid }) => Math.round(rssBytesOf(pid) / 2 ** 20));
  }

  /** What the data folder takes. MiB. */
  folderMib(): number {
    return Math.round(bytesInFolder(this.#source.folder) / 2 ** 20);
  }

  #read() {
    const { user, system } = process.cpuUsage();
    return {
      cpuMs: { ...this.#byName(({ pid }) => cpuMsOf(pid)), client: (user + system) / 1_000 } as Record<string, number>,
      bytesWritten: this.#source.processes.reduce((sum, { pid }) => sum + bytesWrittenBy(pid), 0),
      bytesKept: bytesInFolder(this.#source.folder),
      machineMs: machineCpuMs(),
    };
  }

  /** Added up where several processes have one name. */
  #byName(read: (one: ServerProcess) => number): Record<string, number> {
    const sums: Record<string, number> = {};
    for (const one of this.#source.processes) sums[one.name] = (sums[one.name] ?? 0) + read(one);
    return sums;
  }
}

const round = (value: number): number => Math.round(value * 100) / 100;
const mapValues = (record: Record<string, number>, change: (value: number) => number): Record<string, number> =>
  Object.fromEntries(Object.entries(record).map(([name, value]) => [name, change(value)]));
