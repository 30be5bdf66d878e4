/** Turns raw results into tables: medians with their ranges, and what a reply is worth beside each. */
import { median } from "./machine.ts";
import { type KeptRun, type Merged, ROUNDS_ENOUGH, roundsWanted, type Sourced, type Table } from "./merge.ts";
import { DURABILITIES } from "./peers/peer.ts";
import { firstLine, type Results, type Row } from "./results.ts";
import { SCENARIOS, scenarioNamed } from "./scenarios/registry.ts";

/** All rows in one table, for the terminal. */
export function resultsTable({ rows, machine, placement, notRun }: Results): string {
  const head = `${machine.cpu}, ${machine.cores} cores (${placement}), node ${machine.node}, commit ${machine.commit}, fsync ${machine.fsyncMs} ms\n\n`;
  const lines = rows.map((row) => [
    ...[`${row.scenario} ${row.case}`, row.durability, row.peer, spread(row), unitOf(row)],
    processorText(row),
  ]);
  const left = notRun.map(
    ({ scenario, durability, peer, reason }) => `${scenario} ${durability} ${peer}: not run: ${reason}\n`,
  );
  const titles = ["scenario", "class", "row", "median (range)", "unit", "CPU ms per 1,000 items"];
  return `${head}${tableText([titles, ...lines])}${left.join("")}`;
}

/** One table for each scenario, class and place: case by case, best row first, and who did not run. */
export function scenarioTables({ tables, peers }: Merged): string {
  const parts: string[] = [];
  for (const { name, title, unit, better } of SCENARIOS) {
    const own = tables.filter(({ scenario }) => scenario === name);
    if (own.length === 0) continue;
    parts.push(`### ${name}: ${title}`);
    for (const durability of DURABILITIES) {
      const same = own.filter((table) => table.durability === durability);
      for (const { rows, bed } of same) {
        if (rows.length === 0) continue;
        if (same.length > 1) parts.push(`${durability} on ${bed}:`);
        parts.push(scenarioTable(`${durability}: ${unit}`, ranked(rows, better), peers));
      }
    }
    const reasons = own.flatMap(({ notRun }) =>
      notRun.map(({ durability, peer, reason }) => `- ${peer} (${durability}): not run: ${firstLine(reason)}`),
    );
    if (reasons.length > 0) parts.push([...new Set(reasons)].join("\n"));
  }
  return parts.join("\n\n");
}

function ranked(rows: Table["rows"], better: "more" | "less"): Table["rows"] {
  const cases = [...new Set(rows.map((row) => row.case))];
  return rows.toSorted(
    (one, other) =>
      cases.indexOf(one.case) - cases.indexOf(other.case) ||
      (middleOf(one) - middleOf(other)) * (better === "less" ? 1 : -1),
  );
}

function scenarioTable(value: string, rows: Table["rows"], peers: Results["peers"]): string {
  const cases = rows.some((row) => row.case !== "");
  const columns: readonly { readonly title: string; of(row: Sourced<Row>): string }[] = [
    { title: "row", of: (row) => row.peer },
    ...(cases ? [{ title: "case", of: (row: Row) => row.case }] : []),
    { title: value, of: markedSpread },
    { title: "p50 / p99 / p99.9 ms", of: latencyText },
    { title: "CPU ms per 1,000 items", of: processorText },
    { title: "busy", of: busyText },
    { title: "bytes written / kept per item", of: bytesText },
    { title: "more", of: moreText },
    { title: "doubles", of: ({ doubles }) => String(doubles) },
    { title: "what a completion is worth", of: ({ peer }) => peers[peer]?.worth.complete ?? "" },
    ...(areOfOneRun(rows) ? [] : [{ title: "run", of: (row: Sourced<Row>) => runText(row.from, row.runs.length) }]),
  ];
  const told = columns.filter(({ of }) => rows.some((row) => of(row) !== ""));
  return tableText([told.map(({ title }) => title), ...rows.map((row) => told.map(({ of }) => of(row)))]).trimEnd();
}

/** Rows of several runs are to say of which each is. */
export const areOfOneRun = (rows: readonly Sourced<object>[]): boolean =>
  new Set(rows.map(({ from }) => from)).size <= 1;

/** `44fd410, 2026-11-21 23:40, 5 rounds`. */
export function runText({ results: { machine, date } }: KeptRun, rounds?: number): string {
  const many = rounds === undefined ? "" : `, ${rounds} round${rounds === 1 ? "" : "s"}`;
  return `${machine.commit}, ${date.slice(0, 16).replace("T", " ")}${many}`;
}

/** With how few rounds it is of, where they are few. */
export const markedSpread = (row: Row): string =>
  `${spread(row)}${roundsMark(row.runs.length, roundsWanted(row.scenario))}`;

/** Said in bold where there are fewer than the scenario is to have. */
export function roundsMark(rounds: number, wanted: number): string {
  if (rounds >= ROUNDS_ENOUGH) return "";
  return rounds < wanted
    ? ` **${rounds} of ${wanted} rounds only**`
    : ` (of ${rounds} round${rounds === 1 ? "" : "s"})`;
}

/** What each row is, and what its replies are worth. */
export function peersTable({ peers }: Pick<Results, "peers">): string {
  const lines = Object.entries(peers).map(([name, { summary, version, docs, worth }]) => [
    ...[name, summary, version, worth.enqueue, worth.lease, worth.complete],
    docs.map((link, index) => (link.startsWith("http") ? `[${index + 1}](${link})` : `\`${link}\``)).join(" "),
  ]);
  const titles = ["row", "what it is", "servers", "enqueue", "lease", "complete", "set up after"];
  return tableText([titles, ...lines]).trimEnd();
}

export function syncsTable({ syncs }: Merged): string {
  const isOne = areOfOneRun(syncs);
  const lines = syncs.map(({ durability, peer, calls, items, frames, from }) => [
    ...[peer, durability, figure((calls * 1_000) / items), frames === undefined ? "" : figure(calls / frames)],
    ...(isOne ? [] : [runText(from)]),
  ]);
  const titles = ["row", "class", "fsyncs per 1,000 items", "fsyncs per frame", ...(isOne ? [] : ["run"])];
  return tableText([titles, ...lines]).trimEnd();
}

export const tableText = (rows: readonly (readonly string[])[]): string => {
  const [head = [], ...body] = rows;
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |\n`;
  return `${line(head)}${line(head.map(() => "---"))}${body.map(line).join("")}`;
};

export const middleOf = ({ runs }: Row): number => median(runs.map(({ value }) => value));
const unitOf = ({ scenario }: Row): string => scenarioNamed(scenario)?.unit ?? "";

/** `45,961 (44,000 to 46,800)`. */
export function spread(row: Row): string {
  const values = row.runs.map(({ value }) => value);
  const middle = figure(median(values));
  return values.length === 1 ? middle : `${middle} (${figure(Math.min(...values))} to ${figure(Math.max(...values))})`;
}

/** The median of one of the further figures; undefined where no run has it. */
export function moreOf({ runs }: Row, name: string): number | undefined {
  const values = runs.flatMap(({ more }) => more?.[name] ?? []);
  return values.length === 0 ? undefined : median(values);
}

function latencyText({ runs }: Row): string {
  const all = runs.flatMap(({ latencyMs }) => latencyMs ?? []);
  if (all.length === 0) return "";
  return (["p50", "p99", "p999"] as const).map((name) => figure(median(all.map((one) => one[name])))).join(" / ");
}

const processorText = (row: Row): string => named(row, ({ cpuMs }) => cpuMs);
const busyText = (row: Row): string => named(row, ({ busy }) => busy);
function moreText(row: Row): string {
  const names = [...new Set(row.runs.flatMap(({ more }) => Object.keys(more ?? {})))];
  return names.map((name) => `${name} ${figure(moreOf(row, name) ?? 0)}`).join(", ");
}

function bytesText({ runs }: Row): string {
  const part = (read: (run: Row["runs"][number]) => number | undefined): string => {
    const values = runs.flatMap((run) => read(run) ?? []);
    return values.length === 0 ? "-" : figure(median(values));
  };
  const text = `${part(({ bytesWritten }) => bytesWritten)} / ${part(({ bytesKept }) => bytesKept)}`;
  return text === "- / -" ? "" : text;
}

function named({ runs }: Row, read: (run: Row["runs"][number]) => Record<string, number> | undefined): string {
  const names = [...new Set(runs.flatMap((run) => Object.keys(read(run) ?? {})))];
  return names.map((name) => `${name} ${figure(median(runs.map((run) => read(run)?.[name] ?? 0)))}`).join(", ");
}

/** Three digits that matter, thousands apart. */
export const figure = (value: number): string =>
  (Math.abs(value) >= 100 ? Math.round(value) : Number(value.toPrecision(3))).toLocaleString("en-US");
