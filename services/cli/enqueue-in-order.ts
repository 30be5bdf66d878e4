/** Enqueues items in their order, one request after the other: a request sent beside another could be decided before it. */
import type { EnqueueItem } from "../../contracts/commands.ts";
import { utf8Length } from "../../contracts/ids.ts";
import { ENTRIES_PER_REQUEST_MAX, REQUEST_BYTES_MAX } from "../../contracts/limits.ts";
import type { Enqueued, LeaseClient } from "../client/lease-client.ts";
import type { EntryResult } from "../client/refusal.ts";

/** Left free in a request for its envelope, so that a batch is one request of the client. */
const ENVELOPE_BYTES = 1_024;

/** Cuts items into runs that each fit one request. An item that alone is too large makes a run of its own, which is refused. */
export function requestRuns<T>(
  items: readonly T[],
  sizeOf: (item: T) => number,
  bytesMax: number = REQUEST_BYTES_MAX - ENVELOPE_BYTES,
): readonly (readonly T[])[] {
  const runs: T[][] = [];
  let bytes = Number.POSITIVE_INFINITY;
  for (const item of items) {
    const size = sizeOf(item) + 1;
    const run = runs.at(-1);
    if (run === undefined || bytes + size > bytesMax || run.length === ENTRIES_PER_REQUEST_MAX) {
      runs.push([item]);
      bytes = size;
    } else {
      run.push(item);
      bytes += size;
    }
  }
  return runs;
}

export const itemBytes = (item: EnqueueItem): number => utf8Length(JSON.stringify(item));

/**
 * Enqueues all items; the results are in their order. Refusals are values.
 * Throws: as `LeaseClient.enqueueMany`; what was sent before stays enqueued.
 */
export async function enqueueInOrder(
  client: LeaseClient,
  items: readonly EnqueueItem[],
  onResults: (items: readonly EnqueueItem[], results: readonly EntryResult<Enqueued>[]) => void = () => {},
): Promise<readonly EntryResult<Enqueued>[]> {
  const all: EntryResult<Enqueued>[] = [];
  for (const run of requestRuns(items, itemBytes)) {
    const results = await client.enqueueMany(run);
    all.push(...results);
    onResults(run, results);
  }
  return all;
}
