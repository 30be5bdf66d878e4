/** Runs the simulation: seeds on all cores, or one saved run again. Usage: node test/simulation/main.ts --seeds 1000 [--help]. */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { parseArgs } from "node:util";
import { Worker } from "node:worker_threads";
import type { ChildOrder, ChildReport } from "./child.ts";
import { missingPoints } from "./coverage.ts";
import type { Profile } from "./plan.ts";
import { PLANTS, sow } from "./plants.ts";
import type { SeedSpec } from "./seed-run.ts";

const USAGE = `node test/simulation/main.ts [options]
  --seeds N            how many seeds (1000)
  --first K            the first seed (1)
  --profile NAME       small or big (small)
  --threads N          worker threads (all cores)
  --plant NAME         with a planted bug: succeeds when it is found; "all" tries each of them
  --check-determinism  runs each seed twice and compares the traces
  --check-coverage     fails unless every coverage point was hit
  --no-shrink          leaves a failing run as it is
  --replay FILE        runs one saved run again, and tells what the nodes say
  --json               prints the result as JSON`;

const CORPUS = new URL("corpus/", import.meta.url);

interface Settings {
  readonly seeds: number;
  readonly first: number;
  readonly profile: Profile;
  readonly threads: number;
  readonly isTwice: boolean;
  readonly stopAtFailure: boolean;
  readonly plant?: string | undefined;
}

interface Total {
  seeds: number;
  virtualMs: number;
  events: number;
  operations: number;
  readonly coverage: Map<string, number>;
  readonly faults: Map<string, number>;
  readonly failures: NonNullable<ChildReport["failure"]>[];
  seconds: number;
}

function readSettings(values: Record<string, string | boolean | undefined>): Settings {
  const count = (name: string, byDefault: number): number => {
    const value = Number(values[name] ?? byDefault);
    if (!Number.isSafeInteger(value) || value < 1) throw new Error(`--${name} must be a whole number above 0`);
    return value;
  };
  const profile = values["profile"] ?? "small";
  if (profile !== "small" && profile !== "big") throw new Error(`--profile must be small or big, is ${profile}`);
  return {
    seeds: count("seeds", 1_000),
    first: count("first", 1),
    profile,
    threads: count("threads", availableParallelism()),
    isTwice: values["check-determinism"] === true,
    stopAtFailure: values["plant"] !== undefined,
  };
}

/** Runs seeds on worker threads until all are done, or one has failed where that is enough. */
async function runAll(settings: Settings): Promise<Total> {
  const { seeds, first, threads, profile, isTwice, stopAtFailure, plant } = settings;
  const startedMs = performance.now();
  const total: Total = {
    ...{ seeds: 0, virtualMs: 0, events: 0, operations: 0, seconds: 0, failures: [] },
    ...{ coverage: new Map(), faults: new Map() },
  };
  const workers: Worker[] = [];
  const take = (report: ChildReport): void => {
    add(total, report);
    if (stopAtFailure && total.failures.length > 0) for (const worker of workers) void worker.terminate();
    if (report.kind === "batch" && process.stderr.isTTY) process.stderr.write(`\r${total.seeds}/${seeds}`);
  };
  const ended: Promise<void>[] = [];
  for (let index = 0; index < Math.min(threads, seeds); index += 1) {
    const count = Math.ceil((seeds - index) / threads);
    const order: ChildOrder = { first: first + index, step: threads, count, profile, plant, stopAtFailure, isTwice };
    const worker = new Worker(new URL("child.ts", import.meta.url), { workerData: order });
    workers.push(worker);
    worker.on("message", take);
    ended.push(
      new Promise((resolve, reject) => {
        worker.on("error", reject);
        worker.on("exit", () => resolve());
      }),
    );
  }
  await Promise.all(ended);
  total.seconds = (performance.now() - startedMs) / 1_000;
  return total;
}

function add(total: Total, report: ChildReport): void {
  total.seeds += report.seeds;
  total.virtualMs += report.virtualMs;
  total.events += report.events;
  total.operations += report.operations;
  for (const [point, count] of report.coverage) total.coverage.set(point, (total.coverage.get(point) ?? 0) + count);
  for (const [name, count] of report.faults) total.faults.set(name, (total.faults.get(name) ?? 0) + count);
  if (report.failure !== undefined) total.failures.push(report.failure);
}

function describe(total: Total, { threads }: Settings) {
  const { seeds, seconds, virtualMs, events, operations } = total;
  return {
    seeds,
    failures: total.failures.slice(0, 20),
    seconds: Math.round(seconds * 10) / 10,
    seedsPerMinute: Math.round((seeds / seconds) * 60),
    seedsPerMinuteAndThread: Math.round((seeds / seconds / threads) * 60),
    virtualDays: Math.round((virtualMs / 86_400_000) * 1_000) / 1_000,
    events,
    operations,
    faults: Object.fromEntries([...total.faults].sort()),
    coverage: Object.fromEntries([...total.coverage].sort()),
    missing: missingPoints(total.coverage),
  };
}

/** Runs the saved failures of the past; each must be clean now. */
async function runCorpus(): Promise<readonly string[]> {
  const { runSeed } = await import("./seed-run.ts");
  const { trapped } = await import("./traps.ts");
  const broken: string[] = [];
  for (const file of readdirSync(CORPUS).filter((name) => name.endsWith(".json"))) {
    const { spec } = JSON.parse(readFileSync(new URL(file, CORPUS), "utf8")) as { spec: SeedSpec };
    const [violation] = trapped(() => runSeed(spec)).violations;
    if (violation !== undefined) broken.push(`${file}: ${violation.invariant}: ${violation.message}`);
  }
  return broken;
}

async function shrinkAndSave(seed: number, profile: Profile): Promise<string> {
  const { Shrinker } = await import("./shrink.ts");
  const shrunk = new Shrinker({ seed, profile }).shrink();
  if (shrunk === undefined) return `seed ${seed} does not fail by itself`;
  mkdirSync(CORPUS, { recursive: true });
  const file = new URL(`${shrunk.invariant.toLowerCase()}-${seed}.json`, CORPUS);
  writeFileSync(file, `${JSON.stringify(shrunk, undefined, 2)}\n`);
  return `seed ${seed}, shrunk to ${shrunk.left.length} draws in ${shrunk.runs} runs: node test/simulation/main.ts --replay ${file.pathname}`;
}

async function replay(path: string): Promise<boolean> {
  const { spec } = JSON.parse(readFileSync(path, "utf8")) as { spec: SeedSpec };
  const { runSeed } = await import("./seed-run.ts");
  const { trapped } = await import("./traps.ts");
  const { violations } = trapped(() => runSeed({ ...spec, isVerbose: true }));
  for (const { invariant, message, atMs } of violations) console.log(`${atMs.toFixed(1)} ${invariant}: ${message}`);
  return violations.length === 0;
}

/** Each planted bug must be found; answers those that were not. */
async function tryPlants(names: readonly string[], settings: Settings): Promise<readonly string[]> {
  const missed: string[] = [];
  for (const name of names) {
    const total = await runAll({ ...settings, plant: name });
    const [failure] = total.failures;
    if (failure === undefined) missed.push(name);
    console.log(
      failure === undefined
        ? `MISSED ${name} in ${total.seeds} seeds`
        : `found ${name} by ${failure.invariant} at seed ${failure.seed}: ${failure.message.slice(0, 160)}`,
    );
  }
  return missed;
}

async function main(): Promise<boolean> {
  const { values } = parseArgs({
    options: {
      ...{
        seeds: { type: "string" },
        first: { type: "string" },
        profile: { type: "string" },
        threads: { type: "string" },
      },
      ...{
        plant: { type: "string" },
        replay: { type: "string" },
        json: { type: "boolean" },
        help: { type: "boolean" },
      },
      ...{
        "check-determinism": { type: "boolean" },
        "check-coverage": { type: "boolean" },
        "no-shrink": { type: "boolean" },
      },
    },
  });
  if (values.help === true) {
    console.log(USAGE);
    return true;
  }
  const settings = readSettings(values);
  if (values.replay !== undefined) {
    if (values.plant !== undefined) sow(values.plant);
    return replay(values.replay);
  }
  if (values.plant !== undefined) {
    const names = values.plant === "all" ? PLANTS.map(({ name }) => name) : values.plant.split(",");
    return (await tryPlants(names, settings)).length === 0;
  }
  const broken = await runCorpus();
  for (const line of broken) console.log(`corpus ${line}`);
  const total = await runAll(settings);
  const result = describe(total, settings);
  console.log(values.json === true ? JSON.stringify(result) : result);
  const isCovered = values["check-coverage"] !== true || result.missing.length === 0;
  if (!isCovered) console.log(`never hit: ${result.missing.join(", ")}`);
  const [failure] = total.failures;
  if (failure !== undefined && values["no-shrink"] !== true && failure.invariant !== "determinism")
    console.log(await shrinkAndSave(failure.seed, settings.profile));
  return broken.length === 0 && failure === undefined && isCovered;
}

process.exitCode = (await main()) ? 0 : 1;
