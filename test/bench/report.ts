/** What stands in the documents about speed, made from the kept raw results of full size: nothing of it is typed. */
import { existsSync, globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type Goal, goalsOf, isMet } from "./goals.ts";
import { median } from "./machine.ts";
import { bedOf, type KeptRun, type Merged, mergeRuns, readRuns, resultFiles, roundsWanted, tableOf } from "./merge.ts";
import { plotsOf } from "./plots.ts";
import {
  areOfOneRun,
  figure,
  markedSpread,
  middleOf,
  peersTable,
  roundsMark,
  runText,
  scenarioTables,
  syncsTable,
  tableText,
} from "./report-tables.ts";
import { RESULTS_FOLDER, type Results } from "./results.ts";

const ROOT = join(import.meta.dirname, "../..");
const PLOTS = "test/bench/plots";
const BEGIN = "<!-- made by npm run bench:report: do not edit -->";
const END = "<!-- end of what npm run bench:report makes -->";
const NONE = "No full run is kept yet: `npm run bench` makes one.";

/** Path below the root to text: the documents with their parts made anew, and the plots. `from`: files of raw results; by default all that are kept. */
export function reportFiles(from = resultFiles(RESULTS_FOLDER)): ReadonlyMap<string, string> {
  const merged = mergeRuns(readRuns(from));
  const isEmpty = merged.runs.length === 0;
  const files = new Map([
    ["test/bench/README.md", withPart("test/bench/README.md", isEmpty ? NONE : longPart(merged))],
    ["README.md", withPart("README.md", shortPart(merged))],
  ]);
  for (const [name, svg] of plotsOf(merged)) files.set(`${PLOTS}/${name}`, svg);
  return files;
}

/** Files that are missing or differ, and plots that nothing makes any more. */
export function staleReports(): readonly string[] {
  const files = reportFiles();
  const isStale = ([path, text]: [string, string]): boolean =>
    !existsSync(join(ROOT, path)) || readFileSync(join(ROOT, path), "utf8") !== text;
  const left = globSync(`${PLOTS}/*.svg`, { cwd: ROOT }).filter((path) => !files.has(path));
  return [...[...files].filter(isStale).map(([path]) => path), ...left];
}

function withPart(path: string, part: string): string {
  const text = readFileSync(join(ROOT, path), "utf8");
  const [begin, end] = [text.indexOf(BEGIN), text.indexOf(END)];
  if (begin === -1 || end < begin) throw new Error(`${path} has no place for what bench:report makes`);
  return `${text.slice(0, begin)}${BEGIN}\n${part}\n${text.slice(end)}`;
}

/** No systems of their own, only what systems can reach at most. */
const LIMITS: ReadonlySet<string> = new Set(["nats-frames", "nats-request"]);

/** In the README of the project: the life of an item in the durable class, best first, and what a completion is worth. */
function shortPart(merged: Merged): string {
  const table = tableOf(merged, "S5", "D2");
  const life = (table?.rows ?? [])
    .filter(({ peer }) => !LIMITS.has(peer))
    .toSorted((one, other) => middleOf(other) - middleOf(one));
  const [first] = life;
  if (table === undefined || first === undefined) return NONE;
  const isOne = areOfOneRun(life);
  const lines = life.map((row) => [
    ...[merged.peers[row.peer]?.summary ?? row.peer, markedSpread(row), merged.peers[row.peer]?.worth.complete ?? ""],
    ...(isOne ? [] : [runText(row.from, row.runs.length)]),
  ]);
  const { machine, date } = first.from.results;
  // Where rows are of several runs each says so itself.
  const when = isOne ? `, fsync ${machine.fsyncMs} ms, ${date.slice(0, 10)}, commit ${machine.commit}` : "";
  const where = `${machine.cpu}, ${machine.cores} cores (${table.placement})${when}`;
  const titles = ["what", "items/s, median (range)", "what a completion is worth", ...(isOne ? [] : ["run"])];
  return `Life of a 200-byte item (enqueue, lease, complete), everything acknowledged is on the disk (D2). ${where}. All figures: [test/bench](test/bench/README.md).\n\n${tableText([titles, ...lines]).trimEnd()}`;
}

function longPart(merged: Merged): string {
  const plots = [...plotsOf(merged).keys()].map((name) => `![${name}](plots/${name})`);
  const goals = goalsOf(merged);
  return [
    ...["## Results", sourcesText(merged, goals), "### Goals", goalsTable(goals), ...plots],
    ...["### What each row is, and what its replies are worth", peersTable(merged), scenarioTables(merged)],
    ...(merged.syncs.length > 0 ? ["### fsyncs, counted by strace in a run apart", syncsTable(merged)] : []),
  ].join("\n\n");
}

/** Each run that something is from, and what: `S5 D2`, or `S5 D2 (2 of 9 rows)` where others are of another run. */
function sourcesText(merged: Merged, goals: readonly Goal[]): string {
  const lines = merged.runs.flatMap((run) => {
    const { name, results } = run;
    const isHere = ({ from }: { readonly from?: KeptRun }): boolean => from === run;
    const parts = merged.tables.flatMap(({ scenario, durability, rows }) => {
      const count = rows.filter(isHere).length;
      if (count === 0) return [];
      return `${scenario} ${durability}${count === rows.length ? "" : ` (${count} of ${rows.length} rows)`}`;
    });
    // Rows of a goal may all have been measured again since, each in another run.
    if (parts.length === 0 && goals.some(isHere)) parts.push("goals");
    if (parts.length === 0 && merged.syncs.some(isHere)) parts.push("fsyncs");
    if (parts.length === 0) return [];
    const { machine, date, seed } = results;
    return `- ${[...new Set(parts)].join(", ")}: ${bedOf(run)}, ${speedText(results)}; commit ${machine.commit}, ${date}, seed ${seed}. Raw: [${name}](results/${name}).`;
  });
  return lines.join("\n");
}

/** How fast the machine was: medians of the rounds, and their range where it says something. */
function speedText({ machine, probes }: Results): string {
  if (probes.length === 0) return `one fsync ${machine.fsyncMs} ms`;
  const middle = (values: readonly number[]): string => figure(median(values));
  const json = probes.map(({ jsonMicros }) => jsonMicros);
  const range = `${figure(Math.min(...json))} to ${figure(Math.max(...json))}`;
  const fsync = `one fsync ${middle(probes.map(({ fsyncMs }) => fsyncMs))} ms, p99 ${middle(probes.map(({ fsyncP99Ms }) => fsyncP99Ms))} ms`;
  return `${fsync}, JSON of an item ${middle(json)} µs (${range})`;
}

function goalsTable(goals: readonly Goal[]): string {
  const verdict = (goal: Goal): string => {
    if (goal.measured === undefined) return goal.isApart ? "not measured in one run" : "not run";
    const met = isMet(goal);
    return met === undefined ? "shown only" : met ? "met" : "not met";
  };
  const lines = goals.map((goal) => {
    const { aim, measured, rounds = 0, from } = goal;
    const mark = roundsMark(rounds, roundsWanted(aim.scenario));
    return [
      ...[
        aim.text,
        measured === undefined ? "" : `${figure(measured)}${mark}`,
        aim.bound === undefined ? "" : `${aim.wants} ${figure(aim.bound)}`,
      ],
      ...[verdict(goal), from === undefined ? "" : runText(from, rounds)],
    ];
  });
  return tableText([["class D2", "measured", "goal", "", "run"], ...lines]).trimEnd();
}
