/** What a run of the suite leaves behind: one file of raw results, from which every table and plot is made. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { OperatingError } from "../../contracts/errors.ts";
import { DURABILITIES } from "./peers/peer.ts";

export const RESULTS_FOLDER = join(import.meta.dirname, "results");

const placement = z.enum(["pinned", "free"]);

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
  /** Where its processes ran, if not where those of the other rows did. */
  placement: placement.optional(),
  /** One per round, in their order. */
  runs: z.array(figures).min(1),
  /** Items that came more than once, all rounds together. */
  doubles: z.number(),
});
const notRun = z.object({
  scenario: z.string(),
  durability: z.enum(DURABILITIES),
  peer: z.string(),
  placement: placement.optional(),
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
  placement,
  machine: z.object({
    cpu: z.string(),
    cores: z.number(),
    memoryGiB: z.number(),
    node: z.string(),
    commit: z.string(),
    fsyncMs: z.number(),
  }),
  /** How fast the machine was before each round of each scenario; none in results that are older than the probe. */
  probes: z.array(z.object({ fsyncMs: z.number(), fsyncP99Ms: z.number(), jsonMicros: z.number() })).default([]),
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

/** What is kept of them: of a failure only what was said, because a stack names the folders of one machine. */
export function resultsText(results: Results): string {
  const notRun = results.notRun.map((one) => ({ ...one, reason: firstLine(one.reason) }));
  return `${JSON.stringify({ ...results, notRun })}\n`;
}

export const firstLine = (text: string): string => text.split("\n", 1)[0] ?? "";

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
