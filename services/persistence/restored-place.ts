/** Reads a snapshot back as a place in the log: its state, and where the chain stands there. */
import { stateHash } from "../core/hash.ts";
import type { LogPlace } from "../core/log-fold.ts";
import { SnapshotLoader } from "../core/snapshot-load.ts";
import { damaged, type SnapshotInfo, type SnapshotStore } from "./snapshot-store.ts";

/**
 * Checks every chunk, builds the state, and compares it with the label. That the log has this place is the caller's to check.
 * `onText` is told how much of the text has been read. UTF-16 code units.
 * Throws: as `open` of the store and as `SnapshotLoader`; `snapshot_damaged` when the label is not that of the contents.
 */
export async function restorePlace(
  store: SnapshotStore,
  info: SnapshotInfo,
  onText: (length: number) => void = () => undefined,
): Promise<LogPlace> {
  const loader = new SnapshotLoader();
  let length = 0;
  for await (const text of store.open(info)) {
    loader.add(text);
    length += text.length;
    onText(length);
  }
  const state = loader.finish();
  const { chain, term, first, at, sequence, streamSequence, hash, logId, logVersion } = info.label;
  const actual = { logId: state.logId, sequence: state.sequence, hash: stateHash(state), logVersion: state.logVersion };
  const expected: typeof actual = { logId, sequence, hash, logVersion };
  for (const name of ["logId", "sequence", "hash", "logVersion"] as const)
    if (actual[name] !== expected[name])
      throw damaged(info.label, `its label says ${name} ${expected[name]}, its contents have ${actual[name]}`);
  return { state, tip: { chain, term, first, nextSequence: sequence + 1, at }, streamSequence };
}
