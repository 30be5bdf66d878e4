/** Sets a run beside an earlier state of the code: another checkout measured in the same run, or the raw results of an earlier one. */
import { statSync } from "node:fs";
import { median } from "./machine.ts";
import type { Durability } from "./peers/peer.ts";
import { baseNameOf } from "./peers/registry.ts";
import { type Results, type Row, readResults } from "./results.ts";
import { scenarioNamed } from "./scenarios/registry.ts";

export type Base =
  | { readonly kind: "checkout"; readonly folder: string }
  | { readonly kind: "results"; readonly results: Results };

/** Throws: OperatingError `invalid_results` (definite). */
export const baseOf = (path: string): Base =>
  statSync(path).isDirectory() ? { kind: "checkout", folder: path } : { kind: "results", results: readResults(path) };

export interface Comparison {
  readonly scenario: string;
  readonly case: string;
  readonly durability: Durability;
  readonly peer: string;
  /** Above 1: better than it was. */
  readonly ratio: number;
  /** What the ratio was freed of: how much faster the machine itself was. */
  readonly machine: number;
}

/** The row whose code is not ours: what it gained or lost between two runs, the machine did. */
const REFERENCE = "jetstream";

export function compareRows(results: Results, base: Base): readonly Comparison[] {
  return results.rows.flatMap((row) => {
    const name = base.kind === "checkout" ? baseNameOf(row.peer) : row.peer;
    const rows = base.kind === "checkout" ? results.rows : base.results.rows;
    if (name === undefined || (base.kind === "results" && baseNameOf(row.peer) === undefined)) return [];
    const before = rows.find((one) => one.peer === name && isSame(one, row));
    if (before === undefined) return [];
    const machine = base.kind === "checkout" ? 1 : gainOf(row, results.rows, base.results.rows);
    const { scenario, case: each, durability, peer } = row;
    return [
      {
        scenario,
        case: each,
        durability,
        peer,
        ratio: round(gain(row, before, base.kind === "checkout") / machine),
        machine: round(machine),
      },
    ];
  });
}

/** Rows of ours that the base says nothing about: a gate that passed because of them would be none. */
export function uncompared(results: Results, all: readonly Comparison[]): readonly Row[] {
  return results.rows.filter(
    (row) => baseNameOf(row.peer) !== undefined && !all.some((one) => isSame(one, row) && one.peer === row.peer),
  );
}

export const regressions = (all: readonly Comparison[], bound: number): readonly Comparison[] =>
  all.filter(({ ratio }) => !(ratio >= bound));

export function comparisonText(all: readonly Comparison[]): string {
  const lines = all.map(
    ({ scenario, case: each, durability, peer, ratio }) =>
      `| ${scenario} ${each} | ${durability} | ${peer} | ${ratio} |\n`,
  );
  return `\n| scenario | class | row | ratio to the base |\n|---|---|---|---|\n${lines.join("")}`;
}

type Place = Pick<Row, "scenario" | "case" | "durability">;
const isSame = (left: Place, right: Place): boolean =>
  left.scenario === right.scenario && left.case === right.case && left.durability === right.durability;

/** How much the reference gained in the same scenario; 1 where one of the runs has none. */
function gainOf(row: Row, now: readonly Row[], before: readonly Row[]): number {
  const find = (rows: readonly Row[]) => rows.find((one) => one.peer === REFERENCE && isSame(one, row));
  const [left, right] = [find(now), find(before)];
  return left === undefined || right === undefined ? 1 : gain(left, right, false);
}

/** Above 1: better. Of one run: within each of its rounds, so that what changes over an hour is left out; of two runs by their medians. */
function gain(now: Row, before: Row, isOneRun: boolean): number {
  const [left, right] = [now, before].map(({ runs }) => runs.map(({ value }) => value)) as [number[], number[]];
  const ratio =
    isOneRun && left.length === right.length
      ? median(left.map((value, round) => quotient(value, right[round] ?? Number.NaN)))
      : quotient(median(left), median(right));
  return scenarioNamed(now.scenario)?.better === "less" ? 1 / ratio : ratio;
}

/** Nothing by nothing is no change: none lost before, none lost now. */
const quotient = (value: number, by: number): number => (value === by ? 1 : value / by);
const round = (value: number): number => Math.round(value * 1_000) / 1_000;
