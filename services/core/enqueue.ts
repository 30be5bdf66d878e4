/** The verb `enqueue`: one item per entry, at most once per request id. */
import type { EnqueueItem, ItemPayload, RequestOf } from "../../contracts/commands.ts";
import { type ErrorBody, errorBody } from "../../contracts/errors.ts";
import type { EventOf } from "../../contracts/events.ts";
import { itemOf } from "./apply-item.ts";
import { isPressed } from "./backpressure.ts";
import { type EarlierEntry, indexProblem, resolveDependencies } from "./dependencies.ts";
import { digestFields, payloadDigest } from "./hash.ts";
import { termsProblem } from "./item-terms.ts";
import {
  BACKPRESSURE_RETRY_AFTER_MS,
  DEPENDENCY_NAME_BYTES,
  EVENT_BYTES,
  FRAME_FULL_RETRY_AFTER_MS,
} from "./limits.ts";
import {
  type Context,
  cite,
  type Decision,
  Emitter,
  type EventSink,
  logPressureRefusal,
  type Outcome,
  Results,
  refused,
} from "./outcome.ts";
import { enqueuedLength, jsonLength, jsonLengthMax, payloadLength } from "./sizes.ts";
import { itemIdOf, rememberedOf, type ShardState, sequenceOfItemId } from "./state.ts";

export interface EnqueueResult {
  readonly itemId: string;
  readonly sequence: number;
  readonly duplicate: boolean;
}

export interface EnqueueTerms {
  /** Log time of the enqueue. ms. */
  readonly at: number;
  readonly principal: string;
  /** As the log holds it: from the item's own, or from the request's and the index. */
  readonly requestId: string | undefined;
  /** Of all that the caller's request id names: this item, or all items of the request. Absent: of this item. */
  readonly digest?: string | undefined;
  /** What the request's id has made before with other items: then it makes nothing more. */
  readonly otherUse?: { readonly itemId: string } | undefined;
  /** The sequence known when the id was first used. */
  readonly after: number | undefined;
  readonly frameBytesLeft: number;
  /** What was answered to the entries before it; none by default. */
  readonly earlier?: readonly EarlierEntry[];
  /** The log takes no new items. */
  readonly isLogHigh?: boolean;
}

export function executeEnqueue(
  state: ShardState,
  request: RequestOf<"enqueue">,
  context: Context,
  sink: EventSink,
): Outcome {
  const emitter = new Emitter(state, context, sink);
  const results = new Results();
  const requested =
    request.requestId === undefined ? undefined : identityOf(state, request, request.requestId, context);
  let isFull = false;
  let index = -1;
  for (const item of request.items) {
    index += 1;
    const decision = decideEnqueue(state, item, {
      at: context.at,
      principal: context.principal,
      requestId: requested === undefined ? ownId(item.requestId) : requested.ids[index],
      digest: requested?.digest,
      otherUse: requested?.otherUse,
      after: request.after,
      // Whoever comes after one that did not fit would be before it in their partition.
      frameBytesLeft: isFull ? 0 : emitter.bytesLeft,
      earlier: results.entries as readonly EarlierEntry[],
      isLogHigh: context.logPressure !== undefined,
    });
    if (decision.kind === "refused") {
      isFull ||= decision.error.code === "unavailable";
      results.refuse(decision.error);
      continue;
    }
    if (decision.kind === "accepted") emitItem(emitter, decision.event);
    else if (decision.confirm === true) results.confirm = true;
    results.add(decision.result);
  }
  const reply = { ...cite(state), results: results.entries, pending: state.pending, active: state.active };
  return { reply, confirm: results.confirm, validity: [] };
}

/** What the body weighs is known once its item is there: each character is looked at once. */
function emitItem(emitter: Emitter, event: EventOf<"enqueued">): void {
  emitter.emit(event, 0);
  emitter.bytesLeft -= enqueuedLength(event, itemOf(emitter.state, event.itemId).bodyBytes);
}

/** What an id of the whole request stands for: the ids of its entries, the digest of all of them, and whether it meant others before. */
function identityOf(state: ShardState, request: RequestOf<"enqueue">, requestId: string, { principal }: Context) {
  const ids = request.items.map((_item, index) => `${requestId}/${index}`);
  const digest = digestFields(request.items.map(payloadDigest));
  for (const id of ids) {
    const known = rememberedOf(state, principal, id);
    if (known !== undefined && known.digest !== digest) return { ids, digest, otherUse: known };
  }
  return { ids, digest, otherUse: undefined };
}

/** An item's own id, never that of an entry of a request: only those have nothing between their last slash and their last digits. */
function ownId(requestId: string | undefined): string | undefined {
  return requestId?.replace(/\/(?=\.*[0-9]+$)/, "/.");
}

/**
 * Decides one item.
 *
 * Shapes: one `enqueued`; or the earlier result with `duplicate: true` for a known request id with the same contents, or for a unique key that
 * a pending or leased item has.
 * Refuses with: invalid_argument (times and lengths that the shard does not allow), unsupported_version (a log that is too old for them),
 * payload_too_large, unavailable (frame full), backpressure, request_expired, conflict, what `resolveDependencies` refuses (first that applies).
 */
export function decideEnqueue(
  state: ShardState,
  item: EnqueueItem,
  terms: EnqueueTerms,
): Decision<EventOf<"enqueued">, EnqueueResult> {
  const digest = terms.requestId === undefined ? undefined : (terms.digest ?? payloadDigest(item));
  const known = terms.requestId === undefined ? undefined : rememberedOf(state, terms.principal, terms.requestId);
  // A repeat is answered even where a new item would be refused: it adds nothing.
  if (known !== undefined && known.digest === digest)
    return {
      kind: "unchanged",
      result: { itemId: known.itemId, sequence: sequenceOfItemId(known.itemId), duplicate: true },
    };
  const other = known ?? terms.otherUse;
  const holder = item.uniqueKey === undefined || other !== undefined ? undefined : state.unique.get(item.uniqueKey);
  if (holder !== undefined)
    return {
      kind: "unchanged",
      result: { itemId: holder.itemId, sequence: holder.sequence, duplicate: true },
      // Another leader may have seen its end, and then this item would be lost.
      confirm: true,
    };
  const problem = termsProblem(state, item, terms.at);
  if (problem !== undefined) return refused(problem);
  const { earlier = [] } = terms;
  const misplaced = indexProblem(item, earlier.length);
  if (misplaced !== undefined) return refused(misplaced);
  const tooLarge = bodyProblem(state, item.body);
  if (tooLarge !== undefined) return refused(tooLarge);
  if (!fits(item, terms)) return refused(frameFull());
  if (isPressed(state, terms.at)) return refused(backpressure(state, terms.at));
  if (terms.isLogHigh === true) return refused(logPressureRefusal());
  if (other === undefined && terms.requestId !== undefined && terms.after !== undefined && terms.after < state.horizon)
    return refused(
      errorBody("request_expired", "the request id may have been used before what the shard remembers", {
        details: { after: terms.after, horizon: state.horizon },
      }),
    );
  if (other !== undefined)
    return refused(
      errorBody("conflict", "the request id was used before with other contents", {
        details: { itemId: other.itemId },
      }),
    );
  // Last: that it names what is forgotten says nothing about an effect that the request had before.
  const named = item.dependsOn && resolveDependencies(state, item.dependsOn, earlier);
  if (named !== undefined && "error" in named) return refused(named.error);
  const sequence = state.sequence + 1;
  const itemId = itemIdOf(state.tokenEpoch, sequence);
  const { requestId } = terms;
  const event = { type: "enqueued" as const, actor: 0, itemId, item: payloadOf(item, named, terms.at) };
  return {
    kind: "accepted",
    event: requestId === undefined || digest === undefined ? event : { ...event, requestId, digest },
    result: { itemId, sequence, duplicate: false },
  };
}

/** Whether the open frame takes the item. A body is looked at only where it might not. */
function fits(item: EnqueueItem, { requestId, frameBytesLeft }: EnqueueTerms): boolean {
  const { body, dependsOn = [] } = item;
  const nameBytes = 6 * (requestId?.length ?? 0) + DEPENDENCY_NAME_BYTES * dependsOn.length;
  const bytesLeft = frameBytesLeft - EVENT_BYTES - nameBytes - payloadLength(item, 0);
  return body === undefined ? bytesLeft >= 0 : jsonLengthMax(body) <= bytesLeft || jsonLength(body) <= bytesLeft;
}

/** Why a body is not taken; undefined when it is. */
export function bodyProblem(
  { options: { itemBytesMax } }: ShardState,
  body: string | undefined,
): ErrorBody | undefined {
  if (body === undefined || jsonLengthMax(body) <= itemBytesMax) return undefined;
  const bytes = jsonLength(body);
  if (bytes <= itemBytesMax) return undefined;
  return errorBody("payload_too_large", `the body has ${bytes} bytes, the limit is ${itemBytesMax}`, {
    details: { bytes, limit: itemBytesMax },
  });
}

/** The entry was not decided because the open frame cannot take its event. */
export function frameFull() {
  return errorBody("unavailable", "the frame is full before this entry; send the entry again", {
    retryAfterMs: FRAME_FULL_RETRY_AFTER_MS,
  });
}

function backpressure(state: ShardState, at: number) {
  const { pending, bodyBytes, options, pressedAt } = state;
  const cooldownMs = pressedAt === undefined ? 0 : pressedAt + options.backpressureCooldownMs - at;
  return errorBody("backpressure", "the shard is above its high watermark", {
    retryAfterMs: Math.max(BACKPRESSURE_RETRY_AFTER_MS, cooldownMs),
    details: { pending, pendingHigh: options.pendingHigh, bodyBytes, bodyBytesHigh: options.bodyBytesHigh },
  });
}

/** As the log holds it: without its request id, its delay as a time, and what it depends on by item ids. */
function payloadOf(
  item: EnqueueItem,
  named: readonly { readonly itemId: string }[] | undefined,
  at: number,
): ItemPayload {
  if (item.requestId === undefined && item.delayMs === undefined && named === undefined) return item as ItemPayload;
  const { requestId: _requestId, delayMs = 0, dependsOn: _dependsOn, ...payload } = item;
  const dependsOn = named === undefined ? undefined : { dependsOn: [...named] };
  return { ...payload, ...(delayMs === 0 ? undefined : { notBefore: at + delayMs }), ...dependsOn };
}
