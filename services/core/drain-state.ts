/** The drain of a shard: which items it holds, and which drains are over. */
import { type DrainFields, ENDED_DRAINS_MAX, type EndedDrain } from "../../contracts/drain.ts";
import type { Item } from "./item.ts";
import type { ShardState } from "./state.ts";

/** A drain that is on. Nothing is granted meanwhile. Invariant: `left` counts the marked items; derived. */
export interface Drain extends DrainFields {
  /** Whether some of its items were discarded: then it can only be discarded whole. */
  discarding: boolean;
  left: number;
}

/** Whether a drain holds an item that is pending or leased: it was so at its sequence, and not redriven since. */
export function isMarked(drain: DrainFields, item: Item): boolean {
  return item.sequence <= drain.sequence && (item.extra?.redrivenAt ?? 0) <= drain.sequence;
}

/** The marked items in order of enqueue. Nothing may change meanwhile. */
export function* markedItems(state: ShardState, drain: DrainFields): Generator<Item> {
  for (const item of state.unfinished.after(0)) {
    if (item.sequence > drain.sequence) return;
    if (isMarked(drain, item)) yield item;
  }
}

/** How many items a drain holds, by a walk over them. */
export function countMarked(state: ShardState, drain: DrainFields): number {
  let count = 0;
  for (const _item of markedItems(state, drain)) count += 1;
  return count;
}

/** What of a drain is hashed and written down. */
export function drainFields({ drainId, sequence, at, leases, principal, discarding }: DrainFields): DrainFields {
  return { drainId, sequence, at, leases, principal, discarding };
}

/** Ends the drain that is on, and remembers it. */
export function endDrain(state: ShardState, { drainId, sequence }: DrainFields, outcome: EndedDrain["outcome"]): void {
  state.drain = undefined;
  state.endedDrains = [...state.endedDrains, { drainId, sequence, outcome }].slice(-ENDED_DRAINS_MAX);
}

/** The state of drains as one text; undefined for a shard that never had one. */
export function drainText({ drain, endedDrains }: ShardState): string | undefined {
  if (drain === undefined && endedDrains.length === 0) return undefined;
  const ended = endedDrains.map(({ drainId, sequence, outcome }) => [drainId, sequence, outcome]);
  return JSON.stringify([drain === undefined ? null : Object.values(drainFields(drain)), ended]);
}
