/** What a leader tells of its backpressure on `omnirelay.backpressure.<region>.<shard>`. */
import { z } from "zod";
import { LogTimeMs, PeerId, Sequence } from "./ids.ts";

const count = z.int().min(0);

export const Backpressure = z.looseObject({
  shard: z.string(),
  region: z.string(),
  leader: PeerId,
  term: z.int().min(1),
  sequence: Sequence.describe("Event sequence that it is as of: of two words of a term the later one counts."),
  at: LogTimeMs,
  active: z.boolean().describe("Whether `enqueue` is refused."),
  since: LogTimeMs.optional().describe("Since when it is. Absent in a log of state version 1."),
  pending: count,
  pendingHigh: count,
  pendingLow: count,
  bodyBytes: count,
  bodyBytesHigh: count,
  bodyBytesLow: count,
});
export type Backpressure = Readonly<z.infer<typeof Backpressure>>;
