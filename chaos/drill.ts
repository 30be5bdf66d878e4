/** What every drill is given and gives back. */
import { seededNumbers } from "../services/runtime/seeded-numbers.ts";

/** Largest seed of a drill. */
export const SEED_MAX = 2 ** 32 - 1;

export interface DrillRequest {
  readonly repeats: number;
  /** Fixes the moments at which faults strike. */
  readonly seed: number;
  /** Takes a line of progress. */
  readonly report: (line: string) => void;
}

/** A drill adds the figures of its own; they are printed as they are. */
export interface DrillReport {
  readonly lost: number;
  readonly doubled: number;
  /** Why the drill has failed; empty when its promise was kept. Times are figures, not problems: they depend on the machine. */
  readonly problems: readonly string[];
}

export type Drill = (request: DrillRequest) => Promise<DrillReport>;

/** Problems of a comparison, in words. */
export function comparisonProblems({ lost, doubled }: Pick<DrillReport, "lost" | "doubled">): string[] {
  return [
    ...(lost === 0 ? [] : [`${lost} acknowledged items are lost`]),
    ...(doubled === 0 ? [] : [`${doubled} items are there more than once`]),
  ];
}

export const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Numbers in [0, 1) that follow from a seed: a drill that failed can be run again at the same moments. */
export function randomFrom(seed: number): () => number {
  const next = seededNumbers(seed);
  return () => next() / 2 ** 32;
}
