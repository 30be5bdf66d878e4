/** Writes a folded state as a snapshot into the object store that all dispatchers share. */
import assert from "node:assert/strict";
import { stateHash } from "../core/hash.ts";
import { SnapshotCut } from "../core/snapshot-cut.ts";
import { SnapshotLoader } from "../core/snapshot-load.ts";
import type { SnapshotInfo, SnapshotLabel, SnapshotStore } from "../persistence/mod.ts";
import type { FoldedLog } from "./fold-log.ts";
import type { ShardAddress, SnapshotPlaces } from "./snapshot-places.ts";

const RECORDS_PER_SLICE = 1_000;

/**
 * Answers the snapshot that is there when the state is still that of the one which the folding began with.
 * Throws: as `publish` of the store; nothing is listed then.
 */
export async function writeSnapshot(
  { shared }: SnapshotPlaces,
  { fold, base }: FoldedLog,
  { region, shard }: ShardAddress,
): Promise<{ readonly info: SnapshotInfo; readonly store: SnapshotStore; readonly isNew: boolean }> {
  const { state, reader, frameStreamSequence } = fold;
  if (base?.isShared === true && base.info.label.sequence === state.sequence)
    return { info: base.info, store: shared, isNew: false };
  const { chain, term, first, at } = reader.tip;
  const { logId, logVersion, sequence } = state;
  const hash = stateHash(state);
  const place = { region, shard, logId, streamSequence: frameStreamSequence, sequence, chain, term, first, at };
  const label: SnapshotLabel = { ...place, hash, logVersion, createdAtMs: Date.now() };
  const cut = new SnapshotCut(state);
  // The store proves that it holds what was written; this, that what was written is this state.
  const loader = new SnapshotLoader();
  const writer = shared.begin();
  try {
    for (let text = cut.next(RECORDS_PER_SLICE); text !== undefined; text = cut.next(RECORDS_PER_SLICE)) {
      loader.add(text);
      await writer.write(text);
    }
    assert.equal(stateHash(loader.finish()), hash, "a snapshot reads back as the state that was written");
    const info = await writer.publish(label);
    return { info, store: shared, isNew: info.label.createdAtMs === label.createdAtMs };
  } catch (error) {
    cut.cancel();
    writer.abort();
    throw error;
  }
}
