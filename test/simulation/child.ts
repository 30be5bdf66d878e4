/** A worker process of the simulation: runs the seeds that it is told and prints one JSON line per batch, failure and end. */
import { parentPort, workerData } from "node:worker_threads";
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

export interface ChildReport {
  readonly kind: "batch" | "failure" | "end";
  readonly seeds: number;
  readonly virtualMs: number;
  readonly events: number;
  readonly operations: number;
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
  readonly coverage = new Map<string, number>();
  readonly faults = new Map<string, number>();

  report(kind: ChildReport["kind"], failure?: ChildReport["failure"]): ChildReport {
    const { seeds, virtualMs, events, operations } = this;
    return {
      kind,
      seeds,
      virtualMs,
      events,
      operations,
      coverage: [...this.coverage],
      faults: [...this.faults],
      failure,
    };
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
  let tally = new Tally();
  const tell = (report: ChildReport): void => {
    parentPort?.postMessage(report);
    tally = new Tally();
  };
  for (let index = 0; index < order.count; index += 1) {
    const seed = order.first + index * order.step;
    const result = attempt(() => trapped(() => runSeed({ seed, profile: order.profile })));
    if (typeof result === "string") {
      tally.seeds += 1;
      tell(tally.report("failure", { seed, invariant: "crash", message: result }));
      if (order.stopAtFailure) break;
      continue;
    }
    tally.seeds += 1;
    tally.virtualMs += result.virtualMs;
    tally.events += result.events;
    tally.operations += result.operations;
    addAll(tally.coverage, result.coverage);
    addAll(tally.faults, result.faults);
    const again = order.isTwice ? trapped(() => runSeed({ seed, profile: order.profile })) : result;
    const [violation] =
      again.trace === result.trace
        ? result.violations
        : [{ invariant: "determinism", message: `${result.trace} and then ${again.trace}` }];
    if (violation !== undefined) {
      tell(tally.report("failure", { seed, invariant: violation.invariant, message: violation.message }));
      if (order.stopAtFailure) break;
    } else if (tally.seeds >= BATCH) tell(tally.report("batch"));
  }
  tell(tally.report("end"));
}

await work(workerData as ChildOrder);
