/** Judges a recorded run: whether it says anything, whether the log is one truth, and whether every answer fits it. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { checkConvergence, checkFinalStates, checkWriteGap, sequencesOf } from "./checker/convergence.ts";
import { leaseModel } from "./checker/lease-model.ts";
import { leaseSteps } from "./checker/lease-search.ts";
import { type LogTruth, readLogTruth } from "./checker/log-truth.ts";
import { requestModel, requestSteps } from "./checker/request-search.ts";
import { checkResource } from "./checker/resource.ts";
import { type RunRecords, readRunFolder } from "./checker/run-folder.ts";
import { type Interval, type Model, search } from "./checker/search.ts";
import { checkSinks } from "./checker/sinks.ts";
import { type Invariant, type InvariantTally, Tally } from "./checker/tally.ts";
import { type Operation, timedOperations } from "./checker/timed-operations.ts";
import { checkValidity } from "./checker/validity.ts";
import { checkWitness } from "./checker/witness.ts";
import { RUN_FILES } from "./operations.ts";

/** Steps of the search for one item or request before it is given up: some seconds at most. */
const STEPS_MAX = 200_000;
/** Part of the items and requests for which the search may find no answer. */
const UNKNOWN_MAX = 0.01;

/** `failed`: a promise is broken, whatever else. `invalid`: none is, but the run does not show that: it says too little. */
export interface Verdict {
  readonly status: "valid" | "invalid" | "failed";
  /** Why it is not valid: each violated name with its first violation, and what was never looked at. */
  readonly reasons: readonly string[];
  readonly invariants: Readonly<Record<string, InvariantTally>>;
  readonly counts: Readonly<Record<string, number>>;
}

/** What every run must have given occasion to check; the rest depends on its load. */
const OWED: readonly Invariant[] = [
  ...(["run.records", "run.sequential", "run.classified", "run.okMutations", "run.states", "run.wholeLog"] as const),
  "run.sinks",
  ...([
    "L1",
    "L2",
    "L3",
    "L4",
    "L5",
    "L6",
    "L7",
    "L9",
    "F4",
    "F7",
    "Q1",
    "Q2",
    "Q3",
    "R1",
    "R1.search",
    "K1",
    "K2",
    "K3",
    "K4",
    "K6",
    "S1",
    "S2",
  ] as const),
  "S6",
];

/** Writes the verdict into the folder. Throws when the folder has no readable plan. */
export function checkRun(folder: string): Promise<Verdict> {
  const verdict = judge(readRunFolder(folder));
  writeFileSync(join(folder, RUN_FILES.verdict), `${JSON.stringify(verdict, undefined, 2)}\n`);
  return Promise.resolve(verdict);
}

export function judge(records: RunRecords): Verdict {
  const tally = new Tally();
  const { plan, states, fenced } = records;
  const operations = timedOperations(records.operations, tally);
  checkValidity(records, operations, tally);
  const truth = readLogTruth(records.logs, plan, tally);
  const steps = checkSearch(operations, tally);
  const longestWriteGapMs = checkWriteGap(operations, plan, tally);
  const counts = { ...countsOf(operations, truth), ...steps, longestWriteGapMs };
  // A run that ended before its log was read says nothing of the log.
  if (Object.keys(records.logs).length === 0) return { ...conclusion(tally), counts };
  const { index, hashes, queue } = checkWitness(operations, truth, sequencesOf(states), tally);
  const changes = leaderChanges(truth);
  const { leaderChangesMin } = plan;
  tally.check("run.leaderChanges", changes >= leaderChangesMin, () => `${changes} changes of ${leaderChangesMin}`);
  checkResource(fenced, operations, index, tally);
  checkSinks(records.sinks, plan, truth, tally);
  checkConvergence(states, hashes, tally);
  checkFinalStates(states, plan, truth, tally);
  return { ...conclusion(tally), counts: { ...counts, ...queue, leaderChanges: changes } };
}

/** Terms that began behind the first event that a client asked for. */
function leaderChanges({ events }: LogTruth): number {
  const first = events.findIndex(({ actor }) => actor !== undefined);
  return first === -1 ? 0 : events.slice(first).filter(({ event }) => event.type === "termStarted").length;
}

function checkSearch(operations: readonly Operation[], tally: Tally): Readonly<Record<string, number>> {
  const leases = searchAll("F3.search", leaseModel, leaseSteps(operations), tally);
  const requests = searchAll("R1.search", requestModel, requestSteps(operations), tally);
  const unknown = leases.unknown + requests.unknown;
  const all = leases.searched + requests.searched;
  if (all > 0)
    tally.check("run.searched", unknown <= all * UNKNOWN_MAX, () => `${unknown} of ${all} searches came to no end`);
  return { searched: all, searchedUnknown: unknown, searchSteps: leases.steps + requests.steps };
}

function searchAll<State, Step extends Interval>(
  name: Invariant,
  model: Model<State, Step>,
  all: ReadonlyMap<string, readonly Step[]>,
  tally: Tally,
) {
  const counts = { searched: all.size, unknown: 0, steps: 0 };
  for (const [key, operations] of all) {
    const { verdict, steps } = search(model, operations, STEPS_MAX);
    counts.steps += steps;
    if (verdict === "unknown") counts.unknown += 1;
    else
      tally.check(
        name,
        verdict === "possible",
        () => `${key}: no order of its ${operations.length} operations is possible`,
      );
  }
  return counts;
}

function countsOf(operations: readonly Operation[], { events, frames, voids, missing }: LogTruth) {
  const count = (type: Operation["type"]): number => operations.filter((operation) => operation.type === type).length;
  const lacking = Object.values(missing);
  return {
    ...{ operations: operations.length, ok: count("ok"), fail: count("fail"), info: count("info") },
    ...{ frames: frames.length, events: events.length, voids },
    lostPrefix: lacking.reduce((sum, { prefix }) => sum + prefix, 0),
    lostMiddle: lacking.reduce((sum, { middle }) => sum + middle, 0),
    lostPostfix: lacking.reduce((sum, { postfix }) => sum + postfix, 0),
  };
}

function conclusion(tally: Tally): Omit<Verdict, "counts"> {
  const invariants = tally.all();
  const violated = Object.entries(invariants).filter(([, { violated: count }]) => count > 0);
  const unchecked = OWED.filter((name) => invariants[name]?.checked === 0);
  const isBroken = violated.some(([name]) => !name.startsWith("run."));
  const reasons = [
    ...violated.map(([name, { violated: count, violations }]) => `${name}, ${count} times: ${violations[0]}`),
    ...unchecked.map((name) => `${name} was never checked`),
  ];
  return { status: isBroken ? "failed" : reasons.length > 0 ? "invalid" : "valid", reasons, invariants };
}
