/** What `cancel`, `redrive` and `purge` take and give. */
import { errorBody } from "../../contracts/errors.ts";
import type { ReplyOf } from "../../contracts/replies.ts";
import type { CallOptions } from "./client-core.ts";
import type { ListFilter } from "./lease-client.ts";
import { type EntryResult, type Refusal, RefusedError } from "./refusal.ts";

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

/** Takes dead letters by their ids, or a page of those that the filter names. */
export async function takeDeadLetters(
  list: (filter: ListFilter) => Promise<ReplyOf<"list">>,
  { itemIds, ...filter }: DeadLetterFilter,
  take: (itemIds: string[]) => Promise<{ readonly results: readonly object[] }>,
): Promise<DeadLettersTaken> {
  const isMixed = itemIds !== undefined && Object.values(filter).some((value) => value !== undefined);
  if (isMixed) throw new RefusedError(errorBody("invalid_argument", "itemIds: excludes every other filter"));
  const page = itemIds === undefined ? await list({ ...filter, status: "deadLettered" }) : undefined;
  const ids = page === undefined ? [...(itemIds ?? [])] : page.items.map((item) => item.itemId);
  const { results } = ids.length === 0 && page !== undefined ? { results: [] } : await take(ids);
  return { results: resultsOf(results), cursor: page?.cursor };
}
