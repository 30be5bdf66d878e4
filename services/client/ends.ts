/** What `cancel`, `redrive` and `purge` take and give. */
import type { CallOptions } from "./client-core.ts";
import type { EntryResult, Refusal } from "./refusal.ts";

export interface CancelOptions extends CallOptions {
  /** For people; at most 1,024 characters. */
  readonly reason?: string | undefined;
}
export interface DeadLetterFilter {
  /** These, and nothing else of the filter; at most 1,000. */
  readonly itemIds?: readonly string[] | undefined;
  readonly resourceType?: string | undefined;
  readonly resourceId?: string | undefined;
  readonly partitionKey?: string | undefined;
  /** Code of the failure. */
  readonly code?: string | undefined;
  /** Most dead letters that this call takes; 100 by default, 1,000 at most. */
  readonly limit?: number | undefined;
  readonly cursor?: string | undefined;
}
export interface RedriveFilter extends DeadLetterFilter {
  /** Delays each by so much more than the one before. ms. */
  readonly everyMs?: number | undefined;
}
/** Of one page; it may be short, or empty, while it has a cursor: then there may be more. */
export interface DeadLettersTaken {
  readonly results: readonly EntryResult<{ readonly itemId: string; readonly duplicate: boolean }>[];
  readonly cursor: string | undefined;
}
export interface Cancelled {
  /** `ended`: nobody had it. `requested`: its holder is told; any end of its lease but completion ends it. */
  readonly outcome: "ended" | "requested";
  readonly duplicate: boolean;
}
export function resultsOf<T>(results: readonly object[]): readonly EntryResult<T>[] {
  return results.map((result) =>
    "error" in result
      ? { kind: "refused", error: (result as { error: Refusal }).error }
      : { kind: "ok", value: result as T },
  );
}
