/** Whether all nodes hold the state that the log leads to, and how long nobody could write. */
import type { NodeStates, RunPlan } from "../operations.ts";
import type { Tally } from "./tally.ts";
import type { Operation } from "./timed-operations.ts";

const NS_PER_MS = 1_000_000;

export function sequencesOf(states: NodeStates): readonly number[] {
  return Object.values(states).flatMap((known) => known.map(({ sequence }) => sequence));
}

export function checkConvergence(states: NodeStates, hashes: ReadonlyMap<number, string>, tally: Tally): void {
  for (const [node, known] of Object.entries(states))
    for (const { sequence, stateHash } of known) {
      const hash = hashes.get(sequence);
      tally.check("S1", hash === stateHash, () => `${node} has ${stateHash} at ${sequence}, the log leads to ${hash}`);
    }
}

/** Longest time between two acknowledged mutations, from the first operation to the last. ms. */
export function checkWriteGap(operations: readonly Operation[], { writeGapMsMax }: RunPlan, tally: Tally): number {
  const ends = operations
    .filter(({ f, type }) => f !== "stats" && f !== "fenced_write" && type === "ok")
    .map(({ returned }) => returned);
  const moments = [0, ...ends.sort((a, b) => a - b), operations.at(-1)?.invoked ?? 0];
  let longest = 0;
  for (const [index, moment] of moments.entries()) longest = Math.max(longest, moment - (moments[index - 1] ?? moment));
  const gapMs = Math.round(longest / NS_PER_MS);
  if (writeGapMsMax !== undefined)
    tally.check("V1", gapMs <= writeGapMsMax, () => `no mutation was acknowledged for ${gapMs} ms`);
  return gapMs;
}
