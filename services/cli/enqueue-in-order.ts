/** Enqueues items in their order, one request after the other: a request sent beside another could be decided before it. */
import type { EnqueueItem } from "../../contracts/commands.ts";
import { utf8Length } from "../../contracts/ids.ts";
import type { Enqueued, LeaseClient } from "../client/lease-client.ts";
import type { EntryResult } from "../client/refusal.ts";
import { requestRuns } from "../client/request-runs.ts";

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
