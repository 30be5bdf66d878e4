/** A child process of the simulation: runs the seeds that it is told, and tells of each batch and each failure. */
import assert from "node:assert/strict";
import type { Profile } from "./plan.ts";
import { sow } from "./plants.ts";
import { trapped } from "./traps.ts";

export interface ChildOrder {
  readonly first: number;
  readonly count: number;
  /** Distance between two seeds of this child. */
  readonly step: number;
  readonly profile: Profile;
  readonly plant?: string | undefined;
  readonly stopAtFailure: boolean;
  /** Runs each seed twice and compares the traces. */
  readonly isTwice: boolean;
}

/** What has come since the last report. */
export interface ChildReport {
  readonly seeds: number;
  readonly virtualMs: number;
  readonly events: number;
  readonly operations: number;
  /** Processor time of the process. ms. */
  readonly cpuMs: number;
  readonly coverage: readonly (readonly [string, number])[];
  readonly faults: readonly (readonly [string, number])[];
  readonly failure?: { readonly seed: number; readonly invariant: string; readonly message: string } | undefined;
}

const BATCH = 50;

/** Adds up what runs have met. */
class Tally {
  seeds = 0;
  virtualMs = 0;
  events = 0;
  operations = 0;
  coverage = new Map<string, number>();
  faults = new Map<string, number>();
  #toldCpuMs = 0;

  /** Tells the sums, and begins anew. */
  tell(failure?: ChildReport["failure"]): void {
    const { seeds, virtualMs, events, operations } = this;
    const { user, system } = process.cpuUsage();
    const cpuMs = (user + system) / 1_000 - this.#toldCpuMs;
    const [coverage, faults] = [[...this.coverage], [...this.faults]];
    const report: ChildReport = { seeds, virtualMs, events, operations, cpuMs, coverage, faults, failure };
    process.send?.(report);
    this.#toldCpuMs += cpuMs;
    [this.seeds, this.virtualMs, this.events, this.operations] = [0, 0, 0, 0];
    [this.coverage, this.faults] = [new Map(), new Map()];
  }
}

function addAll(sums: Map<string, number>, counts: ReadonlyMap<string, number>): void {
  for (const [name, count] of counts) sums.set(name, (sums.get(name) ?? 0) + count);
}

/** What a run answers, or what it threw: then the production code, or an oracle of ours, has a bug. */
function attempt<T>(run: () => T): T | string {
  try {
    return run();
  } catch (error) {
    return error instanceof Error ? (error.stack ?? error.message) : String(error);
  }
}

async function work(order: ChildOrder): Promise<void> {
  if (order.plant !== undefined) sow(order.plant);
  // Only now, so that a planted bug is in what is loaded.
  const { runSeed } = await import("./seed-run.ts");
  const tally = new Tally();
  for (let index = 0; index < order.count; index += 1) {
    const seed = order.first + index * order.step;
    const run = () => trapped(() => runSeed({ seed, profile: order.profile }));
    const result = attempt(run);
    tally.seeds += 1;
    if (typeof result === "string") {
      tally.tell({ seed, invariant: "crash", message: result });
      if (order.stopAtFailure) break;
      continue;
    }
    tally.virtualMs += result.virtualMs;
    tally.events += result.events;
    tally.operations += result.operations;
    addAll(tally.coverage, result.coverage);
    addAll(tally.faults, result.faults);
    const again = order.isTwice ? run() : result;
    const [violation] =
      again.trace === result.trace
        ? result.violations
        : [{ invariant: "determinism", message: `${result.trace} and then ${again.trace}` }];
    if (violation !== undefined) {
      tally.tell({ seed, invariant: violation.invariant, message: violation.message });
      if (order.stopAtFailure) break;
    } else if (tally.seeds >= BATCH) {
      tally.tell();
      // A turn of the loop, so that reports leave and an order to end arrives.
      await new Promise(setImmediate);
    }
  }
  tally.tell();
  process.disconnect?.();
}

const [order] = process.argv.slice(2);
assert(order !== undefined, "this file is started by the simulation");
await work(JSON.parse(order) as ChildOrder);
