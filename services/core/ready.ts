/** Who is next: lanes of leasable items by resource type, and the queues of keys behind them. Derived from the items, never hashed. */
import assert from "node:assert/strict";
import type { ShardOptions } from "../../contracts/options.ts";
import { type HeapEntry, IndexedHeap } from "./indexed-heap.ts";
import { type Item, KeyQueue } from "./item.ts";
import { RankQueue } from "./rank-queue.ts";
import { StripedMap } from "./striped-map.ts";

/** The leasable items of one resource type. Invariant: never empty; rank is that of its first item. */
export class Lane implements HeapEntry {
  readonly resourceType: string;
  readonly items = new RankQueue<Item>();
  rank = 0;
  slot = -1;

  constructor(resourceType: string) {
    this.resourceType = resourceType;
  }
}

/** `/` and `%` are escaped where two parts meet or an other kind of key could read the same. */
const escaped = (part: string): string =>
  part.includes("/") || part.includes("%") ? part.replaceAll("%", "%25").replaceAll("/", "%2F") : part;

/**
 * What a token is compared for at a store. Two items have the same fence key exactly when they exclude each other.
 * A partition item without a partition key is in the partition of its resource: `partition/<type>/<id>`.
 */
export function fenceKey(
  item: Pick<Item, "exclusivity" | "itemId" | "resourceType" | "resourceId" | "partitionKey">,
): string {
  switch (item.exclusivity) {
    case "none":
      return `item/${item.itemId}`;
    case "resource":
      return `resource/${escaped(item.resourceType)}/${item.resourceId}`;
    case "partition":
      return item.partitionKey === undefined
        ? `partition/${escaped(item.resourceType)}/${item.resourceId}`
        : `partition/${escaped(item.partitionKey)}`;
  }
}

/** Whether a dead letter of this item stops its partition. */
export function haltsPartition(item: Item, options: ShardOptions): boolean {
  return item.exclusivity === "partition" && options.onDeadLetter === "halt";
}

/** Invariant: an item is in a lane exactly when it is pending and no older item of its key holds it back. */
export class Ready {
  readonly lanes = new StripedMap<Lane>();
  readonly byHead = new IndexedHeap<Lane>();
  readonly keys = new StripedMap<KeyQueue>();
  /** Resource types that got something leasable since the leader looked last; kept only where somebody looks. */
  shown: Set<string> | undefined = undefined;

  /** Takes in a new pending item: the youngest of its key. */
  admit(item: Item): void {
    if (item.exclusivity === "none") {
      this.show(item);
      return;
    }
    if (this.queue(item)) this.show(item);
  }

  /** Takes in an item of a snapshot; they come in order of enqueue. False when an older one of its key should have held it back. */
  restore(item: Item): boolean {
    if (item.status === "pending") {
      this.admit(item);
      return true;
    }
    if (item.status === "leased") return item.exclusivity === "none" || this.queue(item);
    if (item.deadLetter?.halts !== true) return true;
    if (item.exclusivity !== "partition") return false;
    const key = this.keyOf(item);
    item.key = undefined;
    key.halted = true;
    return key.head === undefined;
  }

  /** Takes a granted item out of its lane. */
  take(item: Item): void {
    if (item.key !== undefined && (item.key.head !== item || item.key.halted))
      assert.fail(`item ${item.itemId} is not leasable`);
    const lane = this.lanes.get(item.resourceType);
    if (lane === undefined) assert.fail(`item ${item.itemId} has no lane`);
    lane.items.remove(item);
    const head = lane.items.top();
    if (head === undefined) {
      this.byHead.remove(lane);
      this.lanes.delete(lane.resourceType);
    } else if (head.rank !== lane.rank) {
      lane.rank = head.rank;
      this.byHead.moved(lane);
    }
  }

  /** Puts an item whose lease ended back in its old place. */
  giveBack(item: Item): void {
    if (item.key !== undefined && item.key.head !== item)
      assert.fail(`item ${item.itemId} is not the first of its key`);
    this.show(item);
  }

  /** Forgets a leased item that ended or was dead-lettered, and lets the next of its key come. */
  end(item: Item, halts: boolean): void {
    const key = item.key;
    if (key === undefined) return;
    if (key.head !== item) assert.fail(`item ${item.itemId} is not the first of its key`);
    key.head = item.nextOfKey;
    if (key.head === undefined) key.tail = undefined;
    item.nextOfKey = undefined;
    item.key = undefined;
    if (halts) key.halted = true;
    if (key.halted) return;
    if (key.head === undefined) this.keys.delete(key.fenceKey);
    else this.show(key.head);
  }

  /** The lanes of some resource types; undefined stands for all of them. */
  lanesOf(resourceTypes: readonly string[] | undefined): readonly Lane[] | undefined {
    if (resourceTypes === undefined) return undefined;
    const lanes = new Set<Lane>();
    for (const resourceType of resourceTypes) {
      const lane = this.lanes.get(resourceType);
      if (lane !== undefined) lanes.add(lane);
    }
    return [...lanes];
  }

  /** The oldest leasable item of some lanes. */
  next(lanes: readonly Lane[] | undefined): Item | undefined {
    if (lanes === undefined) return this.byHead.top()?.items.top();
    let oldest: Item | undefined;
    for (const lane of lanes) {
      const head = lane.items.top();
      if (head !== undefined && (oldest === undefined || head.rank < oldest.rank)) oldest = head;
    }
    return oldest;
  }

  private show(item: Item): void {
    this.shown?.add(item.resourceType);
    let lane = this.lanes.get(item.resourceType);
    if (lane === undefined) {
      lane = new Lane(item.resourceType);
      this.lanes.set(lane.resourceType, lane);
      lane.items.push(item);
      lane.rank = item.rank;
      this.byHead.push(lane);
      return;
    }
    lane.items.push(item);
    if (item.rank >= lane.rank) return;
    lane.rank = item.rank;
    this.byHead.moved(lane);
  }

  /** Makes an item the youngest of its key; true when nothing holds it back. */
  private queue(item: Item): boolean {
    const key = this.keyOf(item);
    if (key.tail === undefined) key.head = item;
    else key.tail.nextOfKey = item;
    key.tail = item;
    return key.head === item && !key.halted;
  }

  private keyOf(item: Item): KeyQueue {
    const name = fenceKey(item);
    let key = this.keys.get(name);
    if (key === undefined) {
      key = new KeyQueue(name);
      this.keys.set(name, key);
    }
    item.key = key;
    return key;
  }
}
