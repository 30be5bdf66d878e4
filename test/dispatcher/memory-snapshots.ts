/** Snapshots in memory, for nodes on a virtual clock. */

import type { OperatingError } from "../../contracts/errors.ts";
import type { LogPlace } from "../../services/core/log-fold.ts";
import type { ChainTip } from "../../services/core/log-reader.ts";
import { SnapshotLoader } from "../../services/core/snapshot-load.ts";
import type { SnapshotPlace, Snapshots, Standing } from "../../services/dispatcher/node/snapshooter.ts";

interface Published {
  readonly place: SnapshotPlace;
  readonly text: string;
}

/** A store of published snapshots; `isFull` refuses every other text, as a slow writer would. */
export class MemorySnapshots implements Snapshots {
  readonly published: Published[] = [];
  loads = 0;
  /** What publishing fails with. */
  failure: OperatingError | undefined;

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

  load(
    judge: (place: SnapshotPlace, callback: (standing: Standing) => void) => void,
    callback: (restored: LogPlace | undefined, beyond: number) => void,
  ): void {
    this.loads += 1;
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

  durable(callback: (places: readonly SnapshotPlace[]) => void): void {
    callback(this.published.map(({ place }) => place));
  }
}

function restore({ place, text }: Published): LogPlace {
  const loader = new SnapshotLoader();
  loader.add(text);
  const { chain, term, first, at, sequence, streamSequence } = place;
  const tip: ChainTip = { chain, term, first, nextSequence: sequence + 1, at };
  return { state: loader.finish(), tip, streamSequence };
}
