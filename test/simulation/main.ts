/**
 * Runs the simulation: seeds on all cores, or one saved run again. Usage: node test/simulation/main.ts --seeds 1000 [--help].
 * Exit code 0: what was to be shown was shown; 1: it was not; 2: wrong usage.
 */
import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { parseArgs } from "node:util";
import { PROFILES, type Profile, SEED_MAX } from "./plan.ts";
import { PLANTS, sow } from "./plants.ts";
import { type RunSettings, runSeeds } from "./run-seeds.ts";
import { readSavedRun, UsageError } from "./saved-run.ts";

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

function readSettings(values: Flags): RunSettings {
  const count = (name: "seeds" | "first" | "children", byDefault: number): number => {
    const text = values[name] ?? String(byDefault);
    const value = /^\d{1,15}$/.test(text) ? Number(text) : 0;
    if (value < 1 || value > SEED_MAX) throw new UsageError(`--${name} must be a whole number from 1 to ${SEED_MAX}`);
    return value;
  };
  const profile = PROFILES.find((name) => name === (values["profile"] ?? "small"));
  if (profile === undefined) throw new UsageError(`--profile must be one of ${PROFILES.join(", ")}`);
  const [seeds, first] = [count("seeds", 1_000), count("first", 1)];
  if (first + seeds - 1 > SEED_MAX)
    throw new UsageError(`--first and --seeds: the last seed must be at most ${SEED_MAX}`);
  return {
    seeds,
    first,
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
    const spec = readSavedRun(new URL(file, CORPUS));
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
  const spec = readSavedRun(path);
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

function readFlags() {
  return parseArgs({
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
  }).values;
}
type Flags = ReturnType<typeof readFlags>;

/** Throws: UsageError for a name that no plant has. */
function plantsNamed(names: string): readonly string[] {
  const all = PLANTS.map(({ name }) => name);
  if (names === "all") return all;
  for (const name of names.split(","))
    if (!all.includes(name)) throw new UsageError(`--plant: no plant is called "${name}"; there are ${all.join(", ")}`);
  return names.split(",");
}

async function main(values: Flags): Promise<boolean> {
  if (values.help === true) {
    console.log(USAGE);
    return true;
  }
  const settings = readSettings(values);
  const plants = values.plant === undefined ? [] : plantsNamed(values.plant);
  if (values.replay !== undefined) {
    for (const name of plants) sow(name);
    return replay(values.replay);
  }
  if (values.plant !== undefined) return (await tryPlants(plants, settings)).length === 0;
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

try {
  process.exitCode = (await main(readFlags())) ? 0 : 1;
} catch (error) {
  const isUsage = error instanceof UsageError || (error as NodeJS.ErrnoException).code?.startsWith("ERR_PARSE_ARGS");
  if (isUsage !== true) throw error;
  process.stderr.write(`${(error as Error).message}\n${USAGE}\n`);
  process.exitCode = 2;
}
