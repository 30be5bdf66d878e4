/** Folds a shard's log to a state: from the newest good snapshot that helps and the messages behind it, or from the log's beginning. */
import type { NatsConnection } from "@nats-io/transport-node";
import { OperatingError } from "../../contracts/errors.ts";
import { type FoldProblem, LogFold } from "../core/log-fold.ts";
import { readLogMessages } from "../jetstream/read-log.ts";
import { chainOf } from "../runtime/frame-codec.ts";
import { type LogBounds, logBounds } from "./log-bounds.ts";
import type { FoundSnapshot, PassedSnapshot, ShardAddress, SnapshotPlaces } from "./snapshot-places.ts";

/** How often a reading that the trimming of the log has overtaken begins again. */
const RESTARTS_MAX = 20;

export interface FoldRequest extends ShardAddress {
  /** Event sequence to fold to; the log's end when absent. */
  readonly sequence?: number | undefined;
  /** Validate every event against its schema. */
  readonly isStrict: boolean;
  /** Only snapshots below this event sequence may be begun with. */
  readonly snapshotsBelow?: number | undefined;
  readonly onProgress?: ((read: number, total: number) => void) | undefined;
}

export interface FoldedLog {
  readonly fold: LogFold;
  /** What the folding began with; undefined: the log's beginning. */
  readonly base: FoundSnapshot | undefined;
  readonly passed: readonly PassedSnapshot[];
}

/**
 * Throws: OperatingError `state_unreachable` for a sequence that the log does not lead to (any more, or yet), `log_empty`, the code of what
 * is wrong with the log, and what NATS answers.
 */
export function foldLog(connection: NatsConnection, places: SnapshotPlaces, request: FoldRequest): Promise<FoldedLog> {
  return againWhenTrimmed(() => foldOnce(connection, places, request));
}

/** Does a reading of the log again that failed because the log was trimmed meanwhile. */
export async function againWhenTrimmed<Result>(step: () => Promise<Result>): Promise<Result> {
  for (let restarts = 0; ; restarts += 1)
    try {
      return await step();
    } catch (error) {
      if (!(error instanceof OperatingError) || error.code !== "log_trimmed" || restarts === RESTARTS_MAX) throw error;
    }
}

async function foldOnce(connection: NatsConnection, places: SnapshotPlaces, request: FoldRequest): Promise<FoldedLog> {
  const { region, shard, sequence = Number.MAX_SAFE_INTEGER, snapshotsBelow = Infinity, isStrict } = request;
  const bounds = await logBounds(connection, { region, shard });
  const listed = await places.list({ region, shard });
  const useful = listed.filter(({ info }) => info.label.sequence <= sequence && info.label.sequence < snapshotsBelow);
  const passed: PassedSnapshot[] = [];
  const base = await places.choose(useful, bounds, passed);
  if (base === undefined && bounds.first > 1) throw unreachable(request, bounds, listed, passed);
  const options = { region, shard, logId: base?.place.state.logId ?? "", hashOf: chainOf, strict: isStrict };
  const fold = new LogFold(options, base?.place, sequence);
  const problem = await readTail(connection, fold, request, bounds);
  if (problem !== undefined) throw brokenLog(request, fold, problem);
  if (fold.state.sequence === 0 && sequence > 0)
    throw new OperatingError("log_empty", `the log of ${region}/${shard} holds no frame`, { definite: true });
  if (request.sequence !== undefined && !fold.isComplete)
    throw new OperatingError(
      "state_unreachable",
      `the log of ${region}/${shard} ends at sequence ${fold.state.sequence}: it does not lead to sequence ${request.sequence}`,
      { definite: true },
    );
  return { fold, base: base?.found, passed };
}

/** Takes messages up to the end of the stream as the bounds tell it, or until the fold has come far enough. */
export async function readTail(
  connection: NatsConnection,
  fold: LogFold,
  { region, shard, onProgress }: Pick<FoldRequest, "region" | "shard" | "onProgress">,
  { last }: LogBounds,
): Promise<FoldProblem | undefined> {
  const start = fold.streamSequence;
  if (fold.isComplete || start >= last) return undefined;
  for await (const message of readLogMessages(connection, { region, shard, from: start + 1, to: last })) {
    const problem = fold.take(message);
    if (problem !== undefined) return problem;
    onProgress?.(message.streamSequence - start, last - start);
    if (fold.isComplete) return undefined;
  }
  if (fold.streamSequence >= last) return undefined;
  const message = `the stream ends at ${last}, but nothing came after ${fold.streamSequence}`;
  return { code: "log_gap", message };
}

function brokenLog({ region, shard }: ShardAddress, fold: LogFold, { code, message }: FoldProblem): OperatingError {
  const advice = `see: omnirelay log verify --region ${region} --shard ${shard}`;
  return new OperatingError(
    code,
    `the log of ${region}/${shard} is not whole, at stream sequence ${fold.streamSequence}: ${code}: ${message}; ${advice}`,
    { definite: true },
  );
}

function unreachable(
  { region, shard, sequence, snapshotsBelow }: FoldRequest,
  { first }: LogBounds,
  listed: readonly FoundSnapshot[],
  passed: readonly PassedSnapshot[],
): OperatingError {
  const target = sequence === undefined ? "its end" : `sequence ${sequence}`;
  const known = listed.map(({ info }) => info.label.sequence);
  const below = snapshotsBelow === undefined ? "" : ` below sequence ${snapshotsBelow}`;
  const problems = passed.map(({ message }) => `; ${message}`).join("");
  return new OperatingError(
    "state_unreachable",
    `the log of ${region}/${shard} is trimmed below stream sequence ${first}, and no good snapshot${below} from there leads to ${target} (snapshots at: ${known.join(", ") || "none"})${problems}; wait for the leader's next snapshot, or give --data-dir of a dispatcher that has an older one`,
    { definite: true },
  );
}
