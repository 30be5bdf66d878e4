/** The state of one shard: compact structures that `apply` alone changes. No command costs more because a million items are there. */

import type { EndedDrain, ItemOrigin } from "../../contracts/drain.ts";
import type { Follower } from "../../contracts/followers.ts";
import { tokenOf } from "../../contracts/ids.ts";
import { TOKEN_EPOCH_STEP } from "../../contracts/limits.ts";
import { SHARD_OPTIONS_DEFAULT, type ShardOptions, type ShardOptionsPatch } from "../../contracts/options.ts";
import type { Quota } from "../../contracts/quotas.ts";
import type { Drain } from "./drain-state.ts";
import { EndedRecords } from "./ended-records.ts";
import { HashSum } from "./hasher.ts";
import type { Item, LeaseRequestRecord, Remembered } from "./item.ts";
import { itemIdOfNumber } from "./item-id.ts";
import { ItemKinds } from "./item-kind.ts";
import { originRequestId } from "./item-origin.ts";
import { ItemTable } from "./item-table.ts";
import { INTERNED_MAX } from "./limits.ts";
import { PartPacker } from "./part-packer.ts";
import { Ready } from "./ready.ts";
import { RequestIndex } from "./request-index.ts";
import { Schedules } from "./schedules.ts";
import { SequenceIndex } from "./sequence-index.ts";
import type { SnapshotCut } from "./snapshot-cut.ts";

/**
 * Invariant: enqueuedTotal = pending + active + deadLettered + completedTotal + removedTotal.
 * Invariant: bodyBytes is the sum over pending and leased items; records.size <= options.recordsMax; records.resultCount <= options.resultsMax.
 */
export class ShardState {
  /** Empty before `logCreated`. */
  logId = "";
  logVersion = 0;
  term = 0;
  /** Peer id of the leader; empty when nobody leads. */
  leader = "";
  tokenEpoch = 0;
  /** Sequence of the last event that was applied. */
  sequence = 0;
  /** Log time of the last event or frame. ms. Not hashed: an empty frame moves it too. */
  at = 0;
  options: ShardOptions = SHARD_OPTIONS_DEFAULT;
  /** Registered followers of the log, sorted by name. */
  followers: ReadonlyMap<string, Follower> = new Map();
  /** By name, sorted. */
  quotas: ReadonlyMap<string, Quota> = new Map();
  paused = false;
  drain: Drain | undefined = undefined;
  /** Newest drains that are over, oldest first. */
  endedDrains: readonly EndedDrain[] = [];

  pending = 0;
  active = 0;
  deadLettered = 0;
  enqueuedTotal = 0;
  completedTotal = 0;
  /** Items that were cancelled, purged or discarded. */
  removedTotal = 0;
  bodyBytes = 0;
  /** Log time since which it refuses items for its watermarks; see `isPressed`. Always undefined in a log of state version 1. ms. */
  pressedAt: number | undefined = undefined;

  /** Pending, leased and dead-lettered items by id. */
  readonly items = new ItemTable<Item>();
  /** Ended items by id, at most options.recordsMax. */
  readonly records = new EndedRecords();
  /** What ended at or below this sequence may have been forgotten. 0 while nothing was. */
  horizon = 0;
  readonly schedules = new Schedules();

  /** Derived from here on, but for the lease requests and the sums of hashes. */
  /** By the request that made them: items that have not ended. */
  readonly enqueueRequests = new RequestIndex<Item>();
  readonly leaseRequests = new RequestIndex<LeaseRequestRecord>();
  readonly ready = new Ready();
  /** Pending and leased items in order of enqueue. */
  readonly unfinished = new SequenceIndex<Item>();
  readonly packer = new PartPacker(this.items, this.unfinished);
  /** Dead-lettered items in order of enqueue. */
  readonly deadLetters = new SequenceIndex<Item>();
  /** Leased items in no order; an item's `slot` is its place. */
  readonly leased: Item[] = [];
  readonly leasesByPeer = new Map<string, number>();
  /** Pending and leased items by their unique key. */
  readonly unique = new Map<string, Item>();
  /** By the id of an item that has not ended: those that depend on it, whatever their status. */
  readonly dependents = new Map<string, Set<Item>>();

  readonly itemSum = new HashSum();
  readonly leaseRequestSum = new HashSum();

  /** The snapshot that is being written: apply tells it what changes. No part of the state. */
  cut: SnapshotCut | undefined = undefined;

  readonly kinds = new ItemKinds();
  private readonly interned = new Map<string, string>();

  /** The one copy of a text that many items share. Bounded, and without meaning. */
  intern(text: string): string {
    const known = this.interned.get(text);
    if (known !== undefined) return known;
    if (this.interned.size >= INTERNED_MAX) this.interned.clear();
    this.interned.set(text, text);
    return text;
  }
}

/** The state before the log's first event. */
export function createState(): ShardState {
  return new ShardState();
}

/** The id of the item that an `enqueued` of this sequence makes. */
export function itemIdOf(tokenEpoch: number, sequence: number): string {
  return itemIdOfNumber(tokenOf(tokenEpoch, sequence));
}

/** The event sequence of the `enqueued` that made an id. */
export function sequenceOfItemId(itemId: string): number {
  return Number.parseInt(itemId, 36) % TOKEN_EPOCH_STEP;
}

/** What a request id of a principal made, if it is remembered. */
export function rememberedOf(state: ShardState, principal: string, requestId: string): Remembered | undefined {
  return state.enqueueRequests.find(principal, requestId) ?? state.records.made(principal, requestId);
}

/** What was made of an item of an export. */
export function restoredFrom(state: ShardState, origin: ItemOrigin): Remembered | undefined {
  const requestId = originRequestId(origin);
  return state.enqueueRequests.first(requestId) ?? state.records.madeByAnyone(requestId);
}

/** Charged attempts after which an item is dead-lettered. */
export function maxAttemptsOf(state: ShardState, item: Item): number {
  return item.maxAttempts ?? state.options.maxAttempts;
}

/** Why a lease will end when its present time has run out: its age is used up, or nobody renewed it. */
export function expiryReasonOf(state: ShardState, item: Item): "duration" | "age" {
  const lease = item.lease;
  return lease !== undefined && lease.expiresAt - lease.grantedAt >= state.options.leaseAgeMsMax ? "age" : "duration";
}

/** The options after a change; what the change does not name stays. */
export function mergeOptions(options: ShardOptions, patch: ShardOptionsPatch): ShardOptions {
  const named = Object.entries(patch).filter(([, value]) => value !== undefined);
  return { ...options, ...(Object.fromEntries(named) as Partial<ShardOptions>) };
}

/** Followers, or quotas, after a change by name, sorted; null takes one out. */
export function mergeNamed<Value>(
  named: ReadonlyMap<string, Value>,
  patch: Readonly<Record<string, Value | null>>,
): ReadonlyMap<string, Value> {
  const merged = new Map(named);
  for (const [name, value] of Object.entries(patch))
    if (value === null) merged.delete(name);
    else merged.set(name, value);
  return new Map([...merged].sort(([left], [right]) => (left < right ? -1 : 1)));
}

/** Takes over quotas, also for what waits and what is leased. */
export function setQuotas(state: ShardState, quotas: ReadonlyMap<string, Quota>): void {
  state.quotas = quotas;
  state.ready.lanes.meters.configure(quotas, state.at);
}
