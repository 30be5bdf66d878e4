/** Verifies a snapshot: its bytes, its state, its place in the log, and that the log behind it agrees with it. */
import type { NatsConnection } from "@nats-io/transport-node";
import { OperatingError } from "../../contracts/errors.ts";
import { LogFold } from "../core/log-fold.ts";
import { restorePlace } from "../persistence/mod.ts";
import { chainOf } from "../runtime/frame-codec.ts";
import { againWhenTrimmed, readTail } from "./fold-log.ts";
import { logBounds } from "./log-bounds.ts";
import type { FoundSnapshot, SnapshotPlaces } from "./snapshot-places.ts";

/** `anchored`: the log's message at its place is the frame it was cut behind. `trimmed`: that message is not there any more. */
type Anchor = "anchored" | "trimmed";

export interface SnapshotVerdict {
  readonly found: FoundSnapshot;
  readonly problem?: { readonly code: string; readonly message: string } | undefined;
  readonly anchor?: Anchor | undefined;
  /** How far the log was folded from the snapshot on; undefined when its tail is not there any more. */
  readonly folded?: FoldedTail | undefined;
}

interface FoldedTail {
  /** Event sequence and stream sequence at the end. */
  readonly sequence: number;
  readonly streamSequence: number;
  /** Hashes of the state in the log that agreed. */
  readonly stateHashes: number;
  readonly voids: number;
}

export type OnProgress = (what: "reading" | "folding", value: number, total: number) => void;

/** Throws what NATS and the stores answer; what is wrong with the snapshot is in the verdict. */
export async function verifySnapshot(
  connection: NatsConnection,
  places: SnapshotPlaces,
  found: FoundSnapshot,
  onProgress: OnProgress,
): Promise<SnapshotVerdict> {
  try {
    return { found, ...(await againWhenTrimmed(() => verifyOnce(connection, places, found, onProgress))) };
  } catch (error) {
    if (!(error instanceof OperatingError) || !/^(snapshot|log|state)_|^stream_missing$/.test(error.code)) throw error;
    return { found, problem: { code: error.code, message: error.message } };
  }
}

async function verifyOnce(
  connection: NatsConnection,
  places: SnapshotPlaces,
  { info, store }: FoundSnapshot,
  onProgress: OnProgress,
): Promise<Omit<SnapshotVerdict, "found">> {
  const { region, shard, sequence, streamSequence } = info.label;
  const place = await restorePlace(store, info, (length) => onProgress("reading", length, info.textBytes));
  const bounds = await logBounds(connection, { region, shard });
  if (streamSequence > bounds.last) throw beyondLog(info.label, bounds.last);
  if (streamSequence >= bounds.first) await places.checkAnchor(info);
  const anchor: Anchor = streamSequence >= bounds.first ? "anchored" : "trimmed";
  if (streamSequence < bounds.first - 1) return { anchor };
  const fold = new LogFold({ region, shard, logId: place.state.logId, hashOf: chainOf, strict: true }, place);
  const onRead = (value: number, total: number) => onProgress("folding", value, total);
  const problem = await readTail(connection, fold, { region, shard, onProgress: onRead }, bounds);
  const folded = {
    sequence: fold.state.sequence,
    streamSequence: fold.streamSequence,
    stateHashes: fold.stateHashes,
    voids: fold.voids,
  };
  if (problem === undefined) return { anchor, folded };
  const { code, message } = problem;
  const advice =
    code === "state_diverged"
      ? `the snapshot or the leader that wrote the log behind it is wrong; compare: omnirelay state diff --region ${region} --shard ${shard} snapshot:${sequence}`
      : `see: omnirelay log verify --region ${region} --shard ${shard}`;
  const what = `the log behind the snapshot at sequence ${sequence} does not follow from it, at stream sequence ${fold.streamSequence}: ${message}; ${advice}`;
  return { anchor, folded, problem: { code, message: what } };
}

function beyondLog(
  { region, shard, sequence, streamSequence }: FoundSnapshot["info"]["label"],
  last: number,
): OperatingError {
  return new OperatingError(
    "log_tail_lost",
    `the snapshot of ${region}/${shard} at sequence ${sequence} was cut at stream sequence ${streamSequence}, but the stream ends at ${last}: the log lost its tail, or the snapshot is of another log; restore the stream before anybody leads`,
    { definite: true },
  );
}
