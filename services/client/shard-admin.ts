/** What operators ask of one shard, and what can be asked of an item: the part of the client that has no leases. */
import type { z } from "zod";
import type { DrainItem } from "../../contracts/commands.ts";
import type { FollowersPatch } from "../../contracts/followers.ts";
import type { ShardOptionsPatch } from "../../contracts/options.ts";
import type { QuotasPatch } from "../../contracts/quotas.ts";
import type { ReplyOf } from "../../contracts/replies.ts";
import type { CallOptions, ClientCore } from "./client-core.ts";
import {
  type DiscardOptions,
  type DrainOptions,
  type DrainSource,
  discardAll,
  drainedItems,
  evictAll,
  type RestoredItem,
  restoreItems,
} from "./drains.ts";
import { type ReadOptions, readParts } from "./read-options.ts";
import type { EntryResult, Refusal } from "./refusal.ts";

export interface ConfigureOptions extends CallOptions {
  /** Raises the state version of the log to this; it is never lowered. */
  readonly logVersion?: number | undefined;
  /** Quotas of groups and keys to set or, with null, to remove, by name: `group/NAME`, `key/NAME`, or `group/*` and `key/*`. */
  readonly quotas?: QuotasPatch | undefined;
  /** Followers to register or, with null, to remove, by name: the log is kept for those that are registered. */
  readonly followers?: z.input<typeof FollowersPatch> | undefined;
}
export interface HandoverOptions extends CallOptions {
  /** Peer id of the dispatcher that should lead; the one that leads least by default. */
  readonly to?: string | undefined;
}

export type QuotaRecord = ReplyOf<"quotas">["quotas"][number];
export interface QuotasPage extends ReadOptions {
  readonly limit?: number | undefined;
  readonly cursor?: string | undefined;
}

export class ShardAdmin {
  readonly #core: ClientCore;

  protected constructor(core: ClientCore) {
    this.#core = core;
  }

  /** Why an item is not running. Throws: RefusedError item_not_found. */
  async explain(itemId: string, options: ReadOptions = {}): Promise<ReplyOf<"explain">> {
    const [fields, call] = readParts(options);
    return (await this.#core.call("explain", { ...fields, itemId }, call)).reply;
  }

  async pause(options: CallOptions = {}): Promise<ReplyOf<"pause">> {
    return (await this.#core.call("pause", {}, options)).reply;
  }
  async resume(options: CallOptions = {}): Promise<ReplyOf<"resume">> {
    return (await this.#core.call("resume", {}, options)).reply;
  }
  /** Marks what is unfinished and grants nothing until the drain is restored or discarded; a repeat is a duplicate. */
  async drain(drainId: string, { leases, ...options }: DrainOptions = {}): Promise<ReplyOf<"drain">> {
    return (await this.#core.call("drain", { drainId, leases }, options)).reply;
  }
  /** Every item that a drain holds, with all that restoring needs. Throws: RefusedError drain_not_found once the drain is over. */
  drained(drainId: string, options: CallOptions = {}): AsyncGenerator<DrainItem, void, void> {
    return drainedItems(this.#core, drainId, options);
  }
  /** Lets the items of a drain go on where they were. */
  async restore(drainId: string, options: CallOptions = {}): Promise<{ readonly duplicate: boolean }> {
    return { duplicate: (await this.#core.call("restore", { drainId }, options)).reply.duplicate === true };
  }
  /** Makes exported items anew, each once, in the order given; one result for each. */
  restoreItems(
    source: DrainSource,
    items: readonly DrainItem[],
    options: CallOptions = {},
  ): Promise<readonly EntryResult<RestoredItem>[]> {
    return restoreItems(this.#core, source, items, options);
  }
  /** Ends all items of a drain for good, and with them the drain. */
  discard(drainId: string, options: DiscardOptions = {}): ReturnType<typeof discardAll> {
    return discardAll(this.#core, drainId, options);
  }
  /** Ends the leases that a peer holds; their attempts do not count. It may lease again. */
  evict(peerId: string, options: CallOptions = {}): ReturnType<typeof evictAll> {
    return evictAll(this.#core, peerId, options);
  }
  /** Changes the options that are named; returns all of them. */
  async configure(
    patch: ShardOptionsPatch,
    { logVersion, quotas, followers, ...options }: ConfigureOptions = {},
  ): Promise<ReplyOf<"configure">> {
    return (await this.#core.call("configure", { options: patch, logVersion, quotas, followers }, options)).reply;
  }
  /**
   * Hands the shard to another dispatcher and returns who leads next, once the release stands in the log. Refused with `unavailable` when nobody,
   * or not the one that is named, follows closely enough; `details.candidates` are those that do.
   */
  async handover({ to, ...options }: HandoverOptions = {}): Promise<ReplyOf<"handover">> {
    // By where the log stands now a repeat that reaches the successor is told from a first request.
    const { sequence: after } = await this.stats(options);
    const isFinal = ({ details }: Refusal): boolean => details?.["candidates"] !== undefined;
    return (await this.#core.call("handover", { to, after }, { ...options, isFinal })).reply;
  }

  async stats(options: ReadOptions = {}): Promise<ReplyOf<"stats">> {
    const [fields, call] = readParts(options);
    return (await this.#core.call("stats", fields, call)).reply;
  }
  /** One page of quotas by name, with the leases that are taken of each. */
  async quotas({ limit, cursor, ...options }: QuotasPage = {}): Promise<ReplyOf<"quotas">> {
    const [fields, call] = readParts(options);
    return (await this.#core.call("quotas", { ...fields, limit, cursor }, call)).reply;
  }
  /** Every quota, page by page. */
  async *quotasAll(options: ReadOptions = {}): AsyncGenerator<QuotaRecord, void, void> {
    let cursor: string | undefined;
    do {
      const page = await this.quotas({ ...options, cursor });
      yield* page.quotas;
      cursor = page.cursor;
    } while (cursor !== undefined);
  }
}
