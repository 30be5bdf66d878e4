/** The snapshots of one dispatcher: written piece by piece into its data folder, copied to the store that all share; only published ones survive. */
import { OperatingError } from "../../contracts/errors.ts";
import { stateHash } from "../../services/core/hash.ts";
import type { LogPlace } from "../../services/core/log-fold.ts";
import type { ChainTip } from "../../services/core/log-reader.ts";
import { SnapshotLoader } from "../../services/core/snapshot-load.ts";
import type { SnapshotPlace, SnapshotSink, Snapshots, Standing } from "../../services/dispatcher/node/snapshooter.ts";
import type { Draws } from "./choices.ts";
import type { SimProcess } from "./scheduler.ts";

export interface StoredSnapshot {
  readonly place: SnapshotPlace;
  readonly text: string;
}

/** Good snapshots kept in each store: the newest, and one to fall back on. */
const KEPT = 2;

/** Where snapshots lie, oldest first; outlives the processes. */
export class SnapshotShelf {
  readonly stored: StoredSnapshot[] = [];
  /** While set it neither takes nor gives anything. */
  isDown = false;
  /** When somebody asked for snapshots in vain last. ms. */
  missedMs = Number.NEGATIVE_INFINITY;

  add(snapshot: StoredSnapshot): void {
    if (this.stored.some(({ place }) => place.sequence === snapshot.place.sequence)) return;
    this.stored.push(snapshot);
    this.stored.sort((left, right) => left.place.sequence - right.place.sequence);
    while (this.stored.length > KEPT) this.stored.shift();
  }
}

export interface SimSnapshotsOptions {
  readonly process: SimProcess;
  readonly draws: Draws;
  readonly local: SnapshotShelf;
  readonly remote: SnapshotShelf;
  readonly logId: string;
  readonly isLeading: () => boolean;
  /** A step of writing; may end the process. */
  readonly step: (name: "offer" | "publish") => void;
  /** A snapshot is there for others to load. */
  readonly onPublished: (snapshot: StoredSnapshot) => void;
}

export class SimSnapshots implements Snapshots {
  readonly #options: SimSnapshotsOptions;

  constructor(options: SimSnapshotsOptions) {
    this.#options = options;
  }

  begin(): SnapshotSink {
    const { draws, step, process, local, onPublished } = this.#options;
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
          if (local.isDown) {
            callback(new OperatingError("snapshot_unwritten", "the disk is full", { definite: true }));
            return;
          }
          local.add(snapshot);
          onPublished(snapshot);
          this.#copy(snapshot);
          callback(undefined);
        });
      },
      abort: () => undefined,
    };
  }

  load(
    judge: (place: SnapshotPlace, callback: (standing: Standing) => void) => void,
    callback: (restored: LogPlace | undefined, beyond: number) => void,
  ): void {
    const { process, local, remote, logId } = this.#options;
    if (remote.isDown) remote.missedMs = process.scheduler.nowMs;
    const candidates = [...(local.isDown ? [] : local.stored), ...(remote.isDown ? [] : remote.stored)]
      .filter(({ place }) => place.logId === logId)
      .sort((left, right) => right.place.sequence - left.place.sequence);
    let beyond = 0;
    const next = (): void => {
      const candidate = candidates.shift();
      if (candidate === undefined) callback(undefined, beyond);
      else
        judge(candidate.place, (standing) => {
          const restored = standing === "foreign" ? undefined : restore(candidate);
          if (restored !== undefined && standing === "beyond")
            beyond = Math.max(beyond, candidate.place.streamSequence);
          if (restored === undefined || standing !== "of_log") next();
          else callback(restored, beyond);
        });
    };
    process.setTimer(1 + this.#options.draws.next() * 10, next);
  }

  durable(callback: (places: readonly SnapshotPlace[]) => void): void {
    const { process, remote, draws } = this.#options;
    process.setTimer(1 + draws.next() * 10, () =>
      callback(remote.isDown ? [] : remote.stored.map(({ place }) => place)),
    );
  }

  /** One copy in the shared store is enough: the leader makes it. */
  #copy(snapshot: StoredSnapshot): void {
    const { process, remote, draws, isLeading } = this.#options;
    if (!isLeading()) return;
    process.setTimer(5 + draws.next() * 100, () => {
      if (!remote.isDown) remote.add(snapshot);
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
