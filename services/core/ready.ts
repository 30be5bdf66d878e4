/** Who may be next: the lanes of leasable items, and behind them the queues of keys and what is delayed. Derived from the items, never hashed. */
import assert from "node:assert/strict";
import type { ShardOptions } from "../../contracts/options.ts";
import { failedOf, holdingFlow } from "./flow.ts";
import { IndexedHeap, isBefore } from "./indexed-heap.ts";
import { type Item, type Lapse, notAfterOf } from "./item.ts";
import type { KeyQueue } from "./key-queue.ts";
import { KeyQueues } from "./key-queues.ts";
import { Lanes } from "./lanes.ts";
import { link, unlink } from "./partition-list.ts";
import { SequenceIndex } from "./sequence-index.ts";

/** Whether a dead letter of this item stops its partition. */
export function haltsPartition(item: Item, options: ShardOptions): boolean {
  return item.exclusivity === "partition" && options.onDeadLetter === "halt";
}

/**
 * Invariant: a pending item is in a lane, unless it is among the delayed, or what it depends on or an other one of its key holds it back.
 * `at` is log time, in ms. What is delayed is let go by `release` alone, which only a leader calls: an item that was granted may be anywhere.
 */
export class Ready {
  readonly lanes = new Lanes();
  readonly keys = new KeyQueues();
  /** By the end of their delay. */
  readonly delayed = new IndexedHeap<Item>();
  /** Pending items that may be granted for some time only; of a partition only its head. */
  readonly lapses = new IndexedHeap<Lapse>();
  private readonly lapseOf = new Map<Item, Lapse>();
  /** Pending items that will not run, for one that they depend on was not completed; of a partition only its head. */
  readonly doomed = new SequenceIndex<Item>();
  /** What was delayed to this log time or before has been let go: no later frame may be of an earlier time. ms. */
  releasedAt = 0;

  /** Takes in a new pending item: the youngest of its key. */
  admit(item: Item, at: number): void {
    if (item.exclusivity === "partition" && !this.queue(item)) return;
    this.place(item, at);
  }

  /** Takes in an item of a snapshot; they come in order of enqueue. False when an older one of its key should have held it back. */
  restore(item: Item): boolean {
    if (item.status === "pending") {
      // Whatever was ever delayed counts as delayed until it is let go.
      this.admit(item, 0);
      return true;
    }
    if (item.status === "leased") {
      if (item.exclusivity === "none") return true;
      if (item.exclusivity === "partition") return this.queue(item) || this.overtake(item);
      return this.lead(this.keyOf(item), item);
    }
    if (item.deadLetter?.halts !== true) return true;
    if (item.exclusivity !== "partition") return false;
    const key = this.keyOf(item);
    const { head } = key;
    item.key = undefined;
    if (head?.status === "leased") return false;
    if (head !== undefined && !key.halted) {
      // An older one was redriven while this one was leased.
      this.unwatch(head);
      this.detach(head);
    }
    key.halted = true;
    return true;
  }

  /** Lets go of what was delayed to `at` or before. */
  release(at: number): void {
    this.releasedAt = Math.max(this.releasedAt, at);
    for (let item = this.delayed.top(); item !== undefined && item.delayedTo <= at; item = this.delayed.top()) {
      this.delayed.remove(item);
      this.enter(item);
    }
    this.lanes.refill(this.releasedAt);
  }

  /** Takes a granted item out of where it waits. */
  take(item: Item): void {
    this.unwatch(item);
    if (item.exclusivity === "partition" && (item.key?.head !== item || item.key.halted))
      assert.fail(`item ${item.itemId} is not leasable`);
    this.detach(item);
    if (item.exclusivity === "resource" && !this.lead(item.key ?? this.keyOf(item), item))
      assert.fail(`item ${item.itemId} is not leasable`);
  }

  /** Puts an item whose lease ended back in its place. */
  giveBack(item: Item, at: number): void {
    const { key } = item;
    if (key !== undefined && key.head !== item) assert.fail(`item ${item.itemId} is not the first of its key`);
    const next = item.nextOfKey;
    if (key !== undefined && next !== undefined && next.sequence < item.sequence) {
      // An older one was redriven meanwhile.
      unlink(key, item);
      item.key = key;
      link(key, item);
      this.place(next, at);
      return;
    }
    if (item.exclusivity === "resource" && (item.delayedTo > at || key?.waiting?.top() !== undefined))
      this.end(item, false, at);
    if (item.key === key && item.delayedTo <= at) {
      // Also the head of a resource that nobody else waits for.
      this.watch(item);
      this.lanes.show(item);
    } else this.place(item, at);
  }

  /** Forgets a leased item that ended or was dead-lettered, and lets the next of its key come. */
  end(item: Item, halts: boolean, at: number): void {
    const key = item.key;
    if (key === undefined) return;
    if (key.head !== item) assert.fail(`item ${item.itemId} is not the first of its key`);
    item.key = undefined;
    if (item.exclusivity === "resource") {
      key.head = key.waiting?.top();
      if (key.head !== undefined) key.waiting?.remove(key.head);
    } else {
      key.head = item.nextOfKey;
      if (key.head === undefined) key.tail = undefined;
      else key.head.previousOfKey = undefined;
      item.nextOfKey = undefined;
    }
    if (halts) key.halted = true;
    if (key.halted) return;
    if (key.head === undefined) this.keys.delete(key);
    else if (item.exclusivity === "resource") this.lanes.show(key.head);
    else this.place(key.head, at);
  }

  /** Forgets a pending item that ended or was dead-lettered, wherever it waits. */
  drop(item: Item, halts: boolean, at: number): void {
    const { key } = item;
    this.unwatch(item);
    if (key !== undefined && item.exclusivity === "partition" && (key.head !== item || key.halted)) {
      unlink(key, item);
      if (halts) key.halted = true;
      return;
    }
    this.detach(item);
    if (key?.head === item) this.end(item, halts, at);
    else item.key = undefined;
  }

  /** Takes a dead letter back as pending, in its old place; a partition that stood still because of it goes on with it. */
  reinstate(item: Item, at: number): void {
    if (item.exclusivity !== "partition") {
      this.place(item, at);
      return;
    }
    const key = this.keyOf(item);
    const { head } = key;
    const wasOpen = !key.halted;
    if (item.deadLetter?.halts === true) key.halted = false;
    const before = link(key, item);
    // Whoever is leased goes on; who only was shown waits again.
    if (before !== undefined || key.halted) {
      if (!wasOpen && !key.halted && head !== undefined) this.place(head, at);
      return;
    }
    if (wasOpen && head !== undefined) {
      this.unwatch(head);
      this.detach(head);
    }
    this.place(item, at);
  }

  /** Lets a partition go on whose dead letter, because of which it stood still, is no more. */
  resume(item: Item, at: number): void {
    const key = this.keys.find(item);
    if (key === undefined || !key.halted) assert.fail(`the partition of ${item.itemId} is not halted`);
    key.halted = false;
    if (key.head === undefined) this.keys.delete(key);
    else this.place(key.head, at);
  }

  /** Tells of a pending item that it waits for none of its dependencies any more, or that it will not run. */
  letGo(item: Item, at: number): void {
    const { key } = item;
    if (key !== undefined && (key.head !== item || key.halted)) return;
    this.place(item, at);
  }

  /** The pending item whose time is over first, if it is over by `at`. */
  lapsed(at: number): Item | undefined {
    const first = this.lapses.top();
    return first !== undefined && first.rank <= at ? first.item : undefined;
  }

  /** Whether a pending item waits for the end of its delay. */
  isDelayed(item: Item): boolean {
    // A slot below 0 is a place in a lane's line, and no index to look at: nearly all items are there.
    return item.delayedTo !== 0 && item.slot >= 0 && this.delayed.entries[item.slot] === item;
  }

  /** Shows an item that nothing of its key holds back, or lets it wait for its dependencies or for the end of its delay. */
  private place(item: Item, at: number): void {
    const flow = holdingFlow(item);
    if (flow !== undefined) {
      this.watch(item);
      if (failedOf(flow) !== undefined) this.doomed.insert(item);
      return;
    }
    if (item.delayedTo <= at) {
      this.enter(item);
      return;
    }
    this.watch(item);
    this.delayed.push(item, item.delayedTo);
  }

  /** Lets an item come whose delay is over: to its lane, or to those that wait for its resource. */
  private enter(item: Item): void {
    this.watch(item);
    if (item.exclusivity !== "resource") {
      this.lanes.show(item);
      return;
    }
    const key = this.keyOf(item);
    const { head } = key;
    if (head !== undefined && (head.status === "leased" || precedes(head, item))) {
      key.waiting ??= new IndexedHeap<Item>();
      key.waiting.push(item);
      return;
    }
    this.lead(key, item);
    this.lanes.show(item);
  }

  /** Makes an item that is nowhere the head of its resource; false when another one has a lease. */
  private lead(key: KeyQueue, item: Item): boolean {
    const { head } = key;
    if (head !== undefined && head !== item) {
      if (head.status === "leased") return false;
      this.lanes.hide(head);
      key.waiting ??= new IndexedHeap<Item>();
      key.waiting.push(head);
    }
    key.head = item;
    return true;
  }

  /** Takes a pending item out of the delayed, out of its lane, or from those that wait for its resource. */
  private detach(item: Item): void {
    const flow = holdingFlow(item);
    if (flow !== undefined) {
      if (failedOf(flow) !== undefined) this.doomed.remove(item);
      return;
    }
    if (this.isDelayed(item)) this.delayed.remove(item);
    else if (item.exclusivity === "resource" && item.key?.head !== item) {
      if (item.key?.waiting === undefined) assert.fail(`item ${item.itemId} waits nowhere`);
      item.key.waiting.remove(item);
    } else this.lanes.hide(item);
  }

  private watch(item: Item): void {
    const notAfter = notAfterOf(item);
    if (notAfter === undefined || this.lapseOf.has(item)) return;
    const lapse = { item, rank: notAfter, tie: item.sequence, slot: -1 };
    this.lapseOf.set(item, lapse);
    this.lapses.push(lapse);
  }

  private unwatch(item: Item): void {
    if (item.terms?.notAfter === undefined) return;
    const lapse = this.lapseOf.get(item);
    if (lapse === undefined) return;
    this.lapses.remove(lapse);
    this.lapseOf.delete(item);
  }

  /** Puts a leased item, the youngest of its partition, before older ones, which were redriven while it was leased. False when none may be. */
  private overtake(item: Item): boolean {
    const { key } = item;
    const head = key?.head;
    if (key === undefined || head === undefined || key.halted || head.status === "leased") return false;
    this.unwatch(head);
    this.detach(head);
    unlink(key, item);
    item.key = key;
    link(key, item);
    return true;
  }

  /** Makes an item the youngest of its partition; true when nothing holds it back. */
  private queue(item: Item): boolean {
    const key = this.keyOf(item);
    if (key.tail === undefined) key.head = item;
    else {
      key.tail.nextOfKey = item;
      item.previousOfKey = key.tail;
    }
    key.tail = item;
    return key.head === item && !key.halted;
  }

  private keyOf(item: Item): KeyQueue {
    const key = this.keys.of(item);
    item.key = key;
    return key;
  }
}

const precedes = (left: Item, right: Item): boolean => isBefore(left.rank, left.tie, right.rank, right.tie);
