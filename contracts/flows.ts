/** What processes agree on about flows: items that wait for other items. */
import { z } from "zod";
import { ItemId } from "./ids.ts";
import { DEPENDENCIES_MAX, RESULT_BYTES_MAX } from "./limits.ts";

/** What becomes of an item of which a dependency has ended without being completed. */
export const FAILURE_POLICIES = ["deadLetter", "cancel", "run"] as const;
export const FailurePolicy = z
  .enum(FAILURE_POLICIES)
  .describe(
    "What becomes of the item when one of those that it depends on ends without being completed: it is dead-lettered (default), is cancelled, or runs and sees it.",
  );
export type FailurePolicy = z.infer<typeof FailurePolicy>;

const byItemId = z.strictObject({ itemId: ItemId });
const byIndex = z.strictObject({ index: z.int().min(0).describe("An earlier entry of the same request, from 0.") });
const listOf = <Named extends z.ZodType>(named: Named) =>
  z
    .array(named)
    .min(1)
    .max(DEPENDENCIES_MAX)
    .refine((list) => new Set(list.map((one) => JSON.stringify(one))).size === list.length, {
      error: "names an item twice",
    })
    .optional()
    .describe("It waits until all of these have ended; a dead letter has not ended.");

/** As the log holds them. */
export const DependsOn = listOf(byItemId);
/** As a request names them. */
export const RequestedDependsOn = listOf(z.union([byItemId, byIndex]));

/**
 * How a dependency stands. Written as numbers: where they stand here must never change. `pending`: it has not ended. `unknown`: it was not
 * restored together with the item that depends on it.
 */
export const DEPENDENCY_OUTCOMES = ["pending", "completed", "cancelled", "purged", "discarded", "unknown"] as const;

/** A dependency as its item holds it. */
export const Dependency = z.strictObject({
  itemId: ItemId,
  outcome: z.enum(DEPENDENCY_OUTCOMES),
  result: z.string().max(RESULT_BYTES_MAX).optional().describe("What its completion left."),
  truncated: z
    .literal(true)
    .optional()
    .describe("Its result is left out: there was no room for it, or it was forgotten before this item was enqueued."),
});
export type Dependency = Readonly<z.infer<typeof Dependency>>;
export const Dependencies = z.array(Dependency).min(1).max(DEPENDENCIES_MAX);
