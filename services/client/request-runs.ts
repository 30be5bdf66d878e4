/** Cuts long lists into what fits one request each: what must keep its order is sent one request after the other. */
import { ENTRIES_PER_REQUEST_MAX, REQUEST_BYTES_MAX } from "../../contracts/limits.ts";

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
