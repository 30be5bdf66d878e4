/** Snapshots as those ask for them who must tell "there is none" from "nobody could be asked". */
import type { OperatingError } from "../../../contracts/errors.ts";
import type { LogPlace } from "../../core/log-fold.ts";
import type { SnapshotPlace, Standing } from "./snapshooter.ts";

/** `problem`: why a place that all dispatchers share could not be asked, so that there may be more than was found. */
export interface SnapshotSource {
  /** As `Snapshots.load`. */
  load(
    judge: (place: SnapshotPlace, callback: (standing: Standing) => void) => void,
    callback: (restored: LogPlace | undefined, beyond: number, problem?: OperatingError) => void,
  ): void;
  /** As `Snapshots.durable`. */
  durable(callback: (places: readonly SnapshotPlace[], problem?: OperatingError) => void): void;
}
