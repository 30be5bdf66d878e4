/** The last of any number of objects, found where a place only lists upwards, page by page. */

/**
 * The highest sequence that is not above `upTo`; undefined for none. `list` answers the first `pageSize` sequences above a bound, rising.
 *
 * Looks near `upTo` first, where the object of a checkpoint is, else asks whether there is anything above one bound or another: some 50
 * questions for any number of objects.
 */
export async function lastByPages(
  list: (after: number) => Promise<readonly number[]>,
  upTo: number,
  pageSize: number,
): Promise<number | undefined> {
  const upToThere = (page: readonly number[]): number | undefined => page.findLast((sequence) => sequence <= upTo);
  if (upTo < Number.MAX_SAFE_INTEGER && upTo > pageSize) {
    // So many sequences are a page at most.
    const near = upToThere(await list(upTo - pageSize));
    if (near !== undefined) return near;
  }
  const first = await list(0);
  // Invariant: there is an object `low`, and none in (`high`, `upTo`].
  let low = upToThere(first);
  if (low === undefined || low !== first.at(-1) || first.length < pageSize) return low;
  for (let high = upTo; low < high; ) {
    // Twice as far each time, as long as the bound above is far away.
    const middle: number = Math.min(low * 2, low + Math.floor((high - low) / 2));
    const page = await list(middle);
    const found = page.findLast((sequence) => sequence <= high);
    if (found === undefined) high = middle;
    else if (found !== page.at(-1) || page.length < pageSize) return found;
    else low = found;
  }
  return low;
}
