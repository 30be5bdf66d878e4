/** The queue in the plainest way: one array, full scans, every rule of order, time and attempts written down anew. The core must agree with it. */
import type { EnqueueItem, RetryPolicy } from "../../contracts/commands.ts";
import type { Exclusivity, ShardOptions } from "../../contracts/options.ts";

interface ModelLease {
  readonly token: number;
  readonly principal: string;
  readonly peerId: string;
  readonly grantedAt: number;
  readonly grantMs: number;
  renewedAt: number;
  durationMs: number;
  expiresAt: number;
}

type Outcome = "completed" | "requeued" | "deadLettered";

export interface ModelItem {
  readonly itemId: string;
  readonly sequence: number;
  readonly enqueuedAt: number;
  readonly payload: EnqueueItem;
  readonly exclusivity: Exclusivity;
  /** How much earlier it counts for each priority. ms. */
  readonly priorityMs: number;
  status: "pending" | "leased" | "completed" | "deadLettered";
  attempt: number;
  charged: number;
  notBefore: number;
  lease?: ModelLease | undefined;
  lastEnd?: { verb: string; token: number; principal: string; contents: string; outcome: Outcome };
  deadLetter?: { reason: string; code: string | undefined; at: number; halts: boolean };
}

interface Caller {
  readonly principal: string;
  readonly peerId: string;
}

interface Ref {
  readonly itemId: string;
  readonly token: number;
}

interface Failure {
  readonly reason: string;
  readonly code?: string | undefined;
  readonly requeue: boolean;
  readonly delayMs?: number | undefined;
  readonly penalty?: boolean | undefined;
}

/** More than any log time: no waiting makes up for a priority. ms. */
const FOREVER_MS = 1e14;
const EXPIRED = { code: "lease_expired", requeue: true };

export class QueueModel {
  options: ShardOptions;
  readonly items: ModelItem[] = [];
  /** What must stand in the log, in order: the type, and the item that it is about. */
  readonly events: string[] = [];
  sequence: number;
  paused = false;
  at = 0;
  /** What the leader draws. */
  chance = 0;

  constructor(options: ShardOptions, sequence: number) {
    this.options = options;
    this.sequence = sequence;
  }

  count(status: ModelItem["status"]): number {
    return this.items.filter((item) => item.status === status).length;
  }

  /** Answers the id of the item, old or new, or the code of the refusal. */
  enqueue(payload: EnqueueItem): string {
    const { requestId, delayMs, notAfter, leaseDurationMs = 0, priority = 0 } = payload;
    const known = this.items.find((item) => requestId !== undefined && item.payload.requestId === requestId);
    if (known !== undefined && JSON.stringify(known.payload) === JSON.stringify(payload)) return known.itemId;
    const notBefore = delayMs === undefined || delayMs === 0 ? (payload.notBefore ?? 0) : this.at + delayMs;
    if (notAfter !== undefined && (notAfter <= this.at || notAfter <= notBefore)) return "invalid_argument";
    if (leaseDurationMs > this.options.leaseDurationMsMax) return "invalid_argument";
    if (known !== undefined) return "conflict";
    const { exclusivity, ageingMs } = this.options;
    const itemId = (this.sequence + 1).toString(36);
    this.write("enqueued", itemId);
    this.items.push({
      itemId,
      sequence: this.sequence,
      enqueuedAt: this.at,
      payload,
      exclusivity: payload.exclusivity ?? exclusivity,
      priorityMs: priority * (ageingMs === 0 ? FOREVER_MS : ageingMs),
      status: "pending",
      attempt: 0,
      charged: 0,
      notBefore,
    });
    return itemId;
  }

  /** Answers what is granted, in order, or the code of the refusal. */
  lease(
    { principal, peerId }: Caller,
    request: { maxItems: number; resourceTypes?: readonly string[] | undefined; leaseDurationMs?: number | undefined },
  ): readonly ModelItem[] | string {
    const { leaseDurationMsMax, leaseDurationMsDefault, leasesPerPeerMax, leaseAgeMsMax } = this.options;
    if ((request.leaseDurationMs ?? 0) > leaseDurationMsMax) return "invalid_argument";
    const held = this.items.filter((item) => item.lease?.peerId === peerId).length;
    if (held >= leasesPerPeerMax) return "resource_exhausted";
    if (this.paused) return [];
    this.bury();
    const granted: ModelItem[] = [];
    while (granted.length < Math.min(request.maxItems, leasesPerPeerMax - held)) {
      const item = this.next(request.resourceTypes);
      if (item === undefined) break;
      this.write("leased", item.itemId);
      const ownMs = Math.min(item.payload.leaseDurationMs ?? leaseDurationMsDefault, leaseDurationMsMax);
      const durationMs = request.leaseDurationMs ?? ownMs;
      item.status = "leased";
      item.attempt += 1;
      item.lease = {
        token: this.sequence,
        principal,
        peerId,
        grantedAt: this.at,
        grantMs: durationMs,
        renewedAt: this.at,
        durationMs,
        expiresAt: this.at + Math.min(durationMs, leaseAgeMsMax),
      };
      granted.push(item);
    }
    return granted;
  }

  /** Answers the end of each lease; undefined where the caller has none. */
  heartbeat(refs: readonly Ref[], principal: string, extendMs?: number): readonly (number | undefined)[] {
    const renewed = new Map<ModelLease, number>();
    const ends = refs.map((ref) => {
      const lease = this.live(ref, principal)?.lease;
      if (lease === undefined) return undefined;
      const end = Math.min(this.at + (extendMs ?? lease.grantMs), lease.grantedAt + this.options.leaseAgeMsMax);
      const isDue = (this.at - lease.renewedAt) * 3 >= lease.durationMs && end > lease.expiresAt;
      if (extendMs === undefined && !isDue) return lease.expiresAt;
      renewed.set(lease, end);
      return end;
    });
    if (renewed.size > 0) this.write("renewed", "");
    for (const [lease, expiresAt] of renewed)
      Object.assign(lease, { renewedAt: this.at, durationMs: Math.max(1, expiresAt - this.at), expiresAt });
    return ends;
  }

  complete(ref: Ref, principal: string, result: string): Settled {
    return this.settle("completed", ref, principal, result, (item) => {
      item.status = "completed";
      return "completed";
    });
  }

  fail(ref: Ref, principal: string, failure: Failure): Settled {
    return this.settle("failed", ref, principal, JSON.stringify({ penalty: true, ...failure }), (item) =>
      this.failed(item, failure),
    );
  }

  release(ref: Ref, principal: string): Settled {
    return this.settle("released", ref, principal, "", (item) => {
      item.status = "pending";
      return "requeued";
    });
  }

  /** Answers false when there is no lease. */
  expire(itemId: string, reason: "duration" | "age"): boolean {
    const lease = this.items.find((item) => item.itemId === itemId)?.lease;
    if (lease === undefined) return false;
    const text = reason === "age" ? "the lease reached its maximum age" : "the lease ran out without a heartbeat";
    this.settle("expired", { itemId, token: lease.token }, lease.principal, "", (item) =>
      this.failed(item, { ...EXPIRED, reason: text }),
    );
    return true;
  }

  setPaused(paused: boolean): void {
    if (this.paused === paused) return;
    this.write(paused ? "paused" : "resumed", "");
    this.paused = paused;
  }

  configure(patch: Partial<ShardOptions>): void {
    const before = JSON.stringify(this.options);
    this.options = { ...this.options, ...patch };
    if (JSON.stringify(this.options) !== before) this.write("configured", "");
  }

  private write(type: string, itemId: string): void {
    this.sequence += 1;
    this.events.push(`${type} ${itemId}`);
  }

  private live({ itemId, token }: Ref, principal: string): ModelItem | undefined {
    const item = this.items.find((one) => one.itemId === itemId);
    return item?.lease?.token === token && item.lease.principal === principal ? item : undefined;
  }

  private settle(
    type: string,
    ref: Ref,
    principal: string,
    contents: string,
    end: (item: ModelItem) => Outcome,
  ): Settled {
    const item = this.live(ref, principal);
    if (item !== undefined) {
      this.write(type, item.itemId);
      item.lease = undefined;
      const outcome = end(item);
      item.lastEnd = { verb: type, token: ref.token, principal, contents, outcome };
      return { outcome, duplicate: false };
    }
    const last = this.items.find((one) => one.itemId === ref.itemId)?.lastEnd;
    const isRepeat =
      last?.verb === type && last.token === ref.token && last.principal === principal && last.contents === contents;
    return isRepeat ? { outcome: last.outcome, duplicate: true } : undefined;
  }

  private failed(item: ModelItem, { reason, code, requeue, delayMs, penalty = true }: Failure): Outcome {
    if (penalty) item.charged += 1;
    const waitMs = delayMs ?? (penalty ? this.retryMs(item) : 0);
    const isUsedUp = penalty && item.charged >= (item.payload.maxAttempts ?? this.options.maxAttempts);
    if (!requeue || isUsedUp || this.at + waitMs >= (item.payload.notAfter ?? Infinity)) {
      this.deadLetter(item, reason, code);
      return "deadLettered";
    }
    item.status = "pending";
    if (waitMs > 0) item.notBefore = this.at + waitMs;
    return "requeued";
  }

  private retryMs(item: ModelItem): number {
    const { retry, retryFirstMs: firstMs, retryMaxMs: maxMs } = this.options;
    const ofShard: Record<typeof retry, RetryPolicy> = {
      none: { kind: "none" },
      fixed: { kind: "fixed", delayMs: firstMs },
      exponential: { kind: "exponential", firstMs, maxMs },
    };
    const policy = item.payload.retry ?? ofShard[retry];
    if (policy.kind === "none") return 0;
    if (policy.kind === "fixed") return policy.delayMs;
    if (policy.kind === "list") return policy.delaysMs[item.charged - 1] ?? policy.delaysMs.at(-1) ?? 0;
    let boundMs = policy.firstMs;
    for (let failure = 1; failure < item.charged; failure += 1) boundMs *= 2;
    return Math.floor(this.chance * Math.min(boundMs, policy.maxMs));
  }

  private deadLetter(item: ModelItem, reason: string, code: string | undefined): void {
    const halts = item.exclusivity === "partition" && this.options.onDeadLetter === "halt";
    item.status = "deadLettered";
    item.deadLetter = { reason, code, at: this.at, halts };
  }

  /** Dead-letters what was not granted in its time; of a partition, only its head. */
  private bury(): void {
    const endOf = (item: ModelItem): number => item.payload.notAfter ?? Infinity;
    for (;;) {
      const [first] = this.items
        .filter((item) => item.status === "pending" && endOf(item) <= this.at)
        .filter((item) => item.exclusivity !== "partition" || this.isFree(item))
        .sort((left, right) => endOf(left) - endOf(right) || left.sequence - right.sequence);
      if (first === undefined) return;
      this.write("deadLettered", first.itemId);
      this.deadLetter(first, "it was not granted before its notAfter", "not_after");
    }
  }

  private next(types: readonly string[] | undefined): ModelItem | undefined {
    const urgency = (item: ModelItem): number => Math.max(item.enqueuedAt, item.notBefore) - item.priorityMs;
    return this.items
      .filter((item) => item.status === "pending" && item.notBefore <= this.at && this.isFree(item))
      .filter((item) => types === undefined || types.includes(item.payload.resourceType))
      .sort((left, right) => urgency(left) - urgency(right) || left.sequence - right.sequence)[0];
  }

  /** Whether no other item of its key holds it back. */
  private isFree(item: ModelItem): boolean {
    if (item.exclusivity === "none") return true;
    const others = this.items.filter((other) => other !== item && keyOf(other) === keyOf(item));
    if (item.exclusivity === "resource") return others.every((other) => other.status !== "leased");
    return others.every(
      (other) =>
        other.deadLetter?.halts !== true &&
        (other.sequence > item.sequence || (other.status !== "pending" && other.status !== "leased")),
    );
  }
}

/** undefined: the caller does not have the lease, or settled it otherwise. */
export type Settled = { readonly outcome: Outcome; readonly duplicate: boolean } | undefined;

function keyOf({ exclusivity, payload }: ModelItem): string {
  const { resourceType, resourceId, partitionKey } = payload;
  const isOfPartition = exclusivity === "partition" && partitionKey !== undefined;
  return JSON.stringify([exclusivity, ...(isOfPartition ? [partitionKey] : [resourceType, resourceId])]);
}
