/** Runs the simulation: seeds on all cores, or one saved run again. Usage: node test/simulation/main.ts --seeds 1000 [--help]. */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { parseArgs } from "node:util";
import { PROFILES, type Profile } from "./plan.ts";
import { PLANTS, sow } from "./plants.ts";
import { type RunSettings, runSeeds } from "./run-seeds.ts";
import type { SeedSpec } from "./seed-run.ts";

const USAGE = `node test/simulation/main.ts [options]
  --seeds N            how many seeds (1000)
  --first K            the first seed (1)
  --profile NAME       small, big or unsynced (small)
  --children N         child processes (one for each core)
  --plant NAME         with a planted bug: succeeds when it is found; "all" tries each of them
  --check-determinism  runs each seed twice and compares the traces
  --check-coverage     fails unless every coverage point was hit
  --no-shrink          leaves a failing run as it is
  --replay FILE        runs one saved run again, and tells what the nodes say
  --json               prints the result as JSON`;

const CORPUS = new URL("corpus/", import.meta.url);

function readSettings(values: Record<string, string | boolean | undefined>): RunSettings {
  const count = (name: string, byDefault: number): number => {
    const value = Number(values[name] ?? byDefault);
    if (!Number.isSafeInteger(value) || value < 1) throw new Error(`--${name} must be a whole number above 0`);
    return value;
  };
  const profile = PROFILES.find((name) => name === (values["profile"] ?? "small"));
  if (profile === undefined) throw new Error(`--profile must be one of ${PROFILES.join(", ")}`);
  return {
    seeds: count("seeds", 1_000),
    first: count("first", 1),
    profile,
    children: count("children", availableParallelism()),
    isTwice: values["check-determinism"] === true,
    stopAtFailure: values["plant"] !== undefined,
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
async function tryPlants(names: readonly string[], settings: RunSettings): Promise<readonly string[]> {
  const missed: string[] = [];
  for (const name of names) {
    const { seeds, failures } = await runSeeds({ ...settings, plant: name });
    const [failure] = failures;
    if (failure === undefined) missed.push(name);
    console.log(
      failure === undefined
        ? `MISSED ${name} in ${seeds} seeds`
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
        children: { type: "string" },
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
  const result = await runSeeds(settings);
  console.log(values.json === true ? JSON.stringify(result) : result);
  const isCovered = values["check-coverage"] !== true || result.missing.length === 0;
  if (!isCovered) console.log(`never hit: ${result.missing.join(", ")}`);
  const [failure] = result.failures;
  const isExpected = settings.profile === "unsynced" || failure?.invariant === "determinism";
  if (failure !== undefined && values["no-shrink"] !== true && !isExpected)
    console.log(await shrinkAndSave(failure.seed, settings.profile));
  return broken.length === 0 && failure === undefined && isCovered;
}

process.exitCode = (await main()) ? 0 : 1;
