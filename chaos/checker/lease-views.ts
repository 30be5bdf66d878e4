/** What the answer to a lease request must tell of each lease, put together from the log alone. */
import { isDeepStrictEqual } from "node:util";
import type { ReplyOf } from "../../contracts/replies.ts";
import type { Enqueued } from "./log-index.ts";
import type { LogTruth } from "./log-truth.ts";
import type { NaiveItem } from "./naive-item.ts";

type Lease = ReplyOf<"lease">["leases"][number];
interface Placed<Value> {
  readonly sequence: number;
  readonly value: Value;
}

const BEATS_PER_LEASE = 3;
const ENCODING_DEFAULT = "application/json";
const EXPIRED = {
  duration: "the lease ran out without a heartbeat",
  age: "the lease reached its maximum age",
} as const;

/** Invariant: the lists are in the order of the log. */
export class LeaseViews {
  /** By token: how long each renewal made the lease. ms. */
  readonly #renewed = new Map<number, Placed<number>[]>();
  /** By item: its last error as of each failure and expiry. */
  readonly #failed = new Map<string, Placed<Lease["lastError"]>[]>();

  constructor({ frames }: LogTruth) {
    const grants = new Map<string, { readonly attempt: number; readonly peerId: string }>();
    for (const { events, first, at, actors } of frames)
      for (const [index, event] of events.entries()) {
        const sequence = first + index;
        if (event.type === "leased")
          grants.set(event.itemId, { attempt: event.attempt, peerId: actors[event.actor]?.peerId ?? "" });
        else if (event.type === "renewed")
          for (const { token, durationMs } of event.leases) place(this.#renewed, token, sequence, durationMs);
        else if (event.type === "failed" || event.type === "expired") {
          const { attempt = 0, peerId = "" } = grants.get(event.itemId) ?? {};
          const { reason, code } =
            event.type === "failed" ? event : { reason: EXPIRED[event.reason], code: "lease_expired" };
          place(this.#failed, event.itemId, sequence, { reason, code, attempt, peerId, at });
        }
      }
  }

  /** Names of the fields that tell otherwise than the log did at this sequence, at which the item is leased. */
  wrongFields(told: Lease, { event }: Enqueued, known: NaiveItem, sequence: number): readonly string[] {
    const { token, grantMs = 0 } = known.lease ?? {};
    const durationMs = latest(this.#renewed.get(token ?? 0), sequence) ?? grantMs;
    const { resourceType, resourceId, partitionKey, payloadEncoding, body, attributes } = event.item;
    const expected = {
      fenceKey: fenceKeyOf(known, event.item),
      heartbeatMs: Math.max(1, Math.floor(durationMs / BEATS_PER_LEASE)),
      enqueuedAt: known.enqueuedAt,
      lastError: latest(this.#failed.get(known.itemId), sequence),
      item: {
        ...{ resourceType, resourceId, partitionKey, requestId: event.requestId },
        ...{ payloadEncoding: payloadEncoding ?? ENCODING_DEFAULT, body: body ?? "", attributes: attributes ?? {} },
      },
    };
    return Object.entries(expected)
      .filter(([name, value]) => !isDeepStrictEqual(onWire(told[name]), onWire(value)))
      .map(([name, value]) => `${name} ${JSON.stringify(told[name])}, not ${JSON.stringify(value)}`);
  }
}

function place<Key, Value>(lists: Map<Key, Placed<Value>[]>, key: Key, sequence: number, value: Value): void {
  const list = lists.get(key) ?? [];
  lists.set(key, list);
  list.push({ sequence, value });
}

/** The last one up to a sequence. */
const latest = <Value>(list: readonly Placed<Value>[] = [], sequence: number): Value | undefined =>
  list.findLast((placed) => placed.sequence <= sequence)?.value;

/** As it is after its way as JSON, where what is undefined is absent. */
const onWire = (value: unknown): unknown => (value === undefined ? undefined : JSON.parse(JSON.stringify(value)));

/** The same for two items exactly when they exclude each other: a type or partition with a slash is told from two parts. */
function fenceKeyOf({ exclusivity, itemId }: NaiveItem, item: Enqueued["event"]["item"]): string {
  const { resourceType, resourceId, partitionKey } = item;
  const whole = (part: string) => (/[/%]/.test(part) ? part.replaceAll("%", "%25").replaceAll("/", "%2F") : part);
  if (exclusivity === "none") return `item/${itemId}`;
  if (exclusivity === "partition" && partitionKey !== undefined) return `partition/${whole(partitionKey)}`;
  return `${exclusivity}/${whole(resourceType)}/${resourceId}`;
}
