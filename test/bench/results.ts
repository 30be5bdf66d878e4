/** What a run of the suite leaves behind: one file of raw results, from which every table and plot is made. */
import { globSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { z } from "zod";
import { OperatingError } from "../../contracts/errors.ts";
import { DURABILITIES } from "./peers/peer.ts";

export const RESULTS_FOLDER = join(import.meta.dirname, "results");

const numbers = z.record(z.string(), z.number());
const figures = z.object({
  value: z.number(),
  items: z.number().optional(),
  elapsedMs: z.number().optional(),
  cpuMs: numbers.optional(),
  busy: numbers.optional(),
  bytesWritten: z.number().optional(),
  bytesKept: z.number().optional(),
  latencyMs: z.object({ p50: z.number(), p99: z.number(), p999: z.number(), max: z.number() }).optional(),
  more: numbers.optional(),
});
const row = z.object({
  scenario: z.string(),
  /** `C=16` and so on; empty where a scenario has one case. */
  case: z.string(),
  durability: z.enum(DURABILITIES),
  peer: z.string(),
  /** One per run, in their order. */
  runs: z.array(figures).min(1),
  /** Items that came more than once, all runs together. */
  doubles: z.number(),
});
const notRun = z.object({
  scenario: z.string(),
  durability: z.enum(DURABILITIES),
  peer: z.string(),
  reason: z.string(),
  /** It was tried, and went wrong. */
  isFailure: z.boolean(),
});
const syncs = z.object({
  durability: z.enum(DURABILITIES),
  peer: z.string(),
  /** fsync and fdatasync of all servers. */
  calls: z.number(),
  items: z.number(),
  /** Messages that went into the log meanwhile; absent for peers without one. */
  frames: z.number().optional(),
});

const about = z.object({
  summary: z.string(),
  /** Its servers and their versions. */
  version: z.string(),
  docs: z.array(z.string()),
  worth: z.object({ enqueue: z.string(), lease: z.string(), complete: z.string() }),
});

const Results = z.object({
  format: z.literal(1),
  date: z.string(),
  size: z.enum(["small", "full"]),
  seed: z.number(),
  placement: z.enum(["pinned", "free"]),
  machine: z.object({
    cpu: z.string(),
    cores: z.number(),
    memoryGiB: z.number(),
    node: z.string(),
    commit: z.string(),
    fsyncMs: z.number(),
  }),
  /** Those that ran, by name. */
  peers: z.record(z.string(), about),
  rows: z.array(row),
  notRun: z.array(notRun),
  syncs: z.array(syncs),
});
export type Results = z.infer<typeof Results>;
export type Row = z.infer<typeof row>;
export type NotRun = z.infer<typeof notRun>;
export type Syncs = z.infer<typeof syncs>;
export type About = z.infer<typeof about>;

/** Throws: OperatingError `invalid_results` (definite). */
export function readResults(path: string): Results {
  const invalid = (words: string, cause?: unknown): OperatingError =>
    new OperatingError("invalid_results", `${path}: ${words}`, { definite: true, cause });
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(path, "utf8"));
  } catch (error) {
    throw invalid("cannot be read as JSON", error);
  }
  const parsed = Results.safeParse(value);
  if (!parsed.success) throw invalid(z.prettifyError(parsed.error), parsed.error);
  return parsed.data;
}

/** A file of raw results, and the scenarios that a report takes from it. */
export interface Source {
  readonly name: string;
  readonly results: Results;
  readonly scenarios: readonly string[];
}

/**
 * The results of full size in a folder as one, undefined when there are none: a full run takes longer than one sitting, so every scenario
 * of a class comes whole from the newest file that has it. Rows that are compared are thereby always of one run.
 */
export function mergedResults(paths: readonly string[]): { results: Results; sources: readonly Source[] } | undefined {
  const files = paths
    .map((path) => ({ name: basename(path), results: readResults(path) }))
    .filter(({ results }) => results.size === "full")
    .toSorted((one, other) => (one.results.date < other.results.date ? 1 : -1));
  const [newest] = files;
  if (newest === undefined) return undefined;
  const taken = new Set<string>();
  const merged: Results = { ...newest.results, peers: {}, rows: [], notRun: [], syncs: [] };
  const sources = files.map(({ name, results }): Source => {
    const groups = new Set(results.rows.map(groupOf).filter((group) => !taken.has(group)));
    for (const group of groups) taken.add(group);
    const isTaken = (one: { scenario: string; durability: string }): boolean => groups.has(groupOf(one));
    merged.rows.push(...results.rows.filter(isTaken));
    merged.notRun.push(...results.notRun.filter(isTaken));
    merged.syncs.push(...results.syncs.filter(({ durability }) => groups.has(groupOf({ scenario: "S5", durability }))));
    merged.peers = { ...results.peers, ...merged.peers };
    return { name, results, scenarios: [...groups] };
  });
  return { results: merged, sources: sources.filter(({ scenarios }) => scenarios.length > 0) };
}

const groupOf = ({ scenario, durability }: { scenario: string; durability: string }): string =>
  `${scenario} ${durability}`;

/** All raw results in a folder. */
export const resultFiles = (folder: string): readonly string[] =>
  globSync("*.json", { cwd: folder }).map((name) => join(folder, name));
