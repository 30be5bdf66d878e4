/** Which items an enqueue or a restore says that its item depends on. */
import type { DrainItem, EnqueueItem } from "../../contracts/commands.ts";
import type { ItemOrigin } from "../../contracts/drain.ts";
import { type ErrorBody, errorBody } from "../../contracts/errors.ts";
import type { Dependency } from "../../contracts/flows.ts";
import { DEPENDENTS_MAX } from "../../contracts/limits.ts";
import type { Remembered } from "./item.ts";
import { invalid } from "./item-terms.ts";
import { restoredFrom, type ShardState } from "./state.ts";

/** What was answered to an earlier entry of the same request. */
export type EarlierEntry = { readonly itemId: string } | { readonly error: ErrorBody };

/** Why an entry cannot be where it is in its request; `count`: entries before it. */
export function indexProblem({ dependsOn = [] }: EnqueueItem, count: number): ErrorBody | undefined {
  const place = dependsOn.findIndex((name) => "index" in name && name.index >= count);
  return place === -1 ? undefined : invalid(`dependsOn.${place}.index`, "must name an earlier entry of this request");
}

/**
 * The ids of the items that an entry names; its indexes are those of earlier entries.
 *
 * Refuses with: the code of the entry that an index names, where that was refused; invalid_argument (two names of one item), item_not_found (an
 * item that never was, or whose end is forgotten), resource_exhausted (too many depend on one item).
 */
export function resolveDependencies(
  state: ShardState,
  dependsOn: NonNullable<EnqueueItem["dependsOn"]>,
  earlier: readonly EarlierEntry[],
): readonly { readonly itemId: string }[] | { readonly error: ErrorBody } {
  const named: { itemId: string }[] = [];
  const seen = new Set<string>();
  for (const [place, name] of dependsOn.entries()) {
    const path = `dependsOn.${place}`;
    const entry = "index" in name ? (earlier[name.index] as EarlierEntry) : name;
    if ("error" in entry) return { error: refusedWith(entry.error, path) };
    const { itemId } = entry;
    if (seen.has(itemId)) return { error: invalid(path, `names the item ${itemId} again`) };
    seen.add(itemId);
    if (state.items.get(itemId) === undefined && state.records.get(itemId) === undefined)
      return { error: errorBody("item_not_found", `${path}: the shard knows no item ${itemId}, or has forgotten it`) };
    const count = state.dependents.get(itemId)?.size ?? 0;
    if (count >= DEPENDENTS_MAX)
      return {
        error: errorBody("resource_exhausted", `${path}: ${count} items depend on ${itemId}, more are not taken`, {
          details: { itemId, limit: DEPENDENTS_MAX },
        }),
      };
    named.push({ itemId });
  }
  return named;
}

/** An entry goes the way of the one that it depends on: sent again together they are taken. */
function refusedWith({ code, message, retryAfterMs, details }: ErrorBody, path: string): ErrorBody {
  return errorBody(code, `${path}: the entry that it names was refused: ${message}`, {
    ...(retryAfterMs === undefined ? undefined : { retryAfterMs }),
    details: { ...details, path },
  });
}

/**
 * The dependencies of a restored item under the ids of this log. What is not here, and had not ended when it was exported, is `unknown`.
 * Refuses with: invalid_argument.
 */
export function restoredDependencies(
  state: ShardState,
  dependencies: NonNullable<DrainItem["dependencies"]>,
  { logId }: Pick<ItemOrigin, "logId">,
): { readonly dependencies: Dependency[] } | { readonly error: ErrorBody } {
  const restored = dependencies.map((dependency): Dependency => {
    const here = madeOf(state, { logId, itemId: dependency.itemId });
    if (here !== undefined) return { ...dependency, itemId: here.itemId };
    return dependency.outcome === "pending" ? { ...dependency, outcome: "unknown" } : dependency;
  });
  const open = restored.filter(({ outcome }) => outcome === "pending").map(({ itemId }) => itemId);
  const twice = open.find((itemId, place) => open.indexOf(itemId) !== place);
  if (twice !== undefined) return { error: invalid("dependencies", `would wait twice for the item ${twice}`) };
  return { dependencies: restored };
}

/** What was made of an item of an export, or the item itself where it is of this log. */
function madeOf(state: ShardState, origin: ItemOrigin): Remembered | undefined {
  const made = restoredFrom(state, origin);
  if (made !== undefined || origin.logId !== state.logId) return made;
  return state.items.get(origin.itemId) ?? state.records.get(origin.itemId);
}
