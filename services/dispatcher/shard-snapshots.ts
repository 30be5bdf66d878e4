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
import { isToldAt } from "./node/alarms.ts";
import {
  SNAPSHOTS_KEPT,
  type SnapshotPlace,
  type SnapshotSink,
  type Snapshots,
  type Standing,
} from "./node/snapshooter.ts";
import type { SnapshotSource } from "./node/snapshot-source.ts";

/** What a reading says of the snapshot itself; anything else is about the place that keeps it. */
const VERDICTS: ReadonlySet<string> = new Set(["snapshot_damaged", "snapshot_version", "snapshot_foreign"]);

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

interface Newest {
  readonly restored: LogPlace | undefined;
  readonly beyond: number;
  /** Why the shared store could not be asked for all that it has. */
  readonly problem: OperatingError | undefined;
}

export class ShardSnapshots implements Snapshots, SnapshotSource {
  readonly #options: ShardSnapshotsOptions;
  /** By store, the listings that failed since the last one that did not. */
  readonly #unlisted = new Map<SnapshotStore, number>();

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

  load(...[judge, callback]: Parameters<SnapshotSource["load"]>): void {
    // A crash here would be a bug: every operating error is told and means "no snapshot".
    void this.#newest((place) => new Promise((resolve) => judge(place, resolve))).then(
      ({ restored, beyond, problem }) => callback(restored, beyond, problem),
    );
  }

  durable(callback: Parameters<SnapshotSource["durable"]>[0]): void {
    const { remote, logId } = this.#options;
    void this.#listed(remote).then(({ infos, problem }) => {
      const places = infos.filter(({ label, problem }) => problem === undefined && label.logId === logId);
      callback(places.map(({ label }) => label).reverse(), problem);
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
  async #newest(judge: (place: SnapshotPlace) => Promise<Standing>): Promise<Newest> {
    const { local, remote, logId, reporter } = this.#options;
    const [ours, shared] = await Promise.all([local && this.#listed(local), this.#listed(remote)]);
    const candidates = [
      ...(ours?.infos ?? []).map((info) => ({ store: local ?? remote, info })),
      ...shared.infos.map((info) => ({ store: remote, info })),
    ].sort((left, right) => right.info.label.sequence - left.info.label.sequence);
    let beyond = 0;
    let { problem } = shared;
    for (const { store, info } of candidates) {
      const isOurs = info.problem === undefined && info.label.logId === logId;
      const standing = isOurs ? await judge(info.label) : "of_log";
      if (standing === "foreign") continue;
      try {
        const restored = await this.#load(store, info);
        if (standing === "of_log") return { restored, beyond, problem };
        // Only one that is whole may say that the log was longer once.
        const { sequence, streamSequence } = info.label;
        reporter.error("snapshot_beyond_log", { where: info.where, sequence, streamSequence });
        beyond = Math.max(beyond, streamSequence);
      } catch (error) {
        const failure = asOperatingError(error);
        const { code, message } = failure;
        if (store === remote && !VERDICTS.has(code)) problem ??= failure;
        reporter.error("snapshot_unusable", { where: info.where, sequence: info.label.sequence, code, message });
      }
    }
    return { restored: undefined, beyond, problem };
  }

  async #listed(
    store: SnapshotStore,
  ): Promise<{ readonly infos: readonly SnapshotInfo[]; readonly problem?: OperatingError }> {
    const { region, shard, reporter } = this.#options;
    try {
      const infos = await store.list(region, shard);
      this.#unlisted.delete(store);
      return { infos };
    } catch (error) {
      const problem = asOperatingError(error);
      const { code, message } = problem;
      const count = (this.#unlisted.get(store) ?? 0) + 1;
      this.#unlisted.set(store, count);
      if (isToldAt(count)) reporter.error("snapshots_unlisted", { code, message, count });
      return { infos: [], problem };
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
