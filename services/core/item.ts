/** The records of a shard's state: item, lease, end of a lease, lease request. Flat classes, for a million of them must be small. */
import type { RetryPolicy } from "../../contracts/commands.ts";
import type { Exclusivity } from "../../contracts/options.ts";
import type { EndedRecord } from "./ended-record.ts";
import { type FixedPart, OwnPart } from "./fixed-part.ts";
import type { ItemFlow } from "./flow.ts";
import type { HeapEntry } from "./indexed-heap.ts";
import { itemIdOfNumber } from "./item-id.ts";
import type { ItemKind } from "./item-kind.ts";
import { type ItemPast, NO_PAST, Standing } from "./item-rare.ts";
import type { KeyQueue } from "./key-queue.ts";

/**
 * `pending`: enqueued or given back; leasable unless its key or its delay holds it back. Left by a grant, or when its time is over.
 * `leased`: one worker has it. Left by complete (the item ends), fail, release or expiry.
 * `deadLettered`: nobody gets it any more; kept with its reason. Left by redrive, purge or cancel.
 */
export type ItemStatus = "pending" | "leased" | "deadLettered";

/** How a lease ended, as `stale_token` tells it. */
export type EndKind = "completed" | "failed" | "expired" | "released" | "drained" | "evicted";

/** The last end of a lease of an unfinished item: answers repeats of its settlement. */
export interface LeaseEnd {
  readonly token: number;
  readonly kind: EndKind;
  readonly principal: string;
  /** Of the settlement's contents, 16 hex digits; empty for all but completions and failures. */
  readonly digest: string;
  readonly outcome: "requeued" | "deadLettered";
  readonly high: number;
  readonly low: number;
}

export interface LastErrorRecord {
  readonly reason: string;
  readonly code: string | undefined;
  readonly attempt: number;
  readonly peerId: string;
  readonly at: number;
  readonly high: number;
  readonly low: number;
}

export interface DeadLetter {
  readonly reason: string;
  readonly code: string | undefined;
  readonly at: number;
  /** Whether its partition stands still since then. */
  readonly halts: boolean;
  readonly high: number;
  readonly low: number;
}

/** Invariant: expiresAt <= grantedAt + the leaseAgeMsMax of the time it was set; grantedAt <= renewedAt. */
export interface LiveLease {
  readonly token: number;
  readonly principal: string;
  readonly peerId: string;
  readonly grantedAt: number;
  /** Length of the grant, and of every renewal that names no other. ms. */
  readonly grantMs: number;
  readonly request: LeaseRequestRecord | undefined;
  /** Hash of the fields above. */
  high: number;
  low: number;
  renewedAt: number;
  /** Length since the last renewal. ms. */
  durationMs: number;
  expiresAt: number;
}

/** A `lease` request with an id; remembered while one of its leases lives. */
export class LeaseRequestRecord {
  readonly principal: string;
  readonly requestId: string;
  readonly digest: string;
  sameId: LeaseRequestRecord | undefined = undefined;
  /** Everything it was granted, in order; some may have ended. */
  readonly items: Item[] = [];
  liveCount = 0;

  constructor(principal: string, requestId: string, digest: string) {
    this.principal = principal;
    this.requestId = requestId;
    this.digest = digest;
  }
}

/** What few items name at their enqueue. */
export interface ItemTerms {
  readonly priority: number;
  /** How much earlier than its time it counts in the order of leasing, by its priority and the shard's ageing then. ms. */
  readonly boost: number;
  readonly notAfter: number | undefined;
  readonly leaseDurationMs: number | undefined;
  readonly retry: RetryPolicy | undefined;
  readonly uniqueKey: string | undefined;
  readonly group: string | undefined;
  readonly quotaKey: string | undefined;
  /** The tick that made it; only where one did. */
  readonly schedule?: { readonly name: string; readonly tick: number };
}

/** What happens to few items; replaced as a whole. */
export interface ItemExtra {
  /** How often it was redriven; from then on its `notAfter` is without meaning. */
  readonly redrives: number;
  /** Event sequence of its last redrive if a drain was on then, which has not marked it; 0 else. */
  readonly redrivenAt: number;
  /** Who wants it no more, while it is leased. */
  readonly cancel: { readonly reason: string | undefined; readonly principal: string; readonly at: number } | undefined;
  /** What its last heartbeat told. */
  readonly progress: { readonly text: string; readonly at: number } | undefined;
  /** What it depends on, from its enqueue on. */
  readonly flow: ItemFlow | undefined;
}

/** The end of the time in which a pending item may be granted, in the heap of those. */
export interface Lapse extends HeapEntry {
  readonly item: Item;
}

/** What an item is made of beside its kind; see `Item`. */
export type ItemFields = Pick<
  Item,
  | "sequence"
  | "enqueuedAt"
  | "resourceId"
  | "partitionKey"
  | "body"
  | "attributes"
  | "requestId"
  | "digest"
  | "terms"
  | "delayedTo"
>;

/**
 * One piece of work until it is completed. A million of them are kept: what they have in common stands in their kind, what happens to few of
 * them in a record apart.
 * Invariant: lease is there exactly while status is leased; deadLetter exactly while it is deadLettered; charged <= attempt.
 */
export class Item implements HeapEntry {
  /** Event sequence of its `enqueued`. */
  readonly sequence: number;
  readonly kind: ItemKind;
  /** How long after the first of its kind; a small integer, for a time would be an object of its own. ms. */
  private readonly enqueuedAfterMs: number;
  /** What never changes beside that. Replaced by one that says the same. */
  part: FixedPart;
  readonly terms: ItemTerms | undefined;

  /** Its attempts and, in the lowest bits, its status. */
  private course = 0;
  lease: LiveLease | undefined = undefined;
  private past: ItemPast | undefined = undefined;

  /** Place in the lane, among the delayed, among those that wait for their resource, or in the list of leased items. Derived. */
  slot = -1;
  private standing: Standing | undefined = undefined;
  /** Hash of the whole item. */
  high = 0;
  low = 0;

  constructor(fields: ItemFields, kind: ItemKind) {
    const { resourceId, body, requestId, digest, partitionKey } = fields;
    this.sequence = fields.sequence;
    this.kind = kind;
    this.enqueuedAfterMs = kind.afterMs(fields.enqueuedAt);
    this.part = new OwnPart(resourceId, body, requestId, digest);
    this.terms = fields.terms;
    if (partitionKey !== undefined) this.standing = new Standing(partitionKey);
    if (fields.attributes !== undefined) this.history().attributes = fields.attributes;
    if (fields.delayedTo !== 0) this.delayedTo = fields.delayedTo;
  }

  /** The number that its id is: its sequence, with the epoch of its enqueue. */
  get number(): number {
    return this.kind.tokenBase + this.sequence;
  }

  /** Put together when it is asked for: a million kept texts would weigh more than the rest of most records. */
  get itemId(): string {
    return itemIdOfNumber(this.number);
  }

  get resourceId(): string {
    return this.part.resourceIdOf(this.sequence);
  }

  get body(): string | undefined {
    return this.part.bodyOf(this.sequence);
  }

  /** Of the body as JSON; known with the hashes. */
  get bodyBytes(): number {
    return this.part.bodyBytesOf(this.sequence);
  }

  get status(): ItemStatus {
    return STATUSES[this.course & STATUS_MASK] as ItemStatus;
  }

  set status(status: ItemStatus) {
    const index = status === "pending" ? 0 : status === "leased" ? 1 : 2;
    this.course = (this.course & ~STATUS_MASK) | index;
  }

  get attempt(): number {
    return this.course >>> STATUS_BITS;
  }

  set attempt(attempt: number) {
    this.course = (attempt << STATUS_BITS) | (this.course & STATUS_MASK);
  }

  get requestId(): string | undefined {
    return this.part.requestIdOf(this.sequence);
  }

  /** Of what the request asked for; only with a request id. */
  get digest(): string | undefined {
    return this.part.digestOf(this.sequence);
  }

  get sameId(): Item | undefined {
    return this.standing?.sameId;
  }

  set sameId(item: Item | undefined) {
    if (this.standing !== undefined) this.standing.sameId = item;
    else if (item !== undefined) this.place().sameId = item;
  }

  get partitionKey(): string | undefined {
    return this.standing?.partitionKey;
  }

  get key(): KeyQueue | undefined {
    return this.standing?.key;
  }

  set key(key: KeyQueue | undefined) {
    if (this.standing !== undefined) this.standing.key = key;
    else if (key !== undefined) this.place().key = key;
  }

  get nextOfKey(): Item | undefined {
    return this.standing?.nextOfKey;
  }

  set nextOfKey(item: Item | undefined) {
    if (this.standing !== undefined) this.standing.nextOfKey = item;
    else if (item !== undefined) this.place().nextOfKey = item;
  }

  get previousOfKey(): Item | undefined {
    return this.standing?.previousOfKey;
  }

  set previousOfKey(item: Item | undefined) {
    if (this.standing !== undefined) this.standing.previousOfKey = item;
    else if (item !== undefined) this.place().previousOfKey = item;
  }

  private place(): Standing {
    this.standing ??= new Standing(undefined);
    return this.standing;
  }

  get attributes(): Readonly<Record<string, string>> | undefined {
    return this.past?.attributes;
  }

  get enqueuedAt(): number {
    return this.kind.since + this.enqueuedAfterMs;
  }

  /** Who enqueued it. */
  get principal(): string {
    return this.kind.principal;
  }

  /** Fixed at enqueue, so that `configure` never changes what waits for what. */
  get exclusivity(): Exclusivity {
    return this.kind.exclusivity;
  }

  get resourceType(): string {
    return this.kind.resourceType;
  }

  get payloadEncoding(): string | undefined {
    return this.kind.payloadEncoding;
  }

  get maxAttempts(): number | undefined {
    return this.kind.maxAttempts;
  }

  /** Attempts that count towards the maximum. */
  get charged(): number {
    return this.past?.charged ?? 0;
  }

  set charged(count: number) {
    this.history().charged = count;
  }

  /** Log time from which on it is granted, by its enqueue or its last failure; 0 when it was never delayed. ms. */
  get delayedTo(): number {
    return this.past?.delayedTo ?? 0;
  }

  set delayedTo(at: number) {
    this.history().delayedTo = at;
  }

  get lastEnd(): LeaseEnd | undefined {
    return this.past?.lastEnd;
  }

  set lastEnd(end: LeaseEnd | undefined) {
    this.history().lastEnd = end;
  }

  get lastError(): LastErrorRecord | undefined {
    return this.past?.lastError;
  }

  set lastError(error: LastErrorRecord | undefined) {
    this.history().lastError = error;
  }

  get deadLetter(): DeadLetter | undefined {
    return this.past?.deadLetter;
  }

  set deadLetter(letter: DeadLetter | undefined) {
    this.history().deadLetter = letter;
  }

  get extra(): ItemExtra | undefined {
    return this.past?.extra;
  }

  set extra(extra: ItemExtra | undefined) {
    this.history().extra = extra;
  }

  private history(): ItemPast {
    this.past ??= { ...NO_PAST };
    return this.past;
  }

  /** Order of leasing: by the time since which it may be leased, moved ahead by its priority. ms. */
  get rank(): number {
    const { enqueuedAt, delayedTo, terms } = this;
    // A time before the enqueue is no earlier place.
    const sinceMs = Math.max(enqueuedAt, delayedTo);
    return terms === undefined ? sinceMs : sinceMs - terms.boost;
  }

  /** Of equal ranks the older one comes first. */
  get tie(): number {
    return this.sequence;
  }
}

const STATUSES: readonly ItemStatus[] = ["pending", "leased", "deadLettered"];
const STATUS_BITS = 2;
const STATUS_MASK = 3;

/** Log time from which on a pending item is granted no more; undefined for never. ms. */
export function notAfterOf({ terms, extra }: Item): number | undefined {
  return extra !== undefined && extra.redrives > 0 ? undefined : terms?.notAfter;
}

/** What a request id of `enqueue` leads to. */
export type Remembered = Item | EndedRecord;
