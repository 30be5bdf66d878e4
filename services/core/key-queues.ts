/** The queues of resources and partitions, found by what their items name. */
import { fenceKey } from "./fence-key.ts";
import type { Item } from "./item.ts";
import { KeyQueue } from "./key-queue.ts";
import { StripedMap } from "./striped-map.ts";

/** Invariant: a queue is there once, under what its items name. */
export class KeyQueues {
  /** By partition key: nearly all that are looked for, and their fence key is put together only once. */
  private readonly partitions = new StripedMap<KeyQueue>();
  /** By fence key, those of resources and of partitions without a key of their own. */
  private readonly others = new StripedMap<KeyQueue>();

  get size(): number {
    return this.partitions.size + this.others.size;
  }

  find(item: Item): KeyQueue | undefined {
    const { partitionKey } = item;
    if (item.exclusivity === "partition" && partitionKey !== undefined) return this.partitions.get(partitionKey);
    return this.others.get(fenceKey(item));
  }

  /** The queue of an item, made where there is none. */
  of(item: Item): KeyQueue {
    const known = this.find(item);
    if (known !== undefined) return known;
    const key = new KeyQueue(fenceKey(item), item.exclusivity === "partition" ? item.partitionKey : undefined);
    if (key.partitionKey === undefined) this.others.set(key.fenceKey, key);
    else this.partitions.set(key.partitionKey, key);
    return key;
  }

  delete(key: KeyQueue): void {
    if (key.partitionKey === undefined) this.others.delete(key.fenceKey);
    else this.partitions.delete(key.partitionKey);
  }

  *values(): Generator<KeyQueue> {
    yield* this.partitions.values();
    yield* this.others.values();
  }
}
