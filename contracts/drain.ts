/** What processes agree on about drains: their ids, how an item stands in an export, and where an item that was restored comes from. */
import { z } from "zod";
import { Dependencies } from "./flows.ts";
import {
  ItemId,
  LogId,
  LogTimeMs,
  PeerId,
  Principal,
  RegionName,
  RequestId,
  Sequence,
  ShardName,
  wellFormed,
} from "./ids.ts";
import { FAILURE_CODE_LENGTH_MAX, REASON_LENGTH_MAX } from "./limits.ts";
import { TickName } from "./schedules.ts";

export const DrainId = RequestId.describe("Names a drain for ever: under the id of one that is over none begins.");
export const DRAIN_LEASES = ["wait", "expire"] as const;
/** How a drain ended: its items were let go again, or ended. */
const DRAIN_OUTCOMES = ["restored", "discarded"] as const;
/** Newest drains that are over and remembered. */
export const ENDED_DRAINS_MAX = 100;

/** The item that a restored item was made of. */
export const ItemOrigin = z.strictObject({ logId: LogId, itemId: ItemId });
export type ItemOrigin = Readonly<z.infer<typeof ItemOrigin>>;

/** The shard that an export is of. */
export const DrainOrigin = z.strictObject({ logId: LogId, region: RegionName, shard: ShardName });
export type DrainOrigin = Readonly<z.infer<typeof DrainOrigin>>;

/** Far above what any item is granted, and far below where counting it would go wrong. */
const attempts = z.int().min(0).max(1_000_000_000);

/** What of an item's past goes with it into another log. */
export const itemPast = {
  enqueuedAt: LogTimeMs,
  enqueuedBy: Principal,
  attempt: attempts.describe("Grants so far."),
  charged: attempts.describe("Those that count towards maxAttempts."),
  redrives: attempts.optional().describe("How often it was redriven; once it was, its notAfter is without meaning."),
  schedule: TickName.optional().describe(
    "The tick that made it. In another log the schedule itself need not be there.",
  ),
  lastError: z
    .strictObject({
      reason: wellFormed(z.string().max(REASON_LENGTH_MAX)),
      code: wellFormed(z.string().max(FAILURE_CODE_LENGTH_MAX)).optional(),
      attempt: attempts,
      peerId: PeerId,
      at: LogTimeMs,
    })
    .optional(),
  dependencies: Dependencies.optional().describe("How those stand that its payload depends on, in the same order."),
};

/** An item as a drain exports it. A function, for the schema of payloads stands beside the requests that need this one. */
export const drainItemOf = <Payload extends z.ZodType>(payload: Payload) =>
  z
    .strictObject({ itemId: ItemId, sequence: Sequence, ...itemPast, item: payload })
    .refine(({ charged, attempt }) => charged <= attempt, { error: "must be at most attempt", path: ["charged"] });

/** The state of a drain, as a snapshot holds it. */
export const DrainFields = z.strictObject({
  drainId: DrainId,
  sequence: Sequence,
  at: LogTimeMs,
  leases: z.enum(DRAIN_LEASES),
  principal: Principal,
  discarding: z.boolean(),
});
export type DrainFields = Readonly<z.infer<typeof DrainFields>>;
export const EndedDrain = z.strictObject({ drainId: DrainId, sequence: Sequence, outcome: z.enum(DRAIN_OUTCOMES) });
export type EndedDrain = Readonly<z.infer<typeof EndedDrain>>;
