/** The places where snapshots are looked for: the object store that all dispatchers share, and one dispatcher's data folder. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { NatsConnection } from "@nats-io/transport-node";
import { OperatingError } from "../../contracts/errors.ts";
import type { LogMessage } from "../../contracts/ports.ts";
import type { LogPlace } from "../core/log-fold.ts";
import { SnapshotBucket } from "../jetstream/object-snapshots.ts";
import { readLogMessages } from "../jetstream/read-log.ts";
import {
  ObjectSnapshotStore,
  restorePlace,
  type SnapshotInfo,
  type SnapshotLabel,
  type SnapshotStore,
  SqliteSnapshotStore,
} from "../persistence/mod.ts";
import { SNAPSHOT_FILE } from "../persistence/snapshot-sqlite.ts";
import { chainOf, decodeFrame } from "../runtime/frame-codec.ts";
import type { LogBounds } from "./log-bounds.ts";

export interface ShardAddress {
  readonly region: string;
  readonly shard: string;
}

/** A snapshot and the store that has it. */
export interface FoundSnapshot {
  readonly info: SnapshotInfo;
  readonly store: SnapshotStore;
  readonly isShared: boolean;
}

/** A snapshot that was passed over, and why. */
export interface PassedSnapshot {
  readonly sequence: number;
  readonly where: string;
  readonly code: string;
  readonly message: string;
}

/** Below the folder of a mesh the dispatcher has one of its own. */
const DISPATCHER_FOLDER = "dispatcher";

export class SnapshotPlaces {
  readonly shared: SnapshotStore;
  readonly #local: SnapshotStore | undefined;
  readonly #connection: NatsConnection;

  /**
   * Opens both for reading; only `shared.begin()` writes. `replicas`: of the bucket, should a snapshot have to create it.
   * Throws: OperatingError `input_unreadable` for a data folder without snapshots, and as `SqliteSnapshotStore.open`.
   */
  static async open(
    connection: NatsConnection,
    options: { readonly replicas?: number; readonly dataDir?: string | undefined } = {},
  ): Promise<SnapshotPlaces> {
    const { replicas = 1, dataDir } = options;
    const local = dataDir === undefined ? undefined : openFolder(dataDir);
    const bucket = await SnapshotBucket.open(connection, { replicas, leftovers: "keep" });
    return new SnapshotPlaces(connection, new ObjectSnapshotStore(bucket), local);
  }

  private constructor(connection: NatsConnection, shared: SnapshotStore, local: SnapshotStore | undefined) {
    this.#connection = connection;
    this.shared = shared;
    this.#local = local;
  }

  /** Highest sequence first, also those that cannot be used. */
  async list({ region, shard }: ShardAddress): Promise<readonly FoundSnapshot[]> {
    const { shared } = this;
    const local = this.#local;
    const found = (await shared.list(region, shard)).map((info) => ({ info, store: shared, isShared: true }));
    if (local !== undefined)
      found.push(...(await local.list(region, shard)).map((info) => ({ info, store: local, isShared: false })));
    return found.sort((left, right) => right.info.label.sequence - left.info.label.sequence);
  }

  /**
   * The first of the candidates that is whole and that the log goes through, among those whose tail the stream still holds.
   * Why others were passed over goes to `passed`. Throws: `log_trimmed` when the log is trimmed in this moment; what the stores throw.
   */
  async choose(
    candidates: readonly FoundSnapshot[],
    bounds: LogBounds,
    passed: PassedSnapshot[],
  ): Promise<{ readonly found: FoundSnapshot; readonly place: LogPlace } | undefined> {
    for (const found of candidates) {
      const { label, where, problem } = found.info;
      if (problem !== undefined) {
        passed.push({ sequence: label.sequence, where, ...problem });
        continue;
      }
      if (label.streamSequence < bounds.first - 1 || label.streamSequence > bounds.last) continue;
      try {
        const place = await restorePlace(found.store, found.info);
        if (label.streamSequence >= bounds.first) await this.checkAnchor(found.info);
        return { found, place };
      } catch (error) {
        if (!(error instanceof OperatingError) || !error.code.startsWith("snapshot_")) throw error;
        passed.push({ sequence: label.sequence, where, code: error.code, message: error.message });
      }
    }
    return undefined;
  }

  /**
   * Makes sure that the message at the snapshot's stream sequence is the frame that it was cut behind.
   * Throws: `snapshot_foreign` (definite) when it is another one, `log_trimmed` when it is gone.
   */
  async checkAnchor({ label }: SnapshotInfo): Promise<void> {
    const { region, shard, streamSequence, chain, sequence, logId } = label;
    let message: LogMessage | undefined;
    const range = { region, shard, from: streamSequence, to: streamSequence };
    for await (const found of readLogMessages(this.#connection, range)) message = found;
    if (message !== undefined && chainOf(message.payload) === chain) {
      checkEnd(label, message);
      return;
    }
    const what =
      message === undefined
        ? `the log has no message at stream sequence ${streamSequence}`
        : `the message at stream sequence ${streamSequence} is not the frame that it was cut behind`;
    throw new OperatingError(
      "snapshot_foreign",
      `the snapshot of ${region}/${shard} at sequence ${sequence} is of log ${logId} and not of this log: ${what}; the stream was created again or restored from elsewhere: do not use it here`,
      { definite: true },
    );
  }

  async close(): Promise<void> {
    await this.shared.close();
    await this.#local?.close();
  }
}

/** The frame is the right one: then the label's other words for it must be right as well. */
function checkEnd(label: SnapshotLabel, { payload }: LogMessage): void {
  const decoded = decodeFrame(payload);
  if (decoded.kind === "void") return;
  const { first, count, term, at } = decoded.frame;
  if (first + count - 1 === label.sequence && first === label.first && term === label.term && at === label.at) return;
  const { region, shard, sequence } = label;
  throw new OperatingError(
    "snapshot_damaged",
    `the snapshot of ${region}/${shard} at sequence ${sequence} is damaged: its label is not that of the frame it was cut behind (sequences ${first} to ${first + count - 1}, term ${term}); use another one`,
    { definite: true },
  );
}

function openFolder(dataDir: string): SnapshotStore {
  const folders = [dataDir, join(dataDir, DISPATCHER_FOLDER)];
  const folder = folders.find((candidate) => existsSync(join(candidate, SNAPSHOT_FILE)));
  if (folder !== undefined) return SqliteSnapshotStore.open(folder, { leftovers: "keep" });
  throw new OperatingError(
    "input_unreadable",
    `${dataDir} has no ${SNAPSHOT_FILE}: give the data folder of a dispatcher that has written a snapshot`,
    { definite: true },
  );
}
