/** What the end of an item does to those that depend on it. */
import assert from "node:assert/strict";
import type { Dependency } from "../../contracts/flows.ts";
import type { EndedRecord } from "./ended-record.ts";
import { type DependencyEnd, holdingFlow, type ItemFlow, isDoomed, makeFlow, settleFlow } from "./flow.ts";
import { hashItem, NO_RESULT_DIGEST } from "./hash.ts";
import type { Item } from "./item.ts";
import type { ShardState } from "./state.ts";
import { endedStatus } from "./views.ts";

/** The flow of a new item: of those of its dependencies that are over by now, it learns at once. */
export function newFlow(
  state: ShardState,
  dependencies: readonly Dependency[],
  policy: ItemFlow["policy"] = "deadLetter",
): ItemFlow {
  let flow = makeFlow(policy, dependencies);
  for (const [index, { itemId, outcome }] of dependencies.entries()) {
    if (outcome !== "pending" || state.items.get(itemId) !== undefined) continue;
    const record = state.records.get(itemId);
    if (record === undefined) assert.fail(`it depends on ${itemId}, which nobody knows`);
    flow = settleFlow(flow, index, endOf(record));
  }
  return flow;
}

/** Lets an item hear of the ends of its dependencies as long as it is there, whatever becomes of it. */
export function enterFlow({ dependents }: ShardState, item: Item): void {
  for (const { itemId, outcome } of item.extra?.flow?.dependencies ?? []) {
    if (outcome !== "pending") continue;
    const waiting = dependents.get(itemId);
    if (waiting === undefined) dependents.set(itemId, new Set([item]));
    else waiting.add(item);
  }
}

/** Forgets an item that has ended. */
export function leaveFlow({ dependents }: ShardState, item: Item): void {
  for (const { itemId, outcome } of item.extra?.flow?.dependencies ?? []) {
    if (outcome !== "pending") continue;
    const waiting = dependents.get(itemId);
    if (waiting?.delete(item) !== true) assert.fail(`${item.itemId} does not wait for ${itemId}`);
    if (waiting.size === 0) dependents.delete(itemId);
  }
}

/** Tells those that depend on an item how it has ended, while its record still has its result. */
export function tellDependents(state: ShardState, record: EndedRecord): void {
  const { itemId } = record;
  const waiting = state.dependents.get(itemId);
  if (waiting === undefined) return;
  state.dependents.delete(itemId);
  for (const item of waiting) tell(state, item, itemId, endOf(record));
}

function tell(state: ShardState, item: Item, itemId: string, end: DependencyEnd): void {
  const { extra } = item;
  // A restored item may name one that has ended elsewhere under the same id.
  const index = extra?.flow?.dependencies.findIndex((one) => one.itemId === itemId && one.outcome === "pending") ?? -1;
  if (extra?.flow === undefined || index === -1) assert.fail(`${item.itemId} does not wait for ${itemId}`);
  state.cut?.keep(item);
  const wasHeld = holdingFlow(item) !== undefined;
  const wasDoomed = isDoomed(item);
  item.extra = { ...extra, flow: settleFlow(extra.flow, index, end) };
  if (item.status === "pending" && wasHeld && !wasDoomed) {
    const isFree = holdingFlow(item) === undefined;
    if (isFree) item.delayedTo = Math.max(item.delayedTo, state.at);
    if (isFree || isDoomed(item)) state.ready.letGo(item, state.at);
  }
  state.itemSum.subtract(item.high, item.low);
  hashItem(item);
  state.itemSum.add(item.high, item.low);
}

function endOf(record: EndedRecord): DependencyEnd {
  const { ending, result, settleDigest } = record;
  const isForgotten = ending === "completed" && result === undefined && settleDigest !== NO_RESULT_DIGEST;
  return { outcome: endedStatus(record), result, isForgotten };
}
