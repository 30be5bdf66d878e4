/** The life of items in a queue that holds a given number of them all the while: neither side may run away from the other. */
import type { Items } from "./items.ts";
import { Drain, type Life, type Supply } from "./loads.ts";
import type { Drive, PeerClient } from "./peers/peer.ts";

/** By how many the items that wait may go below the depth before handlers wait for producers. Half of the smallest depth: no queue runs empty, and both sides move alike at every depth. */
export const SLACK = 500;
/** Most items in one call, in all calls under way, and in handlers: little enough for the smallest depth, and the same at every depth. */
const BATCH_MAX = 100;
const HANDS_MAX = 1_000;

/** How a peer is driven at a depth. */
export function driveAtDepth({ batch, inFlight, concurrency }: Drive): Drive {
  const size = Math.min(batch, BATCH_MAX);
  return {
    batch: size,
    inFlight: Math.floor(Math.min(batch * inFlight, HANDS_MAX) / size),
    concurrency: Math.min(concurrency, HANDS_MAX),
  };
}

export interface LifeAtDepth extends Life {
  /** Items that waited: acknowledged to the producer and not yet with a handler. */
  readonly least: number;
  readonly most: number;
}

/** Enqueues and drains at once, and returns when as many items are settled as were enqueued. The queue holds `depth` items before. */
export async function lifeAtDepth(
  client: PeerClient,
  items: Items,
  supply: Supply,
  drive: Drive,
  depth: number,
): Promise<LifeAtDepth> {
  const [risen, sunk] = [new Bell(), new Bell()];
  let [enqueued, low] = [items.made, depth - SLACK];
  let [least, most] = [depth, 0];
  // An item may be with its handler before its acknowledgement is here.
  const waiting = (): number => Math.max(0, enqueued - items.seen);
  const isFull = (): boolean => items.made - items.seen + drive.batch > depth;
  const isLow = (): boolean => waiting() < low;
  const untilRisen = async (): Promise<void> => {
    while (isLow()) await risen.rings();
  };
  const drain = await new Drain(items, () => {
    least = Math.min(least, waiting());
    if (!isFull()) sunk.ring();
    return isLow() ? untilRisen() : undefined;
  }).start(client, drive.concurrency);
  const from = items.made;
  const produce = async (): Promise<void> => {
    for (;;) {
      while (isFull()) await sunk.rings();
      const size = supply(drive.batch);
      if (size === 0) return;
      await client.enqueue(items.make(size));
      enqueued += size;
      most = Math.max(most, waiting());
      risen.ring();
    }
  };
  await Promise.all(Array.from({ length: drive.inFlight }, produce));
  // Nothing comes any more that handlers could wait for.
  low = Number.NEGATIVE_INFINITY;
  risen.ring();
  const count = items.made - from;
  const told = { least, most };
  await drain.until(count);
  return { count, ...told, stop: () => drain.stop() };
}

/** Wakes all who wait for it. */
class Bell {
  #next: PromiseWithResolvers<void> | undefined;

  rings(): Promise<void> {
    this.#next ??= Promise.withResolvers();
    return this.#next.promise;
  }

  ring(): void {
    this.#next?.resolve();
    this.#next = undefined;
  }
}
