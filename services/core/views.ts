/** Items as replies show them. */

import type { EndedRecord } from "./ended-record.ts";
import { flowLength, type ItemFlow } from "./flow.ts";
import type { Item, LastErrorRecord } from "./item.ts";
import { originOf } from "./item-origin.ts";
import { EVENT_BYTES, ITEM_RECORD_BYTES, RETRY_BYTES } from "./limits.ts";
import { jsonLength, payloadLength } from "./sizes.ts";
import { maxAttemptsOf, type ShardState, sequenceOfItemId } from "./state.ts";

/** How much of an item a reply shows: `full`, `withoutBody`, or only its `state` (no payload, no reasons). */
export type ViewDepth = "full" | "withoutBody" | "state";

const PAYLOAD_ENCODING_DEFAULT = "application/json";
const NO_ATTRIBUTES: Readonly<Record<string, string>> = Object.freeze({});

/** The item as a worker sees it, with defaults filled in. */
export function itemView(item: Item, withBody: boolean): object {
  return {
    resourceType: item.resourceType,
    resourceId: item.resourceId,
    // JSON leaves out what is undefined.
    partitionKey: item.partitionKey,
    payloadEncoding: item.payloadEncoding ?? PAYLOAD_ENCODING_DEFAULT,
    body: withBody ? (item.body ?? "") : "",
    attributes: item.attributes ?? NO_ATTRIBUTES,
    // That of a restored item is no request's.
    requestId: originOf(item) === undefined ? item.requestId : undefined,
  };
}

export function lastErrorView(error: LastErrorRecord) {
  const { reason, code, attempt, peerId, at } = error;
  return { reason, ...(code === undefined ? undefined : { code }), attempt, peerId, at };
}

/** The item as an operator sees it. Cut to its state it says `truncated: true`. */
export function itemRecord(state: ShardState, item: Item, depth: ViewDepth): object {
  const { lease, lastError, deadLetter, extra } = item;
  return {
    itemId: item.itemId,
    status: item.status,
    sequence: item.sequence,
    enqueuedAt: item.enqueuedAt,
    exclusivity: item.exclusivity,
    attempt: item.attempt,
    charged: item.charged,
    maxAttempts: maxAttemptsOf(state, item),
    ...termsView(item),
    enqueuedBy: item.principal,
    ...originView(item),
    ...(lease === undefined
      ? undefined
      : {
          lease: {
            token: lease.token,
            principal: lease.principal,
            peerId: lease.peerId,
            grantedAt: lease.grantedAt,
            expiresAt: lease.expiresAt,
          },
        }),
    ...(depth === "state"
      ? { truncated: true }
      : {
          item: itemView(item, depth === "full"),
          ...(lastError === undefined ? undefined : { lastError: lastErrorView(lastError) }),
          ...dependenciesView(extra?.flow, depth === "full"),
          ...(deadLetter === undefined ? undefined : { deadLetter: deadLetterView(deadLetter) }),
        }),
  };
}

/** Without results a page of a list stays short. */
function dependenciesView(flow: ItemFlow | undefined, withResults: boolean): object | undefined {
  if (flow === undefined) return undefined;
  const { dependencies, policy: onDependencyFailure } = flow;
  if (withResults) return { dependencies, onDependencyFailure };
  return { dependencies: dependencies.map(({ itemId, outcome }) => ({ itemId, outcome })), onDependencyFailure };
}

/** What it names of its order and its time; a delay also when it is over. */
function termsView({ terms, delayedTo, extra }: Item): object | undefined {
  if (terms === undefined && delayedTo === 0 && extra === undefined) return undefined;
  const { priority, notAfter, leaseDurationMs, retry, uniqueKey, group, quotaKey, schedule } = terms ?? { priority: 0 };
  const { redrives, cancel, progress } = extra ?? { redrives: 0 };
  return {
    ...(priority === 0 ? undefined : { priority }),
    ...(delayedTo === 0 ? undefined : { notBefore: delayedTo }),
    ...(notAfter === undefined ? undefined : { notAfter }),
    ...(leaseDurationMs === undefined ? undefined : { leaseDurationMs }),
    ...(retry === undefined ? undefined : { retry }),
    ...(uniqueKey === undefined ? undefined : { uniqueKey }),
    ...(group === undefined ? undefined : { group }),
    ...(quotaKey === undefined ? undefined : { quotaKey }),
    ...(schedule === undefined ? undefined : { schedule }),
    ...(redrives === 0 ? undefined : { redrives }),
    ...(cancel === undefined ? undefined : { cancelRequested: cancel }),
    ...(progress === undefined ? undefined : { progress }),
  };
}

function originView(item: Pick<Item, "requestId">): object | undefined {
  const origin = originOf(item);
  return origin === undefined ? undefined : { origin };
}

/** However its lease ended, an item that was cancelled with it is `cancelled`. */
export const endedStatus = ({ ending }: EndedRecord): "completed" | "purged" | "discarded" | "cancelled" =>
  ending === "completed" || ending === "purged" || ending === "discarded" ? ending : "cancelled";

/** Of an ended item only what its record keeps. */
export function endedRecord(record: EndedRecord, withResult: boolean): object {
  return {
    itemId: record.itemId,
    status: endedStatus(record),
    sequence: sequenceOfItemId(record.itemId),
    enqueuedBy: record.principal,
    ...originView(record),
    ...(record.ending === "completed" ? { completedBy: record.settledBy } : undefined),
    // Nobody did it where the leader ended it for a dependency.
    ...(record.ending === "completed" || record.settledBy === "" ? undefined : { endedBy: record.settledBy }),
    endedSequence: record.endedSequence,
    ...(record.result === undefined ? undefined : withResult ? { result: record.result } : { truncated: true }),
  };
}

/** Bytes of `itemRecord`, rounded up. */
export function itemRecordLength(item: Item, depth: ViewDepth): number {
  if (depth === "state") return ITEM_RECORD_BYTES;
  const payload = payloadLength(item, depth === "full" ? item.bodyBytes : 0) + 6 * (item.requestId?.length ?? 0);
  const reasons = item.lastError === undefined ? 0 : 2 * (ITEM_RECORD_BYTES + jsonLength(item.lastError.reason));
  return ITEM_RECORD_BYTES + payload + reasons + extraLength(item) + flowLength(item.extra?.flow);
}

/** Bytes of what few items have, rounded up. */
function extraLength({ terms, extra }: Item): number {
  const told =
    (extra?.progress?.text ?? "") +
    (extra?.cancel?.reason ?? "") +
    (terms?.uniqueKey ?? "") +
    (terms?.group ?? "") +
    (terms?.quotaKey ?? "") +
    (terms?.schedule?.name ?? "");
  return (terms?.retry === undefined ? 0 : RETRY_BYTES) + (told === "" ? 0 : EVENT_BYTES + jsonLength(told));
}

function deadLetterView(letter: { reason: string; code: string | undefined; at: number }): object {
  return { reason: letter.reason, ...(letter.code === undefined ? undefined : { code: letter.code }), at: letter.at };
}
