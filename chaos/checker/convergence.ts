/** Whether all nodes hold the state that the log leads to, and how long nobody could write. */
import type { NodeStates, RunPlan } from "../operations.ts";
import { gapsOf, isWritten, longestGapMs } from "../writes.ts";
import type { LogTruth } from "./log-truth.ts";
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

/** A word from before the last event that a client asked for says nothing of where the node ended. */
export function checkFinalStates(states: NodeStates, plan: RunPlan, { events }: LogTruth, tally: Tally): void {
  const last = events.findLast(({ actor }) => actor !== undefined)?.sequence ?? 0;
  for (const peer of plan.dispatchers) {
    const told = Math.max(-1, ...(states[peer] ?? []).map(({ sequence }) => sequence));
    tally.check("run.states", told >= last, () => `${peer} told its state at ${told} last, the load ended at ${last}`);
  }
}

/** Longest time without an acknowledged write, from the first operation to the last enqueue: behind that there may be nothing to write. ms. */
export function checkWriteGap(operations: readonly Operation[], { writeGapMsMax }: RunPlan, tally: Tally): number {
  const writes = operations
    .filter((operation) => operation.f !== "fenced_write" && isWritten(operation.reply))
    .map(({ invoked, returned }) => ({ sentMs: invoked / NS_PER_MS, ackedMs: returned / NS_PER_MS }));
  const untilMs = (operations.findLast(({ f }) => f === "enqueue")?.invoked ?? 0) / NS_PER_MS;
  const gapMs = longestGapMs(gapsOf(writes, untilMs));
  tally.check("V1", gapMs <= writeGapMsMax, () => {
    return `no write was acknowledged for ${gapMs} ms; these faults explain ${writeGapMsMax}`;
  });
  return gapMs;
}
