/**
 * The matrix: runs of real processes under seeded faults, each judged by the history checker.
 * Promise: whatever fails, no acknowledged command is lost, nothing is done twice, and when the faults are over everything comes to its end.
 */
import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { provisionNatsServer } from "../../infra/nats-server/provision.ts";
import { temporaryFolder } from "../at-end.ts";
import type { Verdict } from "../checker.ts";
import { randomFrom, SEED_MAX } from "../drill.ts";
import { isPlant, PLANTS, type PlantName } from "../driver/plant.ts";
import { type FaultRecovery, makeRun, type RunResult } from "../driver/run.ts";
import type { Area } from "../faults/fault.ts";
import { FAULT_KINDS, FAULT_NAMES, missingRight } from "../faults/kinds.ts";
import { planFaults, secondsFor } from "../faults/plan.ts";

/** Kinds of faults that strike in one run. */
type Row = readonly string[];

export interface MatrixRequest {
  /** Of the first run; each next one has the next seed, so that any of them can be made again alone. */
  readonly seed: number;
  readonly rows: readonly Row[];
  /** How long each run is under faults. */
  readonly seconds: number;
  /** Absent: a temporary folder, which is kept only when a run is not valid. */
  readonly evidence?: string | undefined;
  readonly plant?: PlantName | undefined;
}

/** As written on the command line. */
export interface MatrixFlags {
  readonly seed: string;
  readonly faults?: string | undefined;
  readonly seconds?: string | undefined;
  readonly runs?: string | undefined;
  readonly evidence?: string | undefined;
  readonly plant?: string | undefined;
  readonly long?: boolean | undefined;
}

interface RunReport {
  readonly run: string;
  readonly seed: number;
  readonly status: Verdict["status"];
  readonly reasons: readonly string[];
  readonly operations: number;
  readonly ok: number;
  /** Operations of which nobody knows what became. */
  readonly ambiguous: number;
  /** Enqueued items among them, and how many of those are in the log. */
  readonly ambiguousItems: number;
  readonly ambiguousItemsCommitted: number;
  readonly faultsPlanned: number;
  readonly faultsApplied: number;
  readonly violations: number;
  /** Without an acknowledged write. */
  readonly longestGapMs: number;
  readonly recoveries: readonly FaultRecovery[];
}
export interface MatrixReport {
  readonly status: Verdict["status"];
  readonly seed: number;
  readonly seconds: number;
  readonly plant?: PlantName;
  /** Whether every run was failed by the checker itself, by an invariant that the plant breaks. */
  readonly caught?: boolean;
  readonly runs: readonly RunReport[];
  readonly totals: Omit<RunReport, "run" | "seed" | "status" | "reasons" | "recoveries">;
  /** Where the evidence is; absent when it was thrown away. */
  readonly evidence?: string;
  readonly problems: readonly string[];
}

/** Kinds of the replicator, by the kind beside which they strike: nobody waits for it, so it needs no runs of its own. */
const BESIDE: Readonly<Record<string, string>> = {
  "kill-dispatcher": "kill-replicator",
  "partition-dispatcher": "pause-replicator",
  "kill-nats-leader": "kill-replicator",
  "partition-nats": "pause-replicator",
};
const rowOf = (kind: string): Row => (BESIDE[kind] === undefined ? [kind] : [kind, BESIDE[kind]]);
const SHORT_ROWS: readonly Row[] = [
  rowOf("kill-dispatcher"),
  ["pause-dispatcher", "pause-worker"],
  rowOf("partition-dispatcher"),
  rowOf("one-way-loss"),
  rowOf("kill-nats-leader"),
];
const SHORT_RUNS = 6;
const SHORT_SECONDS = 45;
/** The long matrix: every kind, and drawn combinations, under several seeds. */
const LONG_RUNS = 20;
const LONG_SEEDS = 3;
const LONG_SECONDS = 60;
const RUNS_MAX = 1_000;
const SECONDS_MIN = 5;
const SECONDS_MAX = 3_600;
/** Another series of draws than that of a run's plan. */
const ROW_SERIES = 104_729;

/** What the flags ask for, or everything that is wrong with them. */
export function readMatrixFlags(flags: MatrixFlags): MatrixRequest | { readonly problems: readonly string[] } {
  const problems: string[] = [];
  const seed = numberOf(flags.seed, "--seed", 0, SEED_MAX, problems);
  const secondsDefault = String(flags.long === true ? LONG_SECONDS : SHORT_SECONDS);
  const seconds = numberOf(flags.seconds ?? secondsDefault, "--seconds", SECONDS_MIN, SECONDS_MAX, problems);
  const named = flags.faults?.split(",").map((row) => row.split("+"));
  for (const name of new Set(named?.flat() ?? []))
    if (!FAULT_NAMES.includes(name))
      problems.push(`--faults: no fault is called "${name}"; there are ${FAULT_NAMES.join(", ")}`);
  if (flags.long === true && (flags.faults !== undefined || flags.runs !== undefined))
    problems.push("--long does not go with --faults or --runs: it has runs of its own");
  const runs = numberOf(flags.runs ?? String(named?.length ?? SHORT_RUNS), "--runs", 1, RUNS_MAX, problems);
  if (flags.plant !== undefined && !isPlant(flags.plant))
    problems.push(`--plant: no bug is called "${flags.plant}"; there are ${Object.keys(PLANTS).join(", ")}`);
  if (flags.evidence !== undefined && existsSync(flags.evidence) && !isEmptyFolder(flags.evidence))
    problems.push(`--evidence: ${flags.evidence} is not an empty folder`);
  if (problems.length > 0) return { problems };
  const rows = flags.long === true ? longRows(seed) : rowsOf(named, runs, seed);
  problems.push(...rowProblems(rows, seconds));
  if (problems.length > 0) return { problems };
  const plant = flags.plant as PlantName | undefined;
  return { seed, rows, seconds, plant, evidence: flags.evidence };
}

/** Makes the runs one after the other. Throws when no nats-server can be had. */
export async function matrix(request: MatrixRequest, report: (line: string) => void): Promise<MatrixReport> {
  const { seed, rows, seconds, plant } = request;
  const { path: binary } = await provisionNatsServer({ replicated: true, report });
  const temporary = request.evidence === undefined ? temporaryFolder("omnirelay-evidence-") : undefined;
  const evidence = request.evidence ?? (temporary?.path as string);
  mkdirSync(evidence, { recursive: true });
  const results: (RunResult | RunReport)[] = [];
  for (const [index, kinds] of rows.entries()) {
    const name = `${String(index + 1).padStart(2, "0")}-${kinds.join("+")}`;
    const runSeed = (seed + index) % (SEED_MAX + 1);
    const plan = planFaults({ seed: runSeed, kinds, seconds });
    const say = (line: string): void => report(`${name}: ${line}`);
    say(`seed ${runSeed}, ${plan.length} faults in ${seconds} s`);
    for (const fault of plan) say(JSON.stringify(fault));
    try {
      const result = await makeRun({ name, seed: runSeed, plan, seconds, evidence, binary, plant, report: say });
      results.push(result);
      say(`${result.status}${result.reasons.map((reason) => `; ${reason}`).join("")}`);
    } catch (error) {
      const reason = `it could not be made: ${error instanceof Error ? error.message : String(error)}`;
      results.push({
        ...NOTHING,
        run: name,
        seed: runSeed,
        status: "invalid",
        reasons: [reason],
        recoveries: [],
        faultsPlanned: plan.length,
      });
      say(reason);
    }
  }
  const made = results.filter((result): result is RunResult => "verdict" in result);
  const runs = results.map((result) => ("verdict" in result ? reportOf(result) : result));
  const caught =
    plant === undefined ? undefined : made.length === rows.length && made.every((run) => isCaught(run, plant));
  const whole = conclude({ seed, seconds, runs, plant, caught });
  const isKept = request.evidence !== undefined || whole.problems.length > 0;
  if (isKept) temporary?.keep();
  else temporary?.remove();
  const matrixReport = isKept ? { ...whole, evidence } : whole;
  if (isKept) writeFileSync(join(evidence, "matrix.json"), JSON.stringify(matrixReport, null, 2));
  return matrixReport;
}

/** For people: a line for each run with its reasons and how soon it recovered from its faults, and one line for all. */
export function matrixText({ runs, totals, status, evidence, caught }: MatrixReport): string {
  const lines = runs.map((run) => {
    const more = [...run.reasons, ...recoveryTexts(run.recoveries)].map((line) => `\n        ${line}`);
    return `${run.status.padEnd(7)} ${run.run} (seed ${run.seed}): ${countsText(run)}${more.join("")}`;
  });
  const end = caught === undefined ? status : caught ? "the planted bug was caught" : "the planted bug was NOT caught";
  const where = evidence === undefined ? "" : `\nevidence: ${evidence}`;
  return `${lines.join("\n")}\n${end}: ${runs.length} runs, ${countsText(totals)}${where}\n`;
}

function countsText(counts: MatrixReport["totals"]): string {
  const { operations, faultsApplied, faultsPlanned, ambiguous, ambiguousItems, ambiguousItemsCommitted } = counts;
  return [
    `${operations} operations`,
    `${faultsApplied} of ${faultsPlanned} faults applied`,
    `${ambiguous} unknown outcomes`,
    `${ambiguousItemsCommitted} of ${ambiguousItems} unknown items committed`,
    `${counts.violations} violations`,
    `longest gap ${counts.longestGapMs} ms`,
  ].join(", ");
}

/** The slowest recovery from the faults of each kind. */
function recoveryTexts(recoveries: readonly FaultRecovery[]): readonly string[] {
  const slowest = (times: readonly (number | undefined)[]): string =>
    times.includes(undefined) ? "never" : `${Math.max(...times.map((ms) => ms ?? 0))} ms`;
  return [...Map.groupBy(recoveries, ({ kind }) => kind)].map(([kind, own]) => {
    const after = slowest(own.map(({ afterStartMs }) => afterStartMs));
    const healed = slowest(own.map(({ afterEndMs }) => afterEndMs));
    return `${kind}, ${own.length} times: written again ${after} after it struck, ${healed} after its end`;
  });
}

const NOTHING: MatrixReport["totals"] = {
  ...{ operations: 0, ok: 0, ambiguous: 0, ambiguousItems: 0, ambiguousItemsCommitted: 0 },
  ...{ faultsPlanned: 0, faultsApplied: 0, violations: 0, longestGapMs: 0 },
};

function reportOf(result: RunResult): RunReport {
  const { name, seed, status, reasons, recoveries, planned, faults, verdict } = result;
  const { operations, ok, ambiguous, longestGapMs } = result.figures;
  const broken = Object.entries(verdict.invariants).filter(([invariant]) => !invariant.startsWith("run."));
  return {
    ...{ run: name, seed, status, reasons, operations, ok, ambiguous, longestGapMs, recoveries },
    ambiguousItems: verdict.counts["ambiguous"] ?? 0,
    ambiguousItemsCommitted: verdict.counts["ambiguousCommitted"] ?? 0,
    faultsPlanned: planned,
    faultsApplied: faults.filter(({ applied }) => applied).length,
    violations: broken.reduce((sum, [, { violated }]) => sum + violated, 0),
  };
}

function isCaught({ verdict }: RunResult, plant: PlantName): boolean {
  return PLANTS[plant].caughtBy.some((name) => (verdict.invariants[name]?.violated ?? 0) > 0);
}

function conclude(
  parts: Pick<MatrixReport, "seed" | "seconds" | "runs"> & {
    plant: PlantName | undefined;
    caught: boolean | undefined;
  },
): MatrixReport {
  const { runs, plant, caught, ...rest } = parts;
  const sum = (of: (run: RunReport) => number): number => runs.reduce((total, run) => total + of(run), 0);
  const status = ["failed", "invalid"].find((each) => runs.some((run) => run.status === each)) ?? "valid";
  const bad = runs.flatMap((run) =>
    run.status === "valid" ? [] : [`${run.run} is ${run.status}: ${run.reasons[0] ?? ""}`],
  );
  const missed = caught === true ? [] : ["the planted bug was not caught in every run"];
  return {
    status: status as Verdict["status"],
    ...rest,
    ...(plant === undefined ? {} : { plant, caught: caught === true }),
    runs,
    totals: {
      operations: sum((run) => run.operations),
      ok: sum((run) => run.ok),
      ambiguous: sum((run) => run.ambiguous),
      ambiguousItems: sum((run) => run.ambiguousItems),
      ambiguousItemsCommitted: sum((run) => run.ambiguousItemsCommitted),
      faultsPlanned: sum((run) => run.faultsPlanned),
      faultsApplied: sum((run) => run.faultsApplied),
      violations: sum((run) => run.violations),
      longestGapMs: Math.max(0, ...runs.map((run) => run.longestGapMs)),
    },
    problems: plant === undefined ? bad : missed,
  };
}

function rowsOf(named: readonly Row[] | undefined, runs: number, seed: number): readonly Row[] {
  return Array.from({ length: runs }, (_, index) => {
    const row = named === undefined ? SHORT_ROWS[index] : named[index % named.length];
    return row ?? drawnRow(seed + index);
  });
}

function longRows(seed: number): readonly Row[] {
  const singles = FAULT_NAMES.filter((name) => FAULT_KINDS[name]?.area !== "replicator").map(rowOf);
  return Array.from({ length: LONG_SEEDS }, (_, round) =>
    Array.from({ length: LONG_RUNS }, (_, index) => singles[index] ?? drawnRow(seed + round * LONG_RUNS + index)),
  ).flat();
}

/** One kind of each area, so that they strike together. */
function drawnRow(seed: number): Row {
  const draw = randomFrom(seed + ROW_SERIES);
  const areas: ReadonlyMap<Area, readonly string[]> = Map.groupBy(
    FAULT_NAMES,
    (name) => (FAULT_KINDS[name] as (typeof FAULT_KINDS)[string]).area,
  );
  return [...areas.values()].map((names) => names[Math.floor(draw() * names.length)] as string);
}

function rowProblems(rows: readonly Row[], seconds: number): readonly string[] {
  const tooShort = rows.filter((row) => secondsFor(row) > seconds);
  const lengths = tooShort.map(
    (row) => `--seconds: ${row.join("+")} needs ${secondsFor(row)} s at least, not ${seconds}`,
  );
  const rights = rows.flat().flatMap((name) => {
    const reason = missingRight(name);
    return reason === undefined ? [] : [`${name} cannot be applied on this machine: ${reason}`];
  });
  return [...new Set([...lengths, ...rights])];
}

function numberOf(text: string, flag: string, min: number, max: number, problems: string[]): number {
  const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
  if (!(value >= min && value <= max)) problems.push(`${flag}: ${text} is not a whole number from ${min} to ${max}`);
  return value;
}

function isEmptyFolder(path: string): boolean {
  try {
    return readdirSync(path).length === 0;
  } catch {
    return false; // not a folder, or not readable: no place for evidence
  }
}
