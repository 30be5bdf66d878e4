/** Turns raw results into tables: medians with their ranges, and what a reply is worth beside each. */
import { median } from "./machine.ts";
import type { Results, Row } from "./results.ts";
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

/** One table for each scenario and class: case by case, best row first, and who did not run. */
export function scenarioTables({ rows, notRun, peers }: Results): string {
  const parts: string[] = [];
  for (const { name, title, unit, better } of SCENARIOS) {
    const own = rows.filter((row) => row.scenario === name);
    const left = notRun.filter((one) => one.scenario === name);
    if (own.length === 0 && left.length === 0) continue;
    const cases = [...new Set(own.map((row) => row.case))];
    parts.push(`### ${name}: ${title}`);
    for (const durability of ["D1", "D2"] as const) {
      const ranked = own
        .filter((row) => row.durability === durability)
        .toSorted(
          (one, other) =>
            cases.indexOf(one.case) - cases.indexOf(other.case) ||
            (middleOf(one) - middleOf(other)) * (better === "less" ? 1 : -1),
        );
      if (ranked.length > 0) parts.push(scenarioTable(`${durability}: ${unit}`, ranked, peers));
    }
    const reasons = new Set(
      left.map(({ durability, peer, reason }) => `- ${peer} (${durability}): not run: ${firstLine(reason)}`),
    );
    if (reasons.size > 0) parts.push([...reasons].join("\n"));
  }
  return parts.join("\n\n");
}

function scenarioTable(value: string, rows: readonly Row[], peers: Results["peers"]): string {
  const cases = rows.some((row) => row.case !== "");
  const columns = [
    { title: "row", of: (row: Row) => row.peer },
    ...(cases ? [{ title: "case", of: (row: Row) => row.case }] : []),
    { title: value, of: spread },
    { title: "p50 / p99 / p99.9 ms", of: latencyText },
    { title: "CPU ms per 1,000 items", of: processorText },
    { title: "busy", of: busyText },
    { title: "bytes written / kept per item", of: bytesText },
    { title: "more", of: moreText },
    { title: "doubles", of: ({ doubles }: Row) => String(doubles) },
    { title: "what a completion is worth", of: ({ peer }: Row) => peers[peer]?.worth.complete ?? "" },
  ].filter(({ of }) => rows.some((row) => of(row) !== ""));
  return tableText([
    columns.map(({ title }) => title),
    ...rows.map((row) => columns.map(({ of }) => of(row))),
  ]).trimEnd();
}

/** What each row is, and what its replies are worth. */
export function peersTable({ peers }: Results): string {
  const lines = Object.entries(peers).map(([name, { summary, version, docs, worth }]) => [
    ...[name, summary, version, worth.enqueue, worth.lease, worth.complete],
    docs.map((link, index) => (link.startsWith("http") ? `[${index + 1}](${link})` : `\`${link}\``)).join(" "),
  ]);
  const titles = ["row", "what it is", "servers", "enqueue", "lease", "complete", "set up after"];
  return tableText([titles, ...lines]).trimEnd();
}

export function syncsTable({ syncs }: Results): string {
  const lines = syncs.map(({ durability, peer, calls, items, frames }) => [
    ...[peer, durability, figure((calls * 1_000) / items), frames === undefined ? "" : figure(calls / frames)],
  ]);
  return tableText([["row", "class", "fsyncs per 1,000 items", "fsyncs per frame"], ...lines]).trimEnd();
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

const firstLine = (text: string): string => text.split("\n")[0] ?? "";
