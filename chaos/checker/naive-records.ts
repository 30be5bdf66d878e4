/** What a shard remembers of items that have ended, written again: which requests are known, and which results are kept. */
import type { ItemOrigin } from "../../contracts/drain.ts";
import type { ShardOptions } from "../../contracts/options.ts";
import { isEnded, type NaiveItem } from "./naive-item.ts";

/** Invariant: `#remembered` holds the ended items that the shard must remember, oldest first. */
export class NaiveRecords {
  readonly #requests = new Map<string, NaiveItem>();
  /** By log and item id of their origins. */
  readonly #restored = new Map<string, NaiveItem>();
  #remembered: readonly NaiveItem[] = [];

  enqueued(item: NaiveItem): void {
    if (item.origin !== undefined) this.#restored.set(`${item.origin.logId} ${item.origin.itemId}`, item);
    if (item.requestId !== undefined) this.#requests.set(keyOf(item.principal, item.requestId), item);
  }

  /** The item that an enqueue with this id has made before; undefined also when the shard may have forgotten it. */
  known(principal: string, requestId: string, isDated: boolean): NaiveItem | undefined {
    const item = this.#requests.get(keyOf(principal, requestId));
    if (item === undefined || isDated || !isEnded(item.status)) return item;
    return this.#remembered.includes(item) ? item : undefined;
  }

  /** The item that was made of this one before; undefined also when the shard may have forgotten it. */
  restored({ logId, itemId }: ItemOrigin): NaiveItem | undefined {
    const item = this.#restored.get(`${logId} ${itemId}`);
    return item === undefined || !isEnded(item.status) || this.#remembered.includes(item) ? item : undefined;
  }

  ended(item: NaiveItem, options: ShardOptions): void {
    this.#remembered = [...this.#remembered, item];
    this.forget(options);
  }

  /** Forgets the oldest records and results above their maximum. */
  forget({ recordsMax, resultsMax }: ShardOptions): void {
    for (const item of this.#remembered.slice(0, Math.max(0, this.#remembered.length - recordsMax)))
      item.result = undefined;
    this.#remembered = this.#remembered.slice(Math.max(0, this.#remembered.length - recordsMax));
    const kept = this.#remembered.filter(({ result }) => result !== undefined);
    for (const item of kept.slice(0, Math.max(0, kept.length - resultsMax))) item.result = undefined;
  }
}

const keyOf = (principal: string, requestId: string): string => `${principal} ${requestId}`;
