/** Folds the events that end items without a worker, or bring dead letters back: cancelled, dead-lettered, redriven, purged. */
import assert from "node:assert/strict";
import type { EventOf } from "../../contracts/events.ts";
import { bury, endItem, enterUnfinished, itemOf, leaveUnfinished, rehash, setExtra } from "./apply-item.ts";
import type { EventMeta } from "./apply-lease.ts";
import type { Item } from "./item.ts";
import { haltsPartition } from "./ready.ts";
import type { ShardState } from "./state.ts";

/** A pending item whose time is over. */
export function applyDeadLettered(state: ShardState, event: EventOf<"deadLettered">, meta: EventMeta): void {
  const item = itemOf(state, event.itemId);
  if (item.status !== "pending") assert.fail(`dead-lettered while ${item.status}`);
  state.cut?.keep(item);
  const halts = haltsPartition(item, state.options);
  state.ready.drop(item, halts, meta.at);
  state.pending -= 1;
  bury(state, item, { reason: event.reason, code: event.code, at: meta.at, halts });
  rehash(state, item);
}

export function applyRedriven(state: ShardState, event: EventOf<"redriven">, meta: EventMeta): void {
  const item = itemOf(state, event.itemId);
  if (item.status !== "deadLettered") assert.fail(`redriven while ${item.status}`);
  state.cut?.keep(item);
  state.deadLetters.remove(item);
  state.deadLettered -= 1;
  setExtra(item, {
    redrives: (item.extra?.redrives ?? 0) + 1,
    redrivenAt: state.drain === undefined ? 0 : state.sequence,
  });
  item.charged = 0;
  item.delayedTo = event.notBefore ?? item.delayedTo;
  item.status = "pending";
  state.pending += 1;
  enterUnfinished(state, item);
  state.ready.reinstate(item, meta.at);
  item.deadLetter = undefined;
  rehash(state, item);
}

export function applyPurged(state: ShardState, event: EventOf<"purged">, meta: EventMeta): void {
  removeLetter(state, itemOf(state, event.itemId), meta, "purged");
}

export function applyCancelled(state: ShardState, event: EventOf<"cancelled">, meta: EventMeta): void {
  const item = itemOf(state, event.itemId);
  const principal = meta.actor?.principal ?? "";
  if (item.status === "deadLettered") {
    removeLetter(state, item, meta, "cancelled");
    return;
  }
  state.cut?.keep(item);
  if (event.outcome === "requested") {
    if (item.status !== "leased") assert.fail(`asked to cancel while ${item.status}`);
    setExtra(item, { cancel: { reason: event.reason, principal: state.intern(principal), at: meta.at } });
    rehash(state, item);
    return;
  }
  if (item.status !== "pending") assert.fail(`cancelled while ${item.status}`);
  state.ready.drop(item, false, meta.at);
  state.pending -= 1;
  leaveUnfinished(state, item);
  endItem(state, item, { token: 0, principal: state.intern(principal), digest: "", ending: "cancelled" });
}

function removeLetter(state: ShardState, item: Item, meta: EventMeta, ending: "purged" | "cancelled"): void {
  const { deadLetter } = item;
  if (deadLetter === undefined) assert.fail(`${ending} while ${item.status}`);
  state.cut?.keep(item);
  state.deadLetters.remove(item);
  state.deadLettered -= 1;
  const principal = state.intern(meta.actor?.principal ?? "");
  endItem(state, item, { token: 0, principal, digest: "", ending });
  if (deadLetter.halts) state.ready.resume(item, meta.at);
}
