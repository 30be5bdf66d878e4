/** What the naive model knows of an item, and what it must be told of the requests. */
import type { ItemPayload } from "../../contracts/commands.ts";
import type { ItemOrigin } from "../../contracts/drain.ts";
import type { ShardOptions } from "../../contracts/options.ts";
import type { NaiveFlow } from "./naive-flows.ts";
import type { NaiveShared } from "./naive-shares.ts";
import type { FailureWish, NaiveTerms } from "./naive-terms.ts";

export type NaiveStatus = "pending" | "leased" | "deadLettered" | "completed" | "cancelled" | "purged" | "discarded";

interface NaiveLease {
  readonly token: number;
  readonly principal: string;
  readonly peerId: string;
  readonly grantedAt: number;
  readonly grantMs: number;
  /** Of the lease request, if it had one. */
  readonly requestId: string | undefined;
  expiresAt: number;
}

/** Who did something to an item, and at which sequence. */
interface NaiveDeed {
  readonly principal: string;
  readonly sequence: number;
}

export interface NaiveItem extends NaiveTerms, NaiveShared {
  readonly itemId: string;
  readonly principal: string;
  readonly requestId: string | undefined;
  readonly uniqueKey: string | undefined;
  readonly flow: NaiveFlow | undefined;
  readonly exclusivity: "none" | "resource" | "partition";
  /** What excludes others: the same for two items exactly when they exclude each other; empty for none. */
  readonly key: string;
  /** Of a restored item: the one that it was made of. */
  readonly origin: ItemOrigin | undefined;
  status: NaiveStatus;
  attempt: number;
  /** A dead letter that stops its partition. */
  halts: boolean;
  lease: NaiveLease | undefined;
  /** Each status with the sequence from which on it holds. */
  readonly history: { readonly sequence: number; readonly status: NaiveStatus }[];
  /** Who asked its holder to stop; only an item that is leased is asked for. */
  cancel: NaiveDeed | undefined;
  /** Who ended it without a lease. */
  endedBy: NaiveDeed | undefined;
  /** `delayMs`: how long it was held back. */
  readonly redrives: (NaiveDeed & { readonly delayMs: number })[];
  /** Everything that its holders told, in order. */
  readonly progress: { readonly sequence: number; readonly text: string }[];
  /** What its completion left, until that is forgotten. */
  result: string | undefined;
}

/** An item at its enqueue; `at`: log time. ms. */
export function newItem(
  payload: Omit<ItemPayload, "dependsOn">,
  enqueue: Pick<NaiveItem, "itemId" | "sequence" | "principal" | "requestId" | "flow"> & {
    /** When it was enqueued: of a restored item in the log that it comes from. ms. */
    readonly at: number;
    readonly origin?: ItemOrigin;
  },
  options: ShardOptions,
): NaiveItem {
  const { at, origin, ...names } = enqueue;
  const { resourceType, resourceId, partitionKey, exclusivity = options.exclusivity } = payload;
  const resource = JSON.stringify([resourceType, resourceId]);
  const partition = partitionKey === undefined ? `r${resource}` : `p${partitionKey}`;
  return {
    ...{ ...names, uniqueKey: payload.uniqueKey, exclusivity, resourceType, origin },
    ...{ group: payload.group, quotaKey: payload.quotaKey },
    key: exclusivity === "none" ? "" : `${exclusivity} ${exclusivity === "resource" ? resource : partition}`,
    ...{ enqueuedAt: at, priority: payload.priority ?? 0, ageingMs: options.ageingMs },
    ...{ notBefore: payload.notBefore ?? 0, notAfter: payload.notAfter ?? Number.POSITIVE_INFINITY },
    ...{ leaseDurationMs: payload.leaseDurationMs, retry: payload.retry, maxAttempts: payload.maxAttempts },
    ...{ status: "pending", attempt: 0, charged: 0, halts: false, lease: undefined, history: [] },
    ...{ cancel: undefined, endedBy: undefined, redrives: [], progress: [], result: undefined },
  };
}

/** The status of an item at a sequence; undefined before it was enqueued. */
export function statusAt(item: NaiveItem, sequence: number): NaiveStatus | undefined {
  let status: NaiveStatus | undefined;
  for (const change of item.history) if (change.sequence <= sequence) status = change.status;
  return status;
}

/** Every status that an item has had since a sequence. */
export function statusesSince(item: NaiveItem, sequence: number): readonly (NaiveStatus | undefined)[] {
  const later = item.history.filter((change) => change.sequence > sequence);
  return [statusAt(item, sequence), ...later.map(({ status }) => status)];
}

/** Whether nobody gets it any more, and nothing brings it back. */
export const isEnded = (status: NaiveStatus | undefined): boolean =>
  status === "completed" || status === "cancelled" || status === "purged" || status === "discarded";

/** Whether it has its unique key. */
export const isUnfinished = (status: NaiveStatus | undefined): boolean => status === "pending" || status === "leased";

/** How a lease ended: verb, who, and with which digest. */
export interface NaiveEnd {
  readonly type: "completed" | "failed" | "released" | "expired" | "drained" | "evicted";
  readonly itemId: string;
  readonly principal: string;
  readonly outcome: string;
  readonly sequence: number;
}

/** What a lease request asked for, as its client sent it. */
export interface LeaseWish {
  readonly peerId: string;
  readonly maxItems: number;
  readonly leaseDurationMs: number | undefined;
  readonly resourceTypes: readonly string[] | undefined;
}

export interface NaiveWorld {
  readonly fail: (invariant: string, message: string) => void;
  /** Hears of every check, failed or not. */
  readonly checked?: (invariant: string) => void;
  /** Hears of every event that was taken, its sequence being that of the model. */
  readonly moved?: () => void;
  readonly wishOf: (principal: string, requestId: string) => LeaseWish | undefined;
  /** How anybody asked that this lease fail. */
  readonly failuresOf: (token: number) => readonly FailureWish[];
  /** Whether an enqueue tells from when its id is, so that it is refused rather than done twice. */
  readonly isDated: (principal: string, requestId: string) => boolean;
}
