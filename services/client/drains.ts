/** Drains as the SDK offers them: pages, items in runs that fit a request, and requests that are repeated until nothing is left. */
import type { DrainItem } from "../../contracts/commands.ts";
import type { DrainOrigin } from "../../contracts/drain.ts";
import { utf8Length } from "../../contracts/ids.ts";
import { ENTRIES_PER_REQUEST_MAX } from "../../contracts/limits.ts";
import type { CallOptions, ClientCore } from "./client-core.ts";
import { resultsOf } from "./ends.ts";
import { ENTRY_BYTES_MAX } from "./lane.ts";
import type { EntryResult } from "./refusal.ts";

/** Before a request of which nothing was taken is sent again. ms. */
const REST_MS = 20;

export interface DrainOptions extends CallOptions {
  /** What becomes of the leases that live: they end as always ("wait", the default), or the leader ends them. */
  readonly leases?: "wait" | "expire" | undefined;
}
/** The drain and the shard that exported items come from. */
export interface DrainSource {
  readonly drainId: string;
  readonly origin: DrainOrigin;
}
export interface RestoredItem {
  readonly itemId: string;
  /** Whether it was there before. */
  readonly duplicate: boolean;
  /** Of one that has ended since. */
  readonly status?: string | undefined;
}
export interface DiscardOptions extends CallOptions {
  /** Hears of each request: how many items have ended so far, and how many are left. */
  readonly onProgress?: ((discarded: number, left: number) => void) | undefined;
}

/** Every item that a drain holds, page by page, each page confirmed through the log. */
export async function* drainedItems(
  core: ClientCore,
  drainId: string,
  options: CallOptions,
): AsyncGenerator<DrainItem, void, void> {
  let cursor: string | undefined;
  do {
    const fields = { drainId, limit: ENTRIES_PER_REQUEST_MAX, consistent: true };
    const { reply } = await core.call("list", { ...fields, cursor }, options);
    yield* reply.drained ?? [];
    cursor = reply.cursor;
  } while (cursor !== undefined);
}

/** In the order given, one request after the other: what a frame has no room for is asked for again before what comes behind it. */
export async function restoreItems(
  core: ClientCore,
  source: DrainSource,
  items: readonly DrainItem[],
  options: CallOptions,
): Promise<readonly EntryResult<RestoredItem>[]> {
  const results: EntryResult<RestoredItem>[] = [];
  while (results.length < items.length) {
    const run = firstRun(items.slice(results.length, results.length + ENTRIES_PER_REQUEST_MAX));
    const { reply } = await core.call("restore", { ...source, items: [...run] }, options);
    const told = resultsOf<RestoredItem>(reply.results);
    const end = told.findIndex((result) => result.kind === "refused" && isForNow(result.error));
    results.push(...(end === -1 ? told : told.slice(0, end)));
    if (end === 0) await rest(core);
  }
  return results;
}

const rest = (core: ClientCore): Promise<void> => new Promise((resolve) => void core.clock.setTimer(REST_MS, resolve));

const isForNow = ({ retryable, definite }: { readonly retryable: boolean; readonly definite: boolean }): boolean =>
  retryable && !definite;

/** As many as one request holds; one at least. */
function firstRun(items: readonly DrainItem[]): readonly DrainItem[] {
  let bytes = 0;
  const end = items.findIndex((item) => {
    bytes += utf8Length(JSON.stringify(item)) + 1;
    return bytes > ENTRY_BYTES_MAX;
  });
  return end === -1 ? items : items.slice(0, Math.max(end, 1));
}

/** Asks until none is left. */
export async function discardAll(
  core: ClientCore,
  drainId: string,
  { onProgress, ...options }: DiscardOptions,
): Promise<{ readonly discarded: number; readonly duplicate: boolean }> {
  let discarded = 0;
  for (;;) {
    const { reply } = await core.call("discard", { drainId }, options);
    discarded += reply.discarded;
    onProgress?.(discarded, reply.left);
    if (reply.left === 0) return { discarded, duplicate: reply.duplicate && discarded === 0 };
  }
}

/** Asks until the leases that it held at first have ended: it may take new ones meanwhile. */
export async function evictAll(
  core: ClientCore,
  peerId: string,
  options: CallOptions,
): Promise<{ readonly evicted: number }> {
  let evicted = 0;
  let held: number | undefined;
  for (;;) {
    const { reply } = await core.call("evict", { peerId }, options);
    evicted += reply.evicted;
    held ??= reply.evicted + reply.left;
    if (reply.left === 0 || evicted >= held) return { evicted };
  }
}
