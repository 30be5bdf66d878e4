/** Runs many seeds on child processes and adds up what they have met. */
import { fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import type { ChildOrder, ChildReport } from "./child.ts";
import { missingPoints } from "./coverage.ts";
import type { Profile } from "./plan.ts";

export interface RunSettings {
  readonly seeds: number;
  readonly first: number;
  readonly profile: Profile;
  readonly children: number;
  /** Runs each seed twice and compares the traces. */
  readonly isTwice: boolean;
  readonly stopAtFailure: boolean;
  readonly plant?: string | undefined;
}

interface Total {
  seeds: number;
  virtualMs: number;
  events: number;
  operations: number;
  cpuMs: number;
  readonly coverage: Map<string, number>;
  readonly faults: Map<string, number>;
  readonly failures: NonNullable<ChildReport["failure"]>[];
}

const CHILD = fileURLToPath(new URL("child.ts", import.meta.url));
/** Time between two lines about how far a run has come. ms. */
const PROGRESS_MS = 15_000;
const FAILURES_SHOWN = 20;

/**
 * Runs seeds until all are done, or one has failed where that is enough. Throws: Error when a child ends by itself, or not every seed was told.
 * `script` takes the place of the child in tests.
 */
export async function runSeeds(settings: RunSettings, script: string = CHILD) {
  const { seeds, first, children, profile, isTwice, stopAtFailure, plant } = settings;
  const beganMs = performance.now();
  const total: Total = {
    ...{ seeds: 0, virtualMs: 0, events: 0, operations: 0, cpuMs: 0 },
    ...{ coverage: new Map(), faults: new Map(), failures: [] },
  };
  const isEnough = (): boolean => stopAtFailure && total.failures.length > 0;
  const count = Math.min(children, seeds);
  const running = Array.from({ length: count }, (_, index) => {
    const share = Math.ceil((seeds - index) / count);
    const order: ChildOrder = {
      first: first + index,
      step: count,
      count: share,
      profile,
      plant,
      stopAtFailure,
      isTwice,
    };
    return fork(script, [JSON.stringify(order)]);
  });
  for (const child of running)
    child.on("message", (report) => {
      add(total, report as ChildReport);
      if (isEnough()) for (const other of running) other.kill();
    });
  const progress = setInterval(() => {
    const { failures } = total;
    const minutes = (performance.now() - beganMs) / 60_000;
    const pace = Math.round(total.seeds / minutes);
    console.error(`${total.seeds} of ${seeds} seeds, ${pace} a minute, ${failures.length} failures`);
  }, PROGRESS_MS);
  try {
    // The last report may come behind the end of its process, but not behind that of its channel.
    const told = Promise.all(running.map((child) => once(child, "disconnect")));
    const ended = await Promise.all(running.map((child) => once(child, "exit")));
    await told;
    for (const [code] of ended)
      if (code !== 0 && !isEnough()) throw new Error(`a child of the simulation ended with ${code}`);
  } finally {
    clearInterval(progress);
  }
  if (!isEnough() && total.seeds !== seeds)
    throw new Error(`${total.seeds} of ${seeds} seeds were told by the children`);
  return describe(total, (performance.now() - beganMs) / 1_000, count);
}

function add(total: Total, report: ChildReport): void {
  total.seeds += report.seeds;
  total.virtualMs += report.virtualMs;
  total.events += report.events;
  total.operations += report.operations;
  total.cpuMs += report.cpuMs;
  for (const [point, count] of report.coverage) total.coverage.set(point, (total.coverage.get(point) ?? 0) + count);
  for (const [name, count] of report.faults) total.faults.set(name, (total.faults.get(name) ?? 0) + count);
  if (report.failure !== undefined) total.failures.push(report.failure);
}

function describe(total: Total, seconds: number, children: number) {
  const { seeds, failures, virtualMs, events, operations, cpuMs } = total;
  return {
    seeds,
    failed: failures.length,
    failures: failures.slice(0, FAILURES_SHOWN),
    children,
    seconds: rounded(seconds, 10),
    cpuSeconds: rounded(cpuMs / 1_000, 10),
    seedsPerMinute: Math.round((seeds / seconds) * 60),
    seedsPerCpuMinute: Math.round((seeds / cpuMs) * 60_000),
    virtualDays: rounded(virtualMs / 86_400_000, 1_000),
    events,
    operations,
    faults: Object.fromEntries([...total.faults].sort()),
    coverage: Object.fromEntries([...total.coverage].sort()),
    missing: missingPoints(total.coverage),
  };
}

const rounded = (value: number, parts: number): number => Math.round(value * parts) / parts;
