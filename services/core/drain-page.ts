/** The pages of a drain: its marked items with everything that restoring needs. */
import type { DrainItem, RequestOf } from "../../contracts/commands.ts";
import { errorBody } from "../../contracts/errors.ts";
import type { Dependency } from "../../contracts/flows.ts";
import { FRAME_BYTES_MAX, PAGE_SCAN_MAX, PAGE_SIZE_DEFAULT, REQUEST_BYTES_MAX } from "../../contracts/limits.ts";
import { isMarked } from "./drain-state.ts";
import type { Item } from "./item.ts";
import { FRAME_BYTES_RESERVE } from "./limits.ts";
import { cite, type Outcome, refuse } from "./outcome.ts";
import type { ShardState } from "./state.ts";
import { itemRecordLength, lastErrorView } from "./views.ts";

/** One page, in order of enqueue; it ends as that of `executeList` does. The first item always fits. Refuses with: drain_not_found, conflict (partly discarded). */
export function executeDrainList(
  state: ShardState,
  { drainId, limit = PAGE_SIZE_DEFAULT, cursor }: RequestOf<"list">,
): Outcome {
  const { drain } = state;
  if (drain === undefined || drain.drainId !== drainId)
    return refuse(errorBody("drain_not_found", "no such drain is on"), true);
  // Pages that others are discarded between would make an export that looks whole.
  if (drain.discarding) return refuse(errorBody("conflict", "the drain is partly discarded: discard the rest"), true);
  const drained: DrainItem[] = [];
  let bytesLeft = FRAME_BYTES_MAX - FRAME_BYTES_RESERVE;
  let scanned = 0;
  let last = cursor === undefined ? 0 : Number.parseInt(cursor, 36);
  let more = false;
  for (const item of state.unfinished.after(last)) {
    if (item.sequence > drain.sequence) break;
    const bytes = isMarked(drain, item) ? itemRecordLength(item, "full") : 0;
    if (scanned >= PAGE_SCAN_MAX || drained.length >= limit || (bytes > bytesLeft && drained.length > 0)) {
      more = true;
      break;
    }
    scanned += 1;
    last = item.sequence;
    if (bytes === 0) continue;
    bytesLeft -= bytes;
    drained.push(drainItem(item));
  }
  const reply = { ...cite(state), items: [], drained, ...(more ? { cursor: last.toString(36) } : undefined) };
  return { reply, confirm: false, validity: [] };
}

function drainItem(item: Item): DrainItem {
  const { itemId, sequence, enqueuedAt, principal: enqueuedBy, attempt, charged, extra, lastError } = item;
  return {
    ...{ itemId, sequence, enqueuedAt, enqueuedBy, attempt, charged },
    ...((extra?.redrives ?? 0) === 0 ? undefined : { redrives: extra?.redrives }),
    ...(item.terms?.schedule === undefined ? undefined : { schedule: item.terms.schedule }),
    ...(lastError === undefined ? undefined : { lastError: lastErrorView(lastError) }),
    ...dependenciesOf(item),
    item: payloadOf(item),
  };
}

/** Without results where they would make the item longer than a request that restores it. */
function dependenciesOf(item: Item): Pick<DrainItem, "dependencies"> | undefined {
  const flow = item.extra?.flow;
  if (flow === undefined) return undefined;
  const fits = itemRecordLength(item, "full") <= REQUEST_BYTES_MAX - FRAME_BYTES_RESERVE;
  const dependencies = flow.dependencies.map((dependency): Dependency => {
    const { result, ...rest } = dependency;
    return fits || result === undefined ? dependency : { ...rest, truncated: true };
  });
  return { dependencies };
}

/** As it was asked for, with a delay as the time until which it still holds, and the exclusivity that it got. */
function payloadOf(item: Item): DrainItem["item"] {
  const { priority = 0, notAfter, leaseDurationMs, retry, uniqueKey, group, quotaKey } = item.terms ?? {};
  // Whatever a payload may hold must be named here, but for what it depends on: that has gone its own way since.
  const fields: Readonly<Record<Exclude<keyof DrainItem["item"], "onDependencyFailure">, unknown>> &
    Pick<DrainItem["item"], "onDependencyFailure"> = {
    resourceType: item.resourceType,
    resourceId: item.resourceId,
    partitionKey: item.partitionKey,
    payloadEncoding: item.payloadEncoding,
    body: item.body,
    attributes: item.attributes,
    exclusivity: item.exclusivity,
    maxAttempts: item.maxAttempts,
    priority: priority === 0 ? undefined : priority,
    notBefore: item.delayedTo === 0 ? undefined : item.delayedTo,
    ...{ notAfter, leaseDurationMs, retry, uniqueKey, group, quotaKey },
    onDependencyFailure: item.extra?.flow?.policy,
  };
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as DrainItem["item"];
}
