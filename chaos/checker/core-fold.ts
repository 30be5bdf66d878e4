/** Folds the log with the production code, and tells the state's hash at every sequence at which somebody named one. */
import { AssertionError } from "node:assert/strict";
import { OperatingError } from "../../contracts/errors.ts";
import { actorOf } from "../../contracts/frame.ts";
import { apply } from "../../services/core/apply.ts";
import { stateHash } from "../../services/core/hash.ts";
import { createState, type ShardState } from "../../services/core/state.ts";
import type { LogTruth } from "./log-truth.ts";
import type { Tally } from "./tally.ts";

export interface CoreFold {
  /** Of the last event that could be applied. */
  readonly state: ShardState;
  /** By sequence, as far as the log could be folded. */
  readonly hashes: ReadonlyMap<number, string>;
}

/** S1 of the hashes in the log, and S2. `sequences`: where the hash is wanted. */
export function foldWithCore({ frames }: LogTruth, sequences: ReadonlySet<number>, tally: Tally): CoreFold {
  const state = createState();
  const hashes = new Map<number, string>();
  for (const frame of frames) {
    for (const event of frame.events) {
      const actor = actorOf(event, frame);
      if (event.type === "stateHash") tally.checked("S1");
      tally.checked("S2");
      try {
        apply(state, event, { at: frame.at, actor });
      } catch (error) {
        if (!(error instanceof OperatingError || error instanceof AssertionError)) throw error;
        const isHash = error instanceof OperatingError && error.code === "state_diverged";
        tally.violated(isHash ? "S1" : "S2", `sequence ${state.sequence + 1}, ${event.type}: ${error.message}`);
        return { state, hashes };
      }
      if (sequences.has(state.sequence)) hashes.set(state.sequence, stateHash(state));
    }
    state.at = Math.max(state.at, frame.at);
  }
  return { state, hashes };
}
