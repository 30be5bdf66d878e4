/** The verb `explain`: why an item is not running, in words and in fields. */
import type { RequestOf } from "../../contracts/commands.ts";
import { errorBody } from "../../contracts/errors.ts";
import { quotaName } from "../../contracts/quotas.ts";
import { failedOf, holdingFlow, type ItemFlow } from "./flow.ts";
import { type Item, notAfterOf } from "./item.ts";
import { type Context, cite, type Outcome, refuse } from "./outcome.ts";
import type { ShardState } from "./state.ts";
import { endedStatus } from "./views.ts";

interface Hold {
  readonly hold: string;
  readonly message: string;
  /** Log time. ms. */
  readonly until?: number;
  readonly itemId?: string;
  readonly peerId?: string;
}

/** Refuses with: item_not_found. */
export function executeExplain(
  state: ShardState,
  { itemId }: RequestOf<"explain">,
  { at, now = at }: Pick<Context, "at" | "now">,
): Outcome {
  const item = state.items.get(itemId);
  if (item !== undefined)
    return {
      reply: { ...cite(state), itemId, status: item.status, holds: holdsOf(state, item, Math.max(now, state.at)) },
      ...{ confirm: false, validity: [] },
    };
  const record = state.records.get(itemId);
  if (record === undefined)
    return refuse(errorBody("item_not_found", "the shard knows no such item, or has forgotten it"), true);
  const holds: readonly Hold[] = [{ hold: "ended", message: `it has ended: ${record.ending}` }];
  return { reply: { ...cite(state), itemId, status: endedStatus(record), holds }, confirm: false, validity: [] };
}

/** `now`: log time at this moment; a quiet shard's last frame is of long ago. ms. */
function holdsOf(state: ShardState, item: Item, now: number): readonly Hold[] {
  if (item.status === "deadLettered") {
    const reason = item.deadLetter?.reason ?? "";
    return [{ hold: "deadLettered", message: `nobody gets it before a redrive: ${reason}` }];
  }
  if (item.lease !== undefined) return leasedHolds(item);
  const holds: Hold[] = [];
  if (state.paused) holds.push({ hold: "paused", message: "granting is paused; resume lets it go on" });
  if (state.drain !== undefined)
    holds.push({
      hold: "draining",
      message: `the drain ${state.drain.drainId} is on; its restore lets granting go on`,
    });
  const key = keyHold(item);
  if (key !== undefined) holds.push(key);
  const flow = holdingFlow(item);
  if (flow !== undefined) holds.push(flowHold(flow));
  if (item.delayedTo > now)
    holds.push({ hold: "delayed", message: "it is granted only from then on", until: item.delayedTo });
  const notAfter = notAfterOf(item);
  if (notAfter !== undefined && notAfter <= now)
    holds.unshift({ hold: "lapsed", message: "its notAfter has passed: it is being dead-lettered" });
  holds.push(...quotaHolds(state, item, now));
  if (holds.length > 0) return holds;
  const { lanes } = state.ready;
  // What a rate has let go since the leader looked last is before others again.
  lanes.refill(now);
  const first = lanes.next(lanes.of([item.resourceType]), now);
  if (first !== undefined && first !== item)
    return [{ hold: "behind", message: "others of its resource type go first", itemId: first.itemId }];
  return [{ hold: "next", message: "the next worker that asks for its resource type gets it" }];
}

function leasedHolds({ lease, extra }: Item): readonly Hold[] {
  if (lease === undefined) return [];
  const { peerId, expiresAt: until } = lease;
  const holds: Hold[] = [{ hold: "leased", message: `${peerId} works on it`, peerId, until }];
  if (extra?.cancel !== undefined)
    holds.unshift({
      hold: "cancelRequested",
      message: "it ends with this lease, unless it is completed",
      peerId,
      until,
    });
  return holds;
}

/** What the quotas of its group and its key do to it. */
function quotaHolds(state: ShardState, { terms }: Item, now: number): readonly Hold[] {
  const { groups, keys } = state.ready.lanes.meters;
  const meters = [
    terms?.group === undefined ? undefined : groups.get(terms.group),
    terms?.quotaKey === undefined ? undefined : keys.get(terms.quotaKey),
  ];
  const holds: Hold[] = [];
  for (const meter of meters) {
    const until = meter?.freeAt(now) ?? 0;
    if (meter === undefined || until === 0) continue;
    const name = quotaName(meter.kind, meter.name);
    if (Number.isFinite(until))
      holds.push({
        hold: "rateLimited",
        message: `${name} has used up its rate; it may take the next one then`,
        until,
      });
    else
      holds.push({
        hold: "quotaFull",
        message: `${name} has ${meter.leased} leases, its quota is ${meter.quota?.leasesMax ?? 0}`,
      });
  }
  return holds;
}

/** What those do to it that it depends on. */
function flowHold(flow: ItemFlow): Hold {
  const failed = failedOf(flow);
  if (failed !== undefined)
    return {
      hold: "dependencyFailed",
      message: `${failed.itemId}, which it depends on, was not completed: it is being ended`,
      itemId: failed.itemId,
    };
  const next = flow.dependencies.find(({ outcome }) => outcome === "pending");
  const message = `it waits for ${flow.open} of the ${flow.dependencies.length} items that it depends on`;
  return { hold: "dependsOn", message, ...(next === undefined ? undefined : { itemId: next.itemId }) };
}

/** What another item of its resource or partition does to it. */
function keyHold(item: Item): Hold | undefined {
  const { key } = item;
  if (key === undefined) return undefined;
  if (key.halted)
    return {
      hold: "keyHalted",
      message: `${key.fenceKey} stands still behind a dead letter: redrive, purge or cancel it`,
    };
  const { head } = key;
  if (head === undefined || head === item) return undefined;
  const { itemId, lease } = head;
  if (lease === undefined) return { hold: "keyQueued", message: `${itemId} of ${key.fenceKey} goes first`, itemId };
  const { peerId, expiresAt: until } = lease;
  return { hold: "keyBusy", message: `${peerId} works on ${itemId} of ${key.fenceKey}`, itemId, peerId, until };
}
