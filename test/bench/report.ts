/** What stands in the documents about speed, made from the newest raw results of full size: nothing of it is typed. */
import { existsSync, globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type Goal, goalsOf, isMet } from "./goals.ts";
import { plotsOf } from "./plots.ts";
import { figure, middleOf, peersTable, scenarioTables, spread, syncsTable, tableText } from "./report-tables.ts";
import { mergedResults, RESULTS_FOLDER, type Results, resultFiles, type Source } from "./results.ts";

const ROOT = join(import.meta.dirname, "../..");
const PLOTS = "test/bench/plots";
const BEGIN = "<!-- made by npm run bench:report: do not edit -->";
const END = "<!-- end of what npm run bench:report makes -->";
const NONE = "No full run is kept yet: `npm run bench` makes one.";

/** Path below the root to text: the documents with their parts made anew, and the plots. `from`: files of raw results; by default all that are kept. */
export function reportFiles(from = resultFiles(RESULTS_FOLDER)): ReadonlyMap<string, string> {
  const merged = mergedResults(from);
  const results = merged?.results;
  const files = new Map([
    [
      "test/bench/README.md",
      withPart("test/bench/README.md", results === undefined ? NONE : longPart(results, merged?.sources ?? [])),
    ],
    ["README.md", withPart("README.md", results === undefined ? NONE : shortPart(results, merged?.sources ?? []))],
  ]);
  for (const [name, svg] of results === undefined ? [] : plotsOf(results)) files.set(`${PLOTS}/${name}`, svg);
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

/** In the README of the project: the life of an item in the durable class, best first, and what a completion is worth. */
function shortPart({ rows, peers }: Results, sources: readonly Source[]): string {
  const life = rows
    .filter((row) => row.scenario === "S5" && row.durability === "D2" && row.peer !== "nats-request")
    .toSorted((one, other) => middleOf(other) - middleOf(one));
  const lines = life.map((row) => [
    peers[row.peer]?.summary ?? row.peer,
    spread(row),
    peers[row.peer]?.worth.complete ?? "",
  ]);
  // Other scenarios may have been run later, elsewhere.
  const source = sources.find(({ scenarios }) => scenarios.includes("S5 D2"));
  if (source === undefined) return NONE;
  const { machine, date, placement } = source.results;
  const where = `${machine.cpu}, ${machine.cores} cores (${placement}), fsync ${machine.fsyncMs} ms, ${date.slice(0, 10)}, commit ${machine.commit}`;
  const table = tableText([["what", "items/s, median (range)", "what a completion is worth"], ...lines]);
  return `Life of a 200-byte item (enqueue, lease, complete), everything acknowledged is on the disk (D2). ${where}. All figures: [test/bench](test/bench/README.md).\n\n${table.trimEnd()}`;
}

function longPart(results: Results, sources: readonly Source[]): string {
  const plots = [...plotsOf(results).keys()].map((name) => `![${name}](plots/${name})`);
  const where = sources.map(
    ({ name, scenarios, results: { machine, date, placement, seed } }) =>
      `- ${scenarios.join(", ")}: ${machine.cpu}, ${machine.cores} cores (${placement}), ${machine.memoryGiB} GiB, node ${machine.node}, one fsync ${machine.fsyncMs} ms; commit ${machine.commit}, ${date}, seed ${seed}. Raw: [${name}](results/${name}).`,
  );
  return [
    ...["## Results", where.join("\n"), "### Goals", goalsTable(goalsOf(results)), ...plots],
    ...["### What each row is, and what its replies are worth", peersTable(results), scenarioTables(results)],
    ...(results.syncs.length > 0 ? ["### fsyncs, counted by strace in a run apart", syncsTable(results)] : []),
  ].join("\n\n");
}

function goalsTable(goals: readonly Goal[]): string {
  const words = (goal: Goal): string => {
    const met = isMet(goal);
    return met === undefined ? "not run" : met ? "met" : "not met";
  };
  const lines = goals.map((goal) => [
    ...[goal.text, goal.measured === undefined ? "" : figure(goal.measured), `${goal.wants} ${figure(goal.bound)}`],
    words(goal),
  ]);
  return tableText([["class D2", "measured", "goal", ""], ...lines]).trimEnd();
}
