/** Folds the events of drains: begun, restored, discarded; and of items that are made anew from an export. */
import assert from "node:assert/strict";
import type { EventOf } from "../../contracts/events.ts";
import { tokenOf } from "../../contracts/ids.ts";
import { newFlow } from "./apply-flow.ts";
import { admitItem, endItem, itemOf, leaveUnfinished, setExtra } from "./apply-item.ts";
import type { EventMeta } from "./apply-lease.ts";
import { type Drain, endDrain, isMarked } from "./drain-state.ts";
import { hashLastError } from "./hash.ts";
import { numberOfItemId } from "./item-id.ts";
import { originRequestId } from "./item-origin.ts";
import { newItem } from "./item-terms.ts";
import type { ShardState } from "./state.ts";

export function applyDrain(
  state: ShardState,
  event: EventOf<"drained" | "restored" | "discarded">,
  meta: EventMeta,
): void {
  if (event.type === "drained") applyDrained(state, event, meta);
  else if (event.type === "discarded") applyDiscarded(state, event, meta);
  else if (event.entry !== undefined) restoreItem(state, event.entry, meta);
  else applyRestored(state, event);
}

function applyDrained(state: ShardState, { drainId, leases }: EventOf<"drained">, meta: EventMeta): void {
  assert(state.drain === undefined, `drained for ${drainId} while ${state.drain?.drainId} is on`);
  const principal = state.intern(meta.actor?.principal ?? "");
  const left = state.pending + state.active;
  state.drain = { drainId, sequence: state.sequence, at: meta.at, leases, principal, discarding: false, left };
}

function applyRestored(state: ShardState, event: EventOf<"restored">): void {
  const drain = drainOf(state, event.drainId);
  assert(!drain.discarding, `drain ${drain.drainId} restored although it is partly discarded`);
  endDrain(state, drain, "restored");
}

function applyDiscarded(state: ShardState, event: EventOf<"discarded">, meta: EventMeta): void {
  const drain = drainOf(state, event.drainId);
  const principal = state.intern(meta.actor?.principal ?? "");
  drain.discarding = true;
  for (const itemId of event.itemIds) {
    const item = itemOf(state, itemId);
    if (item.status !== "pending" || !isMarked(drain, item)) assert.fail(`discarded while ${item.status}: ${itemId}`);
    state.cut?.keep(item);
    state.ready.drop(item, false, meta.at);
    state.pending -= 1;
    leaveUnfinished(state, item);
    endItem(state, item, { token: 0, principal, digest: "", ending: "discarded" });
  }
  if (drain.left === 0) endDrain(state, drain, "discarded");
}

function drainOf({ drain }: ShardState, drainId: string): Drain {
  if (drain?.drainId !== drainId) assert.fail(`${drainId} is not the drain that is on: ${drain?.drainId}`);
  return drain;
}

type Entry = NonNullable<EventOf<"restored">["entry"]>;

function restoreItem(state: ShardState, entry: Entry, { at }: EventMeta): void {
  const { itemId, origin, lastError, redrives = 0 } = entry;
  if (numberOfItemId(itemId) !== tokenOf(state.tokenEpoch, state.sequence))
    assert.fail(`item id ${itemId} at sequence ${state.sequence}`);
  const names = {
    ...{ itemId, enqueuedAt: entry.enqueuedAt, principal: state.intern(entry.enqueuedBy) },
    ...{ requestId: originRequestId(origin), digest: undefined },
  };
  const item = newItem(state, entry.item, names, entry.schedule);
  item.attempt = entry.attempt;
  if (entry.charged > 0) item.charged = entry.charged;
  const flow =
    entry.dependencies === undefined ? undefined : newFlow(state, entry.dependencies, entry.item.onDependencyFailure);
  setExtra(item, { redrives, flow });
  if (lastError !== undefined) {
    const { reason, code, attempt } = lastError;
    const error = { reason, code, attempt, peerId: state.intern(lastError.peerId), at: lastError.at };
    const { high, low } = hashLastError(error);
    item.lastError = { ...error, high, low };
  }
  admitItem(state, item, at);
}
