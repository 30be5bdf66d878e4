/** Turns raw results into text: medians with their ranges, and what a reply is worth beside each. */
import { median } from "./machine.ts";
import type { Results, Row } from "./results.ts";
import { scenarioNamed } from "./scenarios/registry.ts";

/** All rows, for the terminal. */
export function resultsTable({ rows, machine, placement, notRun }: Results): string {
  const head = `${machine.cpu}, ${machine.cores} cores (${placement}), node ${machine.node}, commit ${machine.commit}, fsync ${machine.fsyncMs} ms\n\n`;
  const lines = rows.map((row) => {
    const unit = scenarioNamed(row.scenario)?.unit ?? "";
    return `| ${row.scenario} ${row.case} | ${row.durability} | ${row.peer} | ${spread(row)} | ${unit} | ${cpuText(row)} |\n`;
  });
  const left = notRun.map(
    ({ scenario, durability, peer, reason }) => `${scenario} ${durability} ${peer}: not run: ${reason}\n`,
  );
  return `${head}| scenario | class | row | median (range) | unit | CPU ms per 1,000 items |\n|---|---|---|---|---|---|\n${lines.join("")}${left.join("")}`;
}

export const middleOf = ({ runs }: Row): number => median(runs.map(({ value }) => value));

/** `45,961 (44,000 to 46,800)`. */
export function spread(row: Row): string {
  const values = row.runs.map(({ value }) => value);
  const middle = figure(median(values));
  return values.length === 1 ? middle : `${middle} (${figure(Math.min(...values))} to ${figure(Math.max(...values))})`;
}

export function cpuText({ runs }: Row): string {
  const names = [...new Set(runs.flatMap(({ cpuMs }) => Object.keys(cpuMs ?? {})))];
  return names.map((name) => `${name} ${figure(median(runs.map(({ cpuMs }) => cpuMs?.[name] ?? 0)))}`).join(", ");
}

/** Three digits that matter, thousands apart. */
export const figure = (value: number): string =>
  (Math.abs(value) >= 100 ? Math.round(value) : Number(value.toPrecision(3))).toLocaleString("en-US");
