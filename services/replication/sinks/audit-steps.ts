/** What an event changed, told as before and after: the arithmetic of the governance sink, without any table. */
import type { OutwardType, ReplicationEvent } from "../../../contracts/envelope.ts";

/** `completed`, `cancelled`, `purged` and `discarded` are ends: the item is no more. */
type AuditedStatus = "pending" | "leased" | "deadLettered" | "completed" | "cancelled" | "purged" | "discarded";
interface AuditedState {
  readonly status: AuditedStatus;
  /** Peer that holds the lease; null when nobody does, or when it is not known. */
  readonly owner: string | null;
  /** Grants so far; null when that is not known, because the events seen begin later. */
  readonly attempt: number | null;
}
/** What is remembered of an item between its events. */
export interface AuditedItem extends AuditedState {
  readonly resourceType: string | null;
  readonly resourceId: string | null;
}

/** What one event did to one item, or, with null for all of it, to the shard. */
export interface AuditStep {
  readonly itemId: string | null;
  readonly resourceType: string | null;
  readonly resourceId: string | null;
  readonly before: AuditedState | null;
  readonly after: AuditedState | null;
}

const ENDS: ReadonlySet<AuditedStatus> = new Set(["completed", "cancelled", "purged", "discarded"]);
/** An item that has ended is remembered no more. */
export const isEnd = (status: AuditedStatus): boolean => ENDS.has(status);

/** What an item must have been for the event to happen to it. */
const BEFORE: Partial<Record<OutwardType, AuditedStatus>> = {
  ...{ LeaseGranted: "pending", DeadLettered: "pending", Discarded: "pending" },
  ...{ Heartbeat: "leased", Completed: "leased", Failed: "leased", Expired: "leased", Released: "leased" },
  ...{ Redriven: "deadLettered", Purged: "deadLettered" },
};
/** What the event makes of its item, where that does not depend on its details. */
const AFTER: Partial<Record<OutwardType, AuditedStatus>> = {
  ...{ Enqueue: "pending", RestoreSnapshot: "pending", LeaseGranted: "leased", Completed: "completed" },
  ...{ DeadLettered: "deadLettered", Redriven: "pending", Purged: "purged", Discarded: "discarded" },
};
const OUTCOMES: Readonly<Record<string, AuditedStatus>> = {
  ...{ requeued: "pending", deadLettered: "deadLettered", cancelled: "cancelled", ended: "cancelled" },
};
/** Items begin with these. */
const BIRTHS: ReadonlySet<string> = new Set(["Enqueue", "RestoreSnapshot"]);

/** The steps of an event, in order; at least one. `known` is what is remembered of an item before the event. */
export function auditSteps(
  event: ReplicationEvent,
  known: (itemId: string) => AuditedItem | undefined,
): readonly AuditStep[] {
  const itemIds = itemIdsOf(event);
  if (itemIds.length === 0) return [{ itemId: null, resourceType: null, resourceId: null, before: null, after: null }];
  return itemIds.map((itemId) => {
    const item = BIRTHS.has(event.eventType) ? undefined : known(itemId);
    const before = item === undefined ? impliedBefore(event) : stateOf(item);
    return {
      itemId,
      resourceType: event.resourceType ?? item?.resourceType ?? null,
      resourceId: event.resourceId ?? item?.resourceId ?? null,
      before,
      after: stateAfter(event, before),
    };
  });
}

const stateOf = ({ status, owner, attempt }: AuditedState): AuditedState => ({ status, owner, attempt });

/** One event may be about many items: a heartbeat names leases, a discard names items. */
function itemIdsOf({ eventType, itemId, details }: ReplicationEvent): readonly string[] {
  if (itemId !== undefined) return [itemId];
  const listed =
    eventType === "Heartbeat" ? details?.["leases"] : eventType === "Discarded" ? details?.["itemIds"] : [];
  return (Array.isArray(listed) ? listed : []).flatMap((entry: unknown) => {
    const id = typeof entry === "string" ? entry : (entry as { readonly itemId?: unknown } | null)?.itemId;
    return typeof id === "string" ? [id] : [];
  });
}

function impliedBefore({ eventType, ownerPeerId }: ReplicationEvent): AuditedState | null {
  const status = BEFORE[eventType];
  if (status === undefined) return null;
  return { status, owner: status === "leased" ? (ownerPeerId ?? null) : null, attempt: null };
}

function stateAfter(event: ReplicationEvent, before: AuditedState | null): AuditedState | null {
  const { eventType, details = {}, ownerPeerId } = event;
  const outcome = details["outcome"] ?? (eventType === "Released" ? "requeued" : undefined);
  const status = AFTER[eventType] ?? (typeof outcome === "string" ? OUTCOMES[outcome] : undefined);
  // What a beat, or a wish to cancel, changes is not the item's state.
  if (status === undefined) return before;
  const owner = status === "leased" ? (ownerPeerId ?? null) : null;
  return { status, owner, attempt: attemptOf(event) ?? before?.attempt ?? null };
}

function attemptOf({ eventType, details = {} }: ReplicationEvent): number | undefined {
  if (eventType === "Enqueue") return 0;
  const entry = eventType === "RestoreSnapshot" ? (details["entry"] as Readonly<Record<string, unknown>>) : details;
  const attempt = entry?.["attempt"];
  return typeof attempt === "number" ? attempt : undefined;
}
