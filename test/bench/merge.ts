/** Puts kept runs of the suite together for the report: row by row, each with the run that it is from, and only beside rows that it can be compared with. */
import { globSync } from "node:fs";
import { basename, join } from "node:path";
import type { Durability } from "./peers/peer.ts";
import { type NotRun, type Results, type Row, readResults, type Syncs } from "./results.ts";
import { scenarioNamed } from "./scenarios/registry.ts";

/** A row of fewer rounds is marked, and displaces none that has as many. */
export const ROUNDS_ENOUGH = 5;

/** A file of raw results. */
export interface KeptRun {
  readonly name: string;
  readonly results: Results;
}

/** Something that was measured, and the run that measured it. */
export type Sourced<One> = One & { readonly from: KeptRun };

/** Rows that may stand beside each other: of one scenario and class, on one machine in one placement. */
export interface Table {
  readonly scenario: string;
  readonly durability: Durability;
  readonly placement: Results["placement"];
  /** The machine and the placement, in words. */
  readonly bed: string;
  readonly rows: readonly Sourced<Row>[];
  readonly notRun: readonly Sourced<NotRun>[];
}

export interface Merged {
  /** The newest first. */
  readonly runs: readonly KeptRun[];
  /** Of those of one scenario and class the fullest first. */
  readonly tables: readonly Table[];
  readonly syncs: readonly Sourced<Syncs>[];
  readonly peers: Results["peers"];
}

/** All raw results in a folder. */
export const resultFiles = (folder: string): readonly string[] =>
  globSync("*.json", { cwd: folder }).map((name) => join(folder, name));

/** Throws: OperatingError `invalid_results` (definite). */
export const readRuns = (paths: readonly string[]): readonly KeptRun[] =>
  paths.map((path) => ({ name: basename(path), results: readResults(path) }));

/**
 * The runs of full size as one report. A full run takes longer than one sitting, and one row is measured again sooner than all: every row is
 * of the newest run that has it with enough rounds, or of the newest that has it at all.
 */
export function mergeRuns(kept: readonly KeptRun[]): Merged {
  const runs = kept
    .filter(({ results }) => results.size === "full")
    .toSorted((one, other) => (one.results.date < other.results.date ? 1 : -1));
  const drafts = new Map<string, Draft>();
  const syncs = new Map<string, Sourced<Syncs>>();
  for (const from of runs) {
    for (const row of from.results.rows) draftOf(drafts, from, row).take({ ...row, from });
    for (const one of from.results.notRun) draftOf(drafts, from, one).leaveOut({ ...one, from });
    for (const one of from.results.syncs) takeBetter(syncs, `${one.durability} ${one.peer}`, { ...one, from });
  }
  const tables = [...drafts.values()].map((draft) => draft.table).toSorted(byFullness);
  const peers = Object.assign({}, ...runs.map(({ results }) => results.peers).toReversed()) as Results["peers"];
  return { runs, tables, syncs: [...syncs.values()], peers };
}

/** The fullest table of a scenario and class; the fullest of a placement when that is named. */
export const tableOf = (
  { tables }: Pick<Merged, "tables">,
  scenario: string,
  durability: Durability,
  placement?: Results["placement"],
): Table | undefined =>
  tables.find(
    (table) =>
      table.scenario === scenario &&
      table.durability === durability &&
      (placement === undefined || table.placement === placement),
  );

/** The machine that a row was measured on and where its processes ran; figures of two of them are not comparable. */
export function bedOf({ results: { machine, placement } }: KeptRun, row: Pick<Row, "placement"> = {}): string {
  const { cpu, cores, memoryGiB, node } = machine;
  return `${cpu}, ${cores} cores (${row.placement ?? placement}), ${memoryGiB} GiB, node ${node}`;
}

/** How many rounds a row of that scenario is to have. */
export const roundsWanted = (scenario: string): number =>
  Math.min(ROUNDS_ENOUGH, scenarioNamed(scenario)?.runsMax ?? ROUNDS_ENOUGH);
export const isShort = ({ scenario, runs }: Row): boolean => runs.length < roundsWanted(scenario);

/** A table while it is put together, from the newest run to the oldest. */
class Draft {
  readonly #about: Pick<Table, "scenario" | "durability" | "placement" | "bed">;
  readonly #rows = new Map<string, Sourced<Row>>();
  readonly #notRun: Sourced<NotRun>[] = [];
  /** By row: the newest run that had something to say about it. */
  readonly #newest = new Map<string, KeptRun>();

  constructor(about: Pick<Table, "scenario" | "durability" | "placement" | "bed">) {
    this.#about = about;
  }

  take(row: Sourced<Row>): void {
    this.#hear(row);
    const key = `${row.peer} ${row.case}`;
    const newer = this.#rows.get(key);
    if (newer === undefined || (isShort(newer) && !isShort(row))) this.#rows.set(key, row);
  }

  /** Also beside a row of an older run: that it went wrong since is worth knowing. */
  leaveOut(one: Sourced<NotRun>): void {
    if (this.#hear(one) === one.from) this.#notRun.push(one);
  }

  #hear({ peer, from }: Sourced<{ readonly peer: string }>): KeptRun {
    const newest = this.#newest.get(peer) ?? from;
    this.#newest.set(peer, newest);
    return newest;
  }

  get table(): Table {
    return { ...this.#about, rows: [...this.#rows.values()], notRun: this.#notRun };
  }
}

function draftOf(drafts: Map<string, Draft>, from: KeptRun, one: Row | NotRun): Draft {
  const { scenario, durability, placement = from.results.placement } = one;
  const bed = bedOf(from, one);
  const key = `${scenario} ${durability} ${bed}`;
  const draft = drafts.get(key) ?? new Draft({ scenario, durability, placement, bed });
  drafts.set(key, draft);
  return draft;
}

/** fsyncs are counted once, beside the rounds of S5: they are worth as much as those. */
function takeBetter(syncs: Map<string, Sourced<Syncs>>, key: string, one: Sourced<Syncs>): void {
  const isWeak = ({ from, peer, durability }: Sourced<Syncs>): boolean =>
    !from.results.rows.some(
      (row) => row.scenario === "S5" && row.peer === peer && row.durability === durability && !isShort(row),
    );
  const newer = syncs.get(key);
  if (newer === undefined || (isWeak(newer) && !isWeak(one))) syncs.set(key, one);
}

function byFullness(one: Table, other: Table): number {
  const enough = ({ rows }: Table): number => rows.filter((row) => !isShort(row)).length;
  return enough(other) - enough(one) || other.rows.length - one.rows.length;
}
