/** The snapshots of one shard: written by a worker thread into the data folder, copied to the object store, loaded from whichever has a good one. */
import { OperatingError } from "../../contracts/errors.ts";
import type { Clock, Reporter } from "../../contracts/ports.ts";
import type { LogPlace } from "../core/log-fold.ts";
import {
  copySnapshot,
  requireLog,
  restorePlace,
  type SnapshotInfo,
  type SnapshotLabel,
  type SnapshotStore,
} from "../persistence/mod.ts";
import {
  SNAPSHOTS_KEPT,
  type SnapshotPlace,
  type SnapshotSink,
  type Snapshots,
  type Standing,
} from "./node/snapshooter.ts";

export interface ShardSnapshotsOptions {
  readonly region: string;
  readonly shard: string;
  readonly logId: string;
  readonly clock: Clock;
  readonly reporter: Reporter;
  /** In the data folder; undefined where its file cannot be used. Then the leader writes straight into the shared one. */
  readonly local: SnapshotStore | undefined;
  /** Shared by all dispatchers. */
  readonly remote: SnapshotStore;
  /** Whether this dispatcher leads the shard: one copy in the shared store is enough. */
  readonly isLeading: () => boolean;
}

export class ShardSnapshots implements Snapshots {
  readonly #options: ShardSnapshotsOptions;

  constructor(options: ShardSnapshotsOptions) {
    this.#options = options;
  }

  begin(): SnapshotSink {
    const writer = (this.#options.local ?? this.#options.remote).begin();
    let isFull = false;
    let failure: OperatingError | undefined;
    return {
      offer: (text) => {
        if (isFull) return false;
        const room = failure === undefined ? writer.write(text) : undefined;
        if (room === undefined) return true;
        isFull = true;
        room.then(
          () => {
            isFull = false;
          },
          (error: unknown) => {
            failure = asOperatingError(error);
            isFull = false;
          },
        );
        // The writer has taken this text; the next one waits.
        return true;
      },
      publish: (place, callback) => {
        if (failure === undefined) this.#publish(writer.publish(this.#labelOf(place)), callback);
        else callback(failure);
      },
      abort: () => writer.abort(),
    };
  }

  load(
    judge: (place: SnapshotPlace, callback: (standing: Standing) => void) => void,
    callback: (restored: LogPlace | undefined, beyond: number) => void,
  ): void {
    // A crash here would be a bug: every operating error is told and means "no snapshot".
    void this.#newest((place) => new Promise((resolve) => judge(place, resolve))).then(({ restored, beyond }) =>
      callback(restored, beyond),
    );
  }

  durable(callback: (places: readonly SnapshotPlace[]) => void): void {
    const { remote, logId } = this.#options;
    void this.#listed(remote).then((infos) => {
      const places = infos.filter(({ label, problem }) => problem === undefined && label.logId === logId);
      callback(places.map(({ label }) => label).reverse());
    });
  }

  #publish(published: Promise<SnapshotInfo>, callback: (error: OperatingError | undefined) => void): void {
    published
      .then(async (info) => {
        const { local, remote, isLeading } = this.#options;
        await local?.prune(info.label, SNAPSHOTS_KEPT);
        if (!isLeading()) return;
        if (local !== undefined) await copySnapshot(local, info, remote);
        await remote.prune(info.label, SNAPSHOTS_KEPT);
      })
      .then(
        () => callback(undefined),
        (error: unknown) => callback(asOperatingError(error)),
      );
  }

  /** The newest that is good, of whichever store: a local one is as good as its copy, and nearer. */
  async #newest(
    judge: (place: SnapshotPlace) => Promise<Standing>,
  ): Promise<{ readonly restored: LogPlace | undefined; readonly beyond: number }> {
    const { local, remote, logId, reporter } = this.#options;
    const stores = local === undefined ? [remote] : [local, remote];
    const listed = await Promise.all(
      stores.map(async (store) => (await this.#listed(store)).map((info) => ({ store, info }))),
    );
    const candidates = listed.flat().sort((left, right) => right.info.label.sequence - left.info.label.sequence);
    let beyond = 0;
    for (const { store, info } of candidates) {
      const isOurs = info.problem === undefined && info.label.logId === logId;
      const standing = isOurs ? await judge(info.label) : "of_log";
      if (standing === "foreign") continue;
      try {
        const restored = await this.#load(store, info);
        if (standing === "of_log") return { restored, beyond };
        // Only one that is whole may say that the log was longer once.
        const { sequence, streamSequence } = info.label;
        reporter.error("snapshot_beyond_log", { where: info.where, sequence, streamSequence });
        beyond = Math.max(beyond, streamSequence);
      } catch (error) {
        const { code, message } = asOperatingError(error);
        reporter.error("snapshot_unusable", { where: info.where, sequence: info.label.sequence, code, message });
      }
    }
    return { restored: undefined, beyond };
  }

  async #listed(store: SnapshotStore): Promise<readonly SnapshotInfo[]> {
    const { region, shard, reporter } = this.#options;
    try {
      return await store.list(region, shard);
    } catch (error) {
      const { code, message } = asOperatingError(error);
      reporter.error("snapshots_unlisted", { code, message });
      return [];
    }
  }

  #load(store: SnapshotStore, info: SnapshotInfo): Promise<LogPlace> {
    const { region, shard, logId } = this.#options;
    requireLog(info, { region, shard, logId });
    return restorePlace(store, info);
  }

  #labelOf(place: SnapshotPlace): SnapshotLabel {
    const { region, shard, clock } = this.#options;
    return { region, shard, ...place, createdAtMs: Math.floor(clock.wallMs()) };
  }
}

/** An operating error as it is; anything else is a bug, which ends the process. */
function asOperatingError(error: unknown): OperatingError {
  if (error instanceof OperatingError) return error;
  throw error;
}
