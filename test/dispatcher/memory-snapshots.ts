/** Snapshots in memory, for nodes on a virtual clock. */

import type { OperatingError } from "../../contracts/errors.ts";
import type { LogPlace } from "../../services/core/log-fold.ts";
import type { ChainTip } from "../../services/core/log-reader.ts";
import { SnapshotLoader } from "../../services/core/snapshot-load.ts";
import type { SnapshotPlace, Snapshots } from "../../services/dispatcher/node/snapshooter.ts";
import type { SnapshotSource } from "../../services/dispatcher/node/snapshot-source.ts";

interface Published {
  readonly place: SnapshotPlace;
  readonly text: string;
}

/** A store of published snapshots; `isFull` refuses every other text, as a slow writer would. */
export class MemorySnapshots implements Snapshots, SnapshotSource {
  readonly published: Published[] = [];
  loads = 0;
  /** What publishing fails with. */
  failure: OperatingError | undefined;
  /** Why it cannot be asked what it has. */
  unreachable: OperatingError | undefined;
  /** Called when a load begins. */
  loading: () => void = () => undefined;

  begin() {
    const texts: string[] = [];
    let count = 0;
    return {
      offer: (text: string) => {
        count += 1;
        if (count % 2 === 0) return false;
        texts.push(text);
        return true;
      },
      publish: (place: SnapshotPlace, callback: (error: OperatingError | undefined) => void) => {
        if (this.failure !== undefined) return callback(this.failure);
        this.published.push({ place, text: texts.join("") });
        callback(undefined);
      },
      abort: () => {},
    };
  }

  load(...[judge, callback]: Parameters<SnapshotSource["load"]>): void {
    this.loads += 1;
    this.loading();
    if (this.unreachable !== undefined) {
      callback(undefined, 0, this.unreachable);
      return;
    }
    const candidates = [...this.published].reverse();
    let beyond = 0;
    const next = (): void => {
      const candidate = candidates.shift();
      if (candidate === undefined) {
        callback(undefined, beyond);
        return;
      }
      judge(candidate.place, (standing) => {
        if (standing === "of_log") return callback(restore(candidate), beyond);
        if (standing === "beyond") beyond = Math.max(beyond, candidate.place.streamSequence);
        next();
      });
    };
    next();
  }

  durable(callback: Parameters<SnapshotSource["durable"]>[0]): void {
    if (this.unreachable === undefined) callback(this.published.map(({ place }) => place));
    else callback([], this.unreachable);
  }
}

function restore({ place, text }: Published): LogPlace {
  const loader = new SnapshotLoader();
  loader.add(text);
  const { chain, term, first, at, sequence, streamSequence } = place;
  const tip: ChainTip = { chain, term, first, nextSequence: sequence + 1, at };
  return { state: loader.finish(), tip, streamSequence };
}
