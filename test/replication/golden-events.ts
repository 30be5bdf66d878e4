/** The golden log of the newest version, which holds every event and every outcome, as a pump would bring it: frame by frame, with the state that it makes. */
import { readFileSync } from "node:fs";
import type { Frame } from "../../contracts/frame.ts";
import { LOG_VERSION_MAX } from "../../contracts/limits.ts";
import { outwardEvents, tokenEpochBehind } from "../../services/replication/outward.ts";
import type { SinkBatch, SinkScope } from "../../services/replication/sink.ts";
import { chainOf, encodeFrame } from "../../services/runtime/frame-codec.ts";
import { readGoldenLog } from "../core/golden-log.ts";

export const goldenScope = (sink: string): SinkScope => ({ sink, region: "local", shard: "default", logId: "log-1" });

export function* goldenBatches(scope: SinkScope): Generator<{ readonly frame: Frame; readonly batch: SinkBatch }> {
  const file = new URL(`../core/golden/log-v${LOG_VERSION_MAX}.jsonl`, import.meta.url);
  const { logId } = scope;
  let after: SinkBatch["after"] = { logId, streamSequence: 0, sequence: 0, chain: "", term: 0, at: 0, tokenEpoch: 0 };
  for (const frame of readGoldenLog(readFileSync(file, "utf8")).frames) {
    const chain = chainOf(encodeFrame(frame));
    const streamSequence = after.streamSequence + 1;
    const { term, at, first, count } = frame;
    const before = after.tokenEpoch ?? 0;
    const tokenEpoch = tokenEpochBehind(frame, before);
    const upTo = { logId, streamSequence, sequence: first + count - 1, chain, term, at, first, tokenEpoch };
    const events = outwardEvents({ frame, streamSequence, chain, tokenEpoch: before });
    yield { frame, batch: { scope, after, upTo, events } };
    after = upTo;
  }
}
