/** The snapshots of one dispatcher: written piece by piece into its data folder, copied to the store that all share; only published ones survive. */
import { OperatingError } from "../../contracts/errors.ts";
import { stateHash } from "../../services/core/hash.ts";
import type { LogPlace } from "../../services/core/log-fold.ts";
import type { ChainTip } from "../../services/core/log-reader.ts";
import { SnapshotLoader } from "../../services/core/snapshot-load.ts";
import {
  SNAPSHOTS_KEPT,
  type SnapshotPlace,
  type SnapshotSink,
  type Snapshots,
} from "../../services/dispatcher/node/snapshooter.ts";
import type { SnapshotSource } from "../../services/dispatcher/node/snapshot-source.ts";
import type { Draws } from "./choices.ts";
import type { SimProcess } from "./scheduler.ts";

export interface StoredSnapshot {
  readonly place: SnapshotPlace;
  readonly text: string;
}

/** Where snapshots lie, oldest first; outlives the processes. */
export class SnapshotShelf {
  #stored: readonly StoredSnapshot[] = [];
  /** As it was when it was synced last. */
  #synced: readonly StoredSnapshot[] = [];
  /** While set it neither takes nor gives anything. */
  isDown = false;

  get stored(): readonly StoredSnapshot[] {
    return this.#stored;
  }

  /** To publish syncs; that older ones are removed behind it need not survive. */
  add(snapshot: StoredSnapshot): void {
    if (this.#stored.some(({ place }) => place.sequence === snapshot.place.sequence)) return;
    this.#synced = [...this.#stored, snapshot].sort((left, right) => left.place.sequence - right.place.sequence);
    this.#stored = this.#synced.slice(-SNAPSHOTS_KEPT);
  }

  /** The machine loses its power. */
  cut(): void {
    this.#stored = this.#synced;
  }
}

export interface SimSnapshotsOptions {
  readonly process: SimProcess;
  readonly draws: Draws;
  readonly local: SnapshotShelf;
  readonly remote: SnapshotShelf;
  readonly logId: string;
  readonly isLeading: () => boolean;
  readonly isDiskBroken: () => boolean;
  /** A step of writing; may end the process. */
  readonly step: (name: "offer" | "publish") => void;
  /** A snapshot is there for others to load. */
  readonly onPublished: (snapshot: StoredSnapshot) => void;
}

const unreachable = (): OperatingError =>
  new OperatingError("snapshots_unreachable", "the shared store does not answer", { definite: false });

export class SimSnapshots implements Snapshots, SnapshotSource {
  readonly #options: SimSnapshotsOptions;

  constructor(options: SimSnapshotsOptions) {
    this.#options = options;
  }

  begin(): SnapshotSink {
    const { draws, step, process, local, onPublished, isDiskBroken } = this.#options;
    const texts: string[] = [];
    return {
      offer: (text) => {
        step("offer");
        if (draws.chance(0.2)) return false;
        texts.push(text);
        return true;
      },
      publish: (place, callback) => {
        step("publish");
        const snapshot = { place, text: texts.join("") };
        process.setTimer(1 + draws.next() * 30, () => {
          if (isDiskBroken()) {
            callback(new OperatingError("snapshot_unwritten", "the disk is full", { definite: true }));
            return;
          }
          local.add(snapshot);
          onPublished(snapshot);
          this.#copy(snapshot, callback);
        });
      },
      abort: () => undefined,
    };
  }

  load(...[judge, callback]: Parameters<SnapshotSource["load"]>): void {
    const { process, local, remote, logId, isDiskBroken } = this.#options;
    const problem = remote.isDown ? unreachable() : undefined;
    const candidates = [...(isDiskBroken() ? [] : local.stored), ...(remote.isDown ? [] : remote.stored)]
      .filter(({ place }) => place.logId === logId)
      .sort((left, right) => right.place.sequence - left.place.sequence);
    let beyond = 0;
    const next = (): void => {
      const candidate = candidates.shift();
      if (candidate === undefined) callback(undefined, beyond, problem);
      else
        judge(candidate.place, (standing) => {
          const restored = standing === "foreign" ? undefined : restore(candidate);
          if (restored !== undefined && standing === "beyond")
            beyond = Math.max(beyond, candidate.place.streamSequence);
          if (restored === undefined || standing !== "of_log") next();
          else callback(restored, beyond, problem);
        });
    };
    process.setTimer(1 + this.#options.draws.next() * 10, next);
  }

  durable(callback: Parameters<SnapshotSource["durable"]>[0]): void {
    const { process, remote, draws } = this.#options;
    process.setTimer(1 + draws.next() * 10, () => {
      if (remote.isDown) callback([], unreachable());
      else callback(remote.stored.map(({ place }) => place));
    });
  }

  /** One copy in the shared store is enough: the leader makes it. */
  #copy(snapshot: StoredSnapshot, callback: (error: OperatingError | undefined) => void): void {
    const { process, remote, draws, isLeading } = this.#options;
    if (!isLeading()) {
      callback(undefined);
      return;
    }
    process.setTimer(5 + draws.next() * 100, () => {
      if (remote.isDown) callback(unreachable());
      else {
        remote.add(snapshot);
        callback(undefined);
      }
    });
  }
}

/** The state of a snapshot; undefined when its label is not that of its contents. */
export function restore({ place, text }: StoredSnapshot): LogPlace | undefined {
  const loader = new SnapshotLoader();
  loader.add(text);
  const state = loader.finish();
  const { chain, term, first, at, sequence, streamSequence, hash } = place;
  if (state.sequence !== sequence || stateHash(state) !== hash) return undefined;
  const tip: ChainTip = { chain, term, first, nextSequence: sequence + 1, at };
  return { state, tip, streamSequence };
}
