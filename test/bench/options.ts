/** The options of `npm run bench`, checked before anything is started. */
import { randomInt } from "node:crypto";
import { accessSync, constants, existsSync, mkdirSync, statSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { z } from "zod";
import { OperatingError } from "../../contracts/errors.ts";
import { findProgram } from "../../infra/nats-server/command.ts";
import { type Base, baseOf } from "./compare.ts";
import { straceMissing } from "./fsync-count.ts";
import { ROUNDS_ENOUGH } from "./merge.ts";
import { DURABILITIES, type Peer } from "./peers/peer.ts";
import { baseNameOf, PEER_NAMES, peerNamed } from "./peers/registry.ts";
import { RESULTS_FOLDER, type Results } from "./results.ts";
import { SCENARIOS, scenarioNamed } from "./scenarios/registry.ts";
import type { Scenario } from "./scenarios/scenario.ts";
import type { SuiteRequest } from "./suite.ts";

const SEED_MAX = 2 ** 31;
const RUNS = { small: 1, full: ROUNDS_ENOUGH } as const;

const listOf = <Entry extends z.ZodType<string, string>>(entry: Entry) =>
  z
    .string()
    .transform((text) => [...new Set(text.split(","))])
    .pipe(z.array(entry).min(1));
const count = (min: number, max: number) =>
  z.string().regex(/^\d+$/, "must be a whole number").pipe(z.coerce.number<string>().min(min).max(max));

const Flags = z.strictObject({
  scenario: listOf(z.enum(SCENARIOS.map(({ name }) => name)))
    .optional()
    .describe("scenarios, with commas between; all by default, S13 only when it is named"),
  peer: listOf(z.enum(PEER_NAMES)).optional().describe("peers, with commas between; all by default"),
  durability: listOf(z.enum(DURABILITIES)).optional().describe("D1, D2 or both (default)"),
  runs: count(1, 100).optional().describe("runs of each, the peers in turn; 5, or 1 of size small"),
  size: z.enum(["small", "full"]).default("full").describe("small only proves that it works"),
  placement: z.enum(["pinned", "free"]).default("pinned").describe("pinned: servers on CPU 0, the client on CPU 1"),
  seconds: count(1, 3_600).optional().describe("length of each measured window; 10, in open loops 20"),
  minutes: count(1, 1_440).optional().describe("length of the soak S13; 30"),
  seed: count(0, SEED_MAX).optional().describe("of the times in open loops"),
  out: z
    .string()
    .min(1)
    .optional()
    .describe("folder for the raw results; test/bench/results for size full without --seconds, else none"),
  compare: z
    .string()
    .min(1)
    .optional()
    .describe("a checkout, measured beside this one, or the raw results of an earlier run"),
  bound: z
    .string()
    .transform(Number)
    .pipe(z.number().gt(0).max(1))
    .default(0.9)
    .describe("smallest ratio to --compare that passes"),
  fsyncs: z.boolean().default(true).describe("--no-fsyncs: do not count them in a further run under strace"),
  json: z.boolean().default(false).describe("print the raw results"),
  help: z.boolean().default(false).describe("print this"),
});

const NAMES = Object.keys(Flags.shape);
const isSwitch = (name: string): boolean => ["json", "fsyncs", "help"].includes(name);

export const USAGE = `usage: npm run bench -- [options]\n${Object.entries(Flags.shape)
  .map(([name, schema]) => `  --${name.padEnd(11)} ${schema.description}\n`)
  .join(
    "",
  )}peers: ${PEER_NAMES.join(", ")}\nscenarios: ${SCENARIOS.map(({ name, title }) => `${name} ${title}`).join("; ")}\n`;

export interface BenchOptions {
  readonly request: Omit<SuiteRequest, "report">;
  /** Folder for the raw results. */
  readonly out: string | undefined;
  readonly compare: Base | undefined;
  readonly bound: number;
  readonly isJson: boolean;
}

/** Undefined: only the usage is asked for. Throws: OperatingError `invalid_options`, `invalid_results` (definite). */
export async function readOptions(args: readonly string[]): Promise<BenchOptions | undefined> {
  const flags = parse(args);
  if (flags.help) return undefined;
  const { size, placement, runs = RUNS[flags.size], seed = randomInt(SEED_MAX), bound } = flags;
  if (
    placement === "pinned" &&
    (availableParallelism() < 2 || (await findProgram("taskset", process.env["PATH"])) === undefined)
  )
    throw invalid("--placement pinned needs two processors and taskset (Debian: util-linux): say --placement free");
  const compare = flags.compare === undefined ? undefined : readBase(resolve(flags.compare));
  const base = compare?.kind === "checkout" ? compare.folder : undefined;
  const names =
    flags.peer ?? (base === undefined ? PEER_NAMES : PEER_NAMES.filter((name) => baseNameOf(name) !== undefined));
  const peers: Peer[] = [];
  for (const name of names)
    for (const each of base === undefined ? [name] : [name, baseNameOf(name)]) {
      const peer = each === undefined ? undefined : await peerNamed(each, base);
      if (peer !== undefined) peers.push(peer);
    }
  if (compare?.kind === "results") checkLike(compare.results, size, placement);
  const chosen = (flags.scenario?.map(scenarioNamed) ?? SCENARIOS.filter(({ name }) => name !== "S13")).filter(
    (scenario) => scenario !== undefined,
  );
  // A shortened run proves something, but is no figure to keep.
  const isKept = size === "full" && flags.seconds === undefined;
  const out = flags.out ?? (isKept ? RESULTS_FOLDER : undefined);
  checkFit(chosen, peers);
  if (out !== undefined) checkFolder(resolve(out));
  return {
    request: {
      scenarios: chosen,
      ...{ peers, durabilities: flags.durability ?? DURABILITIES, runs, size, placement, seed, base },
      amounts: {
        ...(flags.minutes === undefined ? {} : { minutes: flags.minutes }),
        ...(flags.seconds === undefined ? {} : { seconds: flags.seconds }),
      },
      countsFsyncs: flags.fsyncs && (await straceMissing()) === undefined,
    },
    ...{ out: out === undefined ? undefined : resolve(out), compare, bound, isJson: flags.json },
  };
}

function parse(args: readonly string[]): z.output<typeof Flags> {
  const options = Object.fromEntries(
    NAMES.map((name) => [name, { type: isSwitch(name) ? "boolean" : "string" } as const]),
  );
  let values: Record<string, unknown>;
  try {
    ({ values } = parseArgs({ args: [...args], options, allowNegative: true }));
  } catch (error) {
    throw invalid(error instanceof Error ? error.message : String(error));
  }
  const parsed = Flags.safeParse(values);
  if (!parsed.success)
    throw invalid(parsed.error.issues.map(({ path, message }) => `--${String(path[0])}: ${message}`).join("\n"));
  return parsed.data;
}

function readBase(path: string): Base {
  if (!existsSync(path)) throw invalid(`--compare: there is no ${path}`);
  if (statSync(path).isDirectory() && !existsSync(join(path, "services/dispatcher/main.ts")))
    throw invalid(`--compare: ${path} is no checkout of OmniRelay`);
  return baseOf(path);
}

/** Figures of another size or placement say nothing about the code. */
function checkLike(base: Results, size: string, placement: string): void {
  if (base.size !== size || base.placement !== placement)
    throw invalid(
      `--compare: those results are of --size ${base.size} --placement ${base.placement}, this run is of --size ${size} --placement ${placement}`,
    );
}

/** Before anything runs: what takes hours must not be lost at their end. */
function checkFolder(folder: string): void {
  try {
    mkdirSync(folder, { recursive: true });
    accessSync(folder, constants.W_OK);
  } catch (error) {
    throw invalid(`--out: cannot write to ${folder}: ${error instanceof Error ? error.message : String(error)}`);
  }
}

function checkFit(scenarios: readonly Scenario[], peers: readonly Peer[]): void {
  const isFit = (scenario: Scenario, { only }: Peer): boolean => only === undefined || only.includes(scenario.name);
  if (scenarios.some((scenario) => peers.some((peer) => isFit(scenario, peer)))) return;
  const words = peers.map(({ name, only = [] }) => `${name} runs ${only.join(", ")} only`);
  throw invalid(`nothing would run: ${words.join("; ")}`);
}

const invalid = (message: string): OperatingError => new OperatingError("invalid_options", message, { definite: true });
