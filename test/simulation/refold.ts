/** What a dispatcher that starts anew would make of a shard: the newest shared snapshot and the tail of the log behind it. */
import { applyFrame } from "../../services/core/apply.ts";
import { LogReader } from "../../services/core/log-reader.ts";
import { createState, type ShardState } from "../../services/core/state.ts";
import { chainOf } from "../../services/runtime/frame-codec.ts";
import { REGION, type SimShard } from "./sim-shard.ts";
import { restore } from "./sim-snapshots.ts";

/** Undefined when the log is trimmed and no snapshot reaches it: that is told as a gap by the caller's other checks. */
export function foldFromSnapshots({ shelf, stream, shard, logId }: SimShard): ShardState | undefined {
  const newest = shelf.stored.at(-1);
  const restored = newest === undefined ? undefined : restore(newest);
  const from = restored?.streamSequence ?? 0;
  if (from + 1 < stream.firstSequence) return undefined;
  const state = restored?.state ?? createState();
  const tip = restored === undefined ? {} : { tip: restored.tip };
  const reader = new LogReader({ region: REGION, shard, logId, hashOf: chainOf, ...tip });
  for (const message of stream.messages.slice(from)) {
    const verdict = reader.classify({ ...message, pending: 0 });
    if (verdict.kind !== "frame") continue;
    applyFrame(state, verdict.frame);
    reader.advance(verdict.frame, verdict.chain);
  }
  return state;
}
