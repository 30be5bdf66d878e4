/** Opens the two places that keep snapshots: the data folder, whose file is set aside when it is damaged, and the store that all dispatchers share. */
import { renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { NatsConnection } from "@nats-io/transport-node";
import { OperatingError } from "../../contracts/errors.ts";
import type { Reporter } from "../../contracts/ports.ts";
import { SnapshotBucket } from "../jetstream/object-snapshots.ts";
import { ObjectSnapshotStore, type SnapshotStore, SnapshotThread } from "../persistence/mod.ts";
import { SNAPSHOT_FILE } from "../persistence/snapshot-sqlite.ts";

/** Requests come first: what the copy of a snapshot waits after each chunk. ms. */
const COPY_REST_MS = 20;

export interface SnapshotStores {
  /** Undefined where the folder's file cannot be used: then snapshots go straight into the shared store. */
  readonly local: SnapshotStore | undefined;
  readonly shared: SnapshotStore;
}

/** Snapshots make starts fast and trimming possible; what stands in the way of either place is told, and never keeps a dispatcher from its log. */
export async function openSnapshotStores(
  folder: string,
  connection: NatsConnection,
  replicas: number,
  reporter: Reporter,
): Promise<SnapshotStores> {
  const tell = (error: unknown): undefined => {
    if (!(error instanceof OperatingError)) throw error;
    reporter.error("snapshots_unavailable", { code: error.code, message: error.message });
  };
  const local = await openLocal(folder, reporter).catch(tell);
  const swept = await SnapshotBucket.open(connection, { replicas }).catch(tell);
  // Not to be had at this moment only: the bucket is looked for again at each use.
  const bucket = swept ?? (await SnapshotBucket.open(connection, { replicas, leftovers: "keep" }));
  return { local, shared: new ObjectSnapshotStore(bucket, { rest: () => delay(COPY_REST_MS) }) };
}

/** A damaged file holds nothing that cannot be had again; it is kept once, for whoever wants to know what happened to the disk. */
async function openLocal(folder: string, reporter: Reporter): Promise<SnapshotThread> {
  try {
    return await SnapshotThread.open(folder);
  } catch (error) {
    if (!(error instanceof OperatingError && error.code === "store_corrupt")) throw error;
    const file = join(folder, SNAPSHOT_FILE);
    const aside = join(folder, `damaged-${SNAPSHOT_FILE}`);
    renameSync(file, aside);
    for (const suffix of ["-wal", "-shm"]) rmSync(file + suffix, { force: true });
    reporter.error("snapshots_set_aside", { code: error.code, message: error.message, file: aside });
    return SnapshotThread.open(folder);
  }
}
