/** Copies a published snapshot from one store into another, packed as it is. */
import type { SnapshotInfo, SnapshotStore } from "./snapshot-store.ts";

/**
 * Result: the copy, verified and published in `target`; the one that is there when it has it already.
 * Throws: as `chunks` of the source and `publish` of the target; nothing is listed in the target then.
 */
export async function copySnapshot(
  source: SnapshotStore,
  info: SnapshotInfo,
  target: SnapshotStore,
): Promise<SnapshotInfo> {
  const writer = target.begin();
  try {
    for await (const chunk of source.chunks(info)) await writer.add(chunk);
    return await writer.publish(info.label);
  } catch (error) {
    writer.abort();
    throw error;
  }
}
