/** Whether a caller holds the lease that it names: the one order of refusals for heartbeat, complete, fail and release. */
import { type ErrorBody, errorBody } from "../../contracts/errors.ts";
import type { EndedRecord } from "./ended-record.ts";
import type { EndKind, Item, LiveLease } from "./item.ts";
import type { ShardState } from "./state.ts";

export interface LeaseRef {
  readonly itemId: string;
  readonly token: number;
}

/** How the lease of a `stale_token` ended. `superseded`: an older lease of the item; `unknown`: none that is remembered. */
type StaleReason = EndKind | "deadLettered" | "cancelled" | "purged" | "discarded" | "superseded" | "unknown";

/** `repeat`: this very settlement was done before; its digest and outcome are still known. */
export type LeaseCheck =
  | { readonly kind: "live"; readonly item: Item; readonly lease: LiveLease }
  | {
      readonly kind: "repeat";
      readonly digest: string;
      readonly outcome: "completed" | "requeued" | "deadLettered" | "cancelled";
    }
  | { readonly kind: "refused"; readonly error: ErrorBody };

/**
 * Finds the live lease that a caller names, or the earlier settlement that it repeats.
 *
 * `settling` is the end that the verb makes; undefined for a heartbeat, which repeats nothing.
 * Refuses with: permission_denied (another principal's live lease or settlement), item_not_found, stale_token.
 */
export function checkLease(
  state: ShardState,
  ref: LeaseRef,
  principal: string,
  settling: EndKind | undefined,
): LeaseCheck {
  const item = state.items.get(ref.itemId);
  if (item === undefined) return checkRecord(state, ref, principal, settling);
  const { lease, lastEnd } = item;
  const last = lastEnd !== undefined && lastEnd.token === ref.token ? lastEnd : undefined;
  if (last !== undefined && last.kind === settling) {
    if (last.principal !== principal) return denied();
    return { kind: "repeat", digest: last.digest, outcome: last.outcome };
  }
  if (last !== undefined) return stale(last.kind);
  if (lease === undefined) {
    if (item.status === "deadLettered") return stale("deadLettered");
    return stale(lastEnd !== undefined && ref.token < lastEnd.token ? "superseded" : "unknown");
  }
  if (ref.token < lease.token) return stale("superseded");
  if (lease.principal !== principal) return denied();
  if (ref.token > lease.token) return stale("unknown");
  return { kind: "live", item, lease };
}

function checkRecord(state: ShardState, ref: LeaseRef, principal: string, settling: EndKind | undefined): LeaseCheck {
  const record = state.records.get(ref.itemId);
  if (record === undefined)
    return { kind: "refused", error: errorBody("item_not_found", "the shard knows no such item, or has forgotten it") };
  const { ending } = record;
  if (settling !== ending || record.token !== ref.token) return stale(staleReasonOf(record));
  if (record.settledBy !== principal) return denied();
  return { kind: "repeat", digest: record.settleDigest, outcome: ending === "completed" ? ending : "cancelled" };
}

/** Whoever holds an older lease of an item that was cancelled with the last one is told that. */
function staleReasonOf({ ending }: EndedRecord): StaleReason {
  return ending === "completed" || ending === "purged" || ending === "discarded" ? ending : "cancelled";
}

function denied(): LeaseCheck {
  return { kind: "refused", error: errorBody("permission_denied", "the lease belongs to another principal") };
}

function stale(reason: StaleReason): LeaseCheck {
  return {
    kind: "refused",
    error: errorBody("stale_token", `the lease that the token names has ended: ${reason}`, { details: { reason } }),
  };
}
