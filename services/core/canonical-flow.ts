/** What items know of those that they depend on, laid open and checked from scratch, in O(n). */
import assert from "node:assert/strict";
import type { Dependency } from "../../contracts/flows.ts";
import { type ItemFlow, isDoomed, makeFlow } from "./flow.ts";
import type { Item } from "./item.ts";
import type { ShardState } from "./state.ts";

export function flowFields({ policy, dependencies }: Pick<ItemFlow, "policy" | "dependencies">): object {
  const fields = ({ itemId, outcome, result, truncated }: Dependency) => ({ itemId, outcome, result, truncated });
  return { policy, dependencies: dependencies.map(fields) };
}

/** Asserts that who waits is told, that nobody waits for what has ended, and that sums are those of the dependencies. */
export function checkFlows(state: ShardState, items: readonly Item[], isHeldBack: (item: Item) => boolean): void {
  const dependents = new Map<string, Set<string>>();
  for (const item of items) {
    const flow = item.extra?.flow;
    if (flow === undefined) continue;
    assert.deepEqual(flow, makeFlow(flow.policy, flow.dependencies), `flow of ${item.itemId}`);
    for (const { itemId, outcome } of flow.dependencies) {
      if (outcome !== "pending") continue;
      const dependency = state.items.get(itemId);
      assert(dependency !== undefined, `${item.itemId} waits for ${itemId}, which has ended`);
      assert(dependency.sequence < item.sequence, `${item.itemId} depends on an older item`);
      dependents.set(itemId, (dependents.get(itemId) ?? new Set()).add(item.itemId));
    }
  }
  const known = [...state.dependents].map(([itemId, waiting]) => [itemId, new Set([...waiting].map(idOf))] as const);
  assert.deepEqual(new Map(known), dependents, "who depends on what");
  const doomed = items.filter((item) => item.status === "pending" && isDoomed(item) && !isHeldBack(item));
  assert.deepEqual([...state.ready.doomed.after(0)].map(idOf), doomed.map(idOf), "items that will not run");
}

const idOf = ({ itemId }: Item): string => itemId;
