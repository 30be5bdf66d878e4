/** The verbs `get`, `list` and `stats`: answers as of the present state, without an event. */
import type { RequestOf } from "../../contracts/commands.ts";
import { errorBody } from "../../contracts/errors.ts";
import { FRAME_BYTES_MAX, LOG_VERSION_TERMS, PAGE_SCAN_MAX, PAGE_SIZE_DEFAULT } from "../../contracts/limits.ts";
import { isPressed, lowsOf } from "./backpressure.ts";
import { executeDrainList } from "./drain-page.ts";
import { drainFields } from "./drain-state.ts";
import { stateHash } from "./hash.ts";
import type { Item } from "./item.ts";
import { FRAME_BYTES_RESERVE, ITEM_RECORD_BYTES } from "./limits.ts";
import { type Context, cite, type Outcome, Results } from "./outcome.ts";
import type { SequenceIndex } from "./sequence-index.ts";
import { jsonLength } from "./sizes.ts";
import type { ShardState } from "./state.ts";
import { endedRecord, itemRecord, itemRecordLength } from "./views.ts";

/**
 * Looks up items by id, in the order asked; an unknown one is `item_not_found`.
 *
 * A reply ends at FRAME_BYTES_MAX: an item that does not fit any more is shown without payload, reasons and result, with `truncated: true`.
 * Ask for it alone. The first item always fits.
 */
export function executeGet(state: ShardState, request: RequestOf<"get">): Outcome {
  const results = new Results();
  let bytesLeft = FRAME_BYTES_MAX - FRAME_BYTES_RESERVE - request.itemIds.length * ITEM_RECORD_BYTES;
  for (const [index, itemId] of request.itemIds.entries()) {
    const item = state.items.get(itemId);
    if (item !== undefined) {
      // What every entry has reserved already is not counted twice.
      const bytes = itemRecordLength(item, "full") - ITEM_RECORD_BYTES;
      const fits = bytes <= bytesLeft || request.itemIds.length === 1;
      if (fits) bytesLeft -= bytes;
      results.add(itemRecord(state, item, fits ? "full" : "state"));
      continue;
    }
    const record = state.records.get(itemId);
    if (record !== undefined) {
      const bytes = record.result === undefined ? 0 : jsonLength(record.result);
      const fits = bytes <= bytesLeft;
      if (fits) bytesLeft -= bytes;
      results.add(endedRecord(record, fits));
    } else
      results.refuse(
        errorBody("item_not_found", `itemIds[${index}]: the shard knows no such item, or has forgotten it`),
      );
  }
  return { reply: { ...cite(state), results: results.entries }, confirm: results.confirm, validity: [] };
}

/**
 * Lists items in order of enqueue, without bodies.
 *
 * A page ends at `limit` items, FRAME_BYTES_MAX bytes or PAGE_SCAN_MAX items looked at, and then has a `cursor`: the enqueue sequence
 * of the last item looked at, in base 36. So it may be short, or empty, with a cursor. Completed items are not listed.
 */
export function executeList(state: ShardState, request: RequestOf<"list">): Outcome {
  if (request.drainId !== undefined) return executeDrainList(state, request);
  const limit = request.limit ?? PAGE_SIZE_DEFAULT;
  const items: object[] = [];
  let bytesLeft = FRAME_BYTES_MAX - FRAME_BYTES_RESERVE;
  let scanned = 0;
  let last = request.cursor === undefined ? 0 : Number.parseInt(request.cursor, 36);
  let more = false;
  for (const item of candidates(state, request.status, last)) {
    const matches = isListed(item, request);
    const bytes = matches ? itemRecordLength(item, "withoutBody") : 0;
    if (scanned >= PAGE_SCAN_MAX || items.length >= limit || (bytes > bytesLeft && items.length > 0)) {
      more = true;
      break;
    }
    scanned += 1;
    last = item.sequence;
    if (!matches) continue;
    bytesLeft -= bytes;
    items.push(itemRecord(state, item, "withoutBody"));
  }
  const reply = { ...cite(state), items, ...(more ? { cursor: last.toString(36) } : undefined) };
  return { reply, confirm: false, validity: [] };
}

function candidates(state: ShardState, status: RequestOf<"list">["status"], after: number): Iterable<Item> {
  if (status === "deadLettered") return state.deadLetters.after(after);
  if (status !== undefined || state.deadLetters.size === 0) return state.unfinished.after(after);
  return merged(state.unfinished, state.deadLetters, after);
}

function* merged(left: SequenceIndex<Item>, right: SequenceIndex<Item>, after: number): Generator<Item> {
  const lefts = left.after(after);
  const rights = right.after(after);
  let a = lefts.next();
  let b = rights.next();
  while (a.done !== true || b.done !== true) {
    if (b.done === true || (a.done !== true && a.value.sequence < b.value.sequence)) {
      if (a.done !== true) yield a.value;
      a = lefts.next();
    } else {
      yield b.value;
      b = rights.next();
    }
  }
}

function isListed(item: Item, request: RequestOf<"list">): boolean {
  if (request.status !== undefined && item.status !== request.status) return false;
  if (request.resourceType !== undefined && item.resourceType !== request.resourceType) return false;
  if (request.resourceId !== undefined && item.resourceId !== request.resourceId) return false;
  if (request.code !== undefined && item.deadLetter?.code !== request.code) return false;
  return request.partitionKey === undefined || item.partitionKey === request.partitionKey;
}

/** Lists quotas by name, with what is taken of them. `cursor`: the last name of the page before. */
export function executeQuotas(
  state: ShardState,
  { limit = PAGE_SIZE_DEFAULT, cursor = "" }: RequestOf<"quotas">,
  { at, now = at }: Pick<Context, "at" | "now">,
): Outcome {
  const { groups, keys } = state.ready.lanes.meters;
  const names = [...state.quotas.keys()].filter((name) => name > cursor);
  const quotas = names.slice(0, limit).map((name) => {
    const quota = state.quotas.get(name);
    const meters = name.startsWith("group/") ? groups : keys;
    const own = meters.get(name.slice(name.indexOf("/") + 1));
    const taking = own?.quota === quota ? [own] : [...meters.values()].filter((meter) => meter.quota === quota);
    const leased = taking.reduce((sum, meter) => sum + (meter?.leased ?? 0), 0);
    const until = own?.freeAt(Math.max(now, state.at)) ?? 0;
    return { name, quota, leased, ...(until > 0 && Number.isFinite(until) ? { until } : undefined) };
  });
  const more = names.length > limit ? { cursor: names[limit - 1] } : undefined;
  return { reply: { ...cite(state), quotas, ...more }, confirm: false, validity: [] };
}

/** Renders the counts of a shard. The same for every caller: the node renders it once for each state. */
export function renderStats(state: ShardState, { at, region = "", shard = "" }: Context): object {
  const oldest = oldestPending(state);
  return {
    ...cite(state),
    pending: state.pending,
    active: state.active,
    deadLettered: state.deadLettered,
    leader: state.leader,
    region,
    shard,
    logId: state.logId,
    logVersion: state.logVersion,
    at: state.at,
    paused: state.paused,
    ...(state.drain === undefined ? undefined : { drain: { ...drainFields(state.drain), marked: state.drain.left } }),
    enqueued: state.enqueuedTotal,
    completed: state.completedTotal,
    removed: state.removedTotal,
    bodyBytes: state.bodyBytes,
    ...(oldest === undefined ? undefined : { oldestPendingAt: oldest.enqueuedAt }),
    backpressure: pressureOf(state, at),
    stateHash: stateHash(state),
    options: state.options,
    followers: Object.fromEntries(state.followers),
  };
}

/** Time alone may end it, without an event: it is told as of the log time `at`. */
function pressureOf(state: ShardState, at: number): object {
  const active = isPressed(state, at);
  const since = active && state.pressedAt !== undefined ? { since: state.pressedAt } : undefined;
  return { active, ...since, ...(state.logVersion < LOG_VERSION_TERMS ? undefined : lowsOf(state.options)) };
}

/** The oldest pending item. Behind more than PAGE_SCAN_MAX leased ones only the oldest leasable: what waits for a key is younger. */
function oldestPending(state: ShardState): Item | undefined {
  let scanned = 0;
  for (const item of state.unfinished.after(0)) {
    if (item.status === "pending") return item;
    scanned += 1;
    if (scanned >= PAGE_SCAN_MAX) break;
  }
  return state.ready.lanes.peek();
}
