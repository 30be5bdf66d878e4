/** Enqueues items in their order, one request after the other: a request sent beside another could be decided before it. */
import type { EnqueueItem } from "../../contracts/commands.ts";
import { utf8Length } from "../../contracts/ids.ts";
import type { Enqueued, LeaseClient } from "../client/lease-client.ts";
import type { EntryResult } from "../client/refusal.ts";
import { requestRuns } from "../client/request-runs.ts";

/** Bytes by which the id of an item is longer than its place. */
const NAME_BYTES = 64;

/** As it is sent: the items that it depends on may be named by their ids. */
export const itemBytes = (item: EnqueueItem): number =>
  utf8Length(JSON.stringify(item)) + NAME_BYTES * (item.dependsOn?.length ?? 0);

/**
 * Enqueues all items; the results are in their order. Refusals are values. An `index` in `dependsOn` is a place among all of them.
 * Throws: as `LeaseClient.enqueueMany`; what was sent before stays enqueued.
 */
export async function enqueueInOrder(
  client: LeaseClient,
  items: readonly EnqueueItem[],
  onResults: (items: readonly EnqueueItem[], results: readonly EntryResult<Enqueued>[]) => void = () => {},
): Promise<readonly EntryResult<Enqueued>[]> {
  const all: EntryResult<Enqueued>[] = [];
  for (const run of requestRuns(items, itemBytes)) {
    const results = await enqueueRun(client, run, all);
    all.push(...results);
    onResults(run, results);
  }
  return all;
}

/** Enqueues one run. What names an item of an earlier run goes by its id; where that was refused, it is refused like it and not sent. */
async function enqueueRun(
  client: LeaseClient,
  run: readonly EnqueueItem[],
  earlier: readonly EntryResult<Enqueued>[],
): Promise<readonly EntryResult<Enqueued>[]> {
  const results: EntryResult<Enqueued>[] = [];
  const sent: EnqueueItem[] = [];
  /** Where in the run each of them stands, and where in the request each of the run. */
  const places: number[] = [];
  const requestPlaces = new Map<number, number>();
  for (const [place, item] of run.entries()) {
    const known = (index: number) => (index < earlier.length ? earlier[index] : results[index - earlier.length]);
    const indexes = (item.dependsOn ?? []).flatMap((named) => ("index" in named ? [named.index] : []));
    const refused = indexes.map(known).find((result) => result?.kind === "refused");
    if (refused?.kind === "refused") {
      results[place] = refused;
      continue;
    }
    requestPlaces.set(place, sent.length);
    places.push(place);
    sent.push(renamed(item, earlier, (index) => requestPlaces.get(index) ?? run.length));
  }
  const answers = sent.length === 0 ? [] : await client.enqueueMany(sent);
  for (const [index, answer] of answers.entries()) results[places[index] ?? 0] = answer;
  return results;
}

/** `placeOf`: where in the request an item of the same run stands. */
function renamed(
  item: EnqueueItem,
  earlier: readonly EntryResult<Enqueued>[],
  placeOf: (placeInRun: number) => number,
): EnqueueItem {
  if (item.dependsOn === undefined) return item;
  const dependsOn = item.dependsOn.map((named) => {
    const known = "index" in named ? earlier[named.index] : undefined;
    if (!("index" in named)) return named;
    return known?.kind === "ok" ? { itemId: known.value.itemId } : { index: placeOf(named.index - earlier.length) };
  });
  return { ...item, dependsOn };
}
