/** Trims a shard's log: only below snapshots that every dispatcher can load, and not before its followers have read it. */
import { Checkpoint, type Follower } from "../../../contracts/followers.ts";
import type { Alarm, Clock, Kv, Log, LogInfo, Reporter } from "../../../contracts/ports.ts";
import { checkpointKey } from "../../../contracts/subjects.ts";
import type { ShardState } from "../../core/state.ts";
import type { LogPressure } from "./log-pressure.ts";
import type { NodeConfig } from "./node-config.ts";
import type { SnapshotPlace, Snapshots } from "./snapshooter.ts";
import { searchPlace } from "./trim-search.ts";

/** Time between two looks whether there is something to trim, and while the byte limit is near. ms. */
const LOOK_MS = 10_000;
const LOOK_MS_URGENT = 1_000;
/** Snapshots that lie behind what is trimmed, unless the log is full: a damaged newest one leaves the older one and its tail. */
const SNAPSHOTS_BEHIND = 2;
/** Part of the log's byte limit that is kept for a follower at most: one dead sink never stops the mesh. */
const FOLLOWER_SHARE_MAX = 0.5;

export interface TrimmerOptions {
  readonly config: NodeConfig;
  readonly clock: Clock;
  readonly log: Log;
  readonly reporter: Reporter;
  readonly snapshots: Snapshots;
  readonly pressure: LogPressure;
  /** Bucket of the followers' checkpoints; absent: registered followers hold the log as if they had never begun. */
  readonly checkpoints: Kv | undefined;
}

/** How far a follower has come: everything behind it is still to be read. */
interface Position {
  readonly streamSequence: number;
  /** Log time of the frame there. ms. */
  readonly at: number;
}

/** A wrong picture of followers or snapshots trims less, never more; what is trimmed is always below a durable snapshot. */
export class Trimmer {
  readonly #options: TrimmerOptions;
  #lookedMs = Number.NEGATIVE_INFINITY;
  #isBusy = false;
  /** Names of the followers for which the log is not kept any more. */
  #detached: ReadonlySet<string> = new Set();

  constructor(options: TrimmerOptions) {
    this.#options = options;
  }

  get alarms(): readonly Alarm[] {
    return [...this.#detached].map((name) => ({
      code: "follower_detached",
      message: `the follower ${name} has fallen further behind than what is kept for it: it must start again from a snapshot, or be removed with configure`,
      isServing: true,
    }));
  }

  /** The leader's periodic look. */
  tick(state: ShardState): void {
    const { clock, pressure, snapshots } = this.#options;
    if (this.#isBusy || state.options.logTrim === "off") return;
    const everyMs = pressure.isTrimUrgent ? LOOK_MS_URGENT : LOOK_MS;
    if (clock.monotonicMs() - this.#lookedMs < everyMs) return;
    this.#lookedMs = clock.monotonicMs();
    this.#isBusy = true;
    snapshots.durable((places) => {
      // A full log takes no frame behind which another one could be cut.
      const behind = places.at(this.#options.pressure.level === "full" ? -1 : -SNAPSHOTS_BEHIND);
      if (behind === undefined) this.#isBusy = false;
      else this.#withInfo(state, behind);
    });
  }

  #withInfo(state: ShardState, snapshot: SnapshotPlace): void {
    this.#options.log.info(this.#options.config.ackTimeoutMs, (outcome) => {
      if (outcome.kind !== "info" || outcome.info.messages === 0) {
        this.#isBusy = false;
        return;
      }
      const { info } = outcome;
      this.#options.pressure.looked(info);
      if (snapshot.streamSequence <= info.firstSequence) {
        this.#isBusy = false;
        return;
      }
      this.#positions(state, (positions) => {
        if (positions === undefined) this.#isBusy = false;
        else this.#withPositions(state, snapshot, info, positions);
      });
    });
  }

  /** Asks for all checkpoints; undefined when one could not be read, for then nothing is known. */
  #positions(state: ShardState, callback: (positions: ReadonlyMap<string, Position> | undefined) => void): void {
    const { checkpoints, config } = this.#options;
    const names = [...state.followers.keys()];
    const positions = new Map<string, Position>();
    if (names.length === 0 || checkpoints === undefined) {
      callback(positions);
      return;
    }
    let missing = names.length;
    let isFailed = false;
    for (const name of names)
      checkpoints.get(checkpointKey(name, config.region, config.shard), (outcome) => {
        if (outcome.kind !== "ok") isFailed = true;
        else if (outcome.value !== undefined) {
          const checkpoint = decode(outcome.value.value);
          if (checkpoint?.logId === config.logId) positions.set(name, checkpoint);
        }
        missing -= 1;
        if (missing === 0) callback(isFailed ? undefined : positions);
      });
  }

  #withPositions(
    state: ShardState,
    snapshot: SnapshotPlace,
    info: LogInfo,
    positions: ReadonlyMap<string, Position>,
  ): void {
    const held = this.#heldBy(state, info, positions);
    const { pressure, log, config } = this.#options;
    const upper = Math.min(snapshot.streamSequence, held);
    const { logKeepEvents, logKeepMs } = state.options;
    // The limit of the stream comes before what is kept for readers that nobody knows.
    const limits = pressure.isTrimUrgent
      ? { first: Number.POSITIVE_INFINITY, at: Number.POSITIVE_INFINITY }
      : { first: state.sequence - logKeepEvents, at: state.at - logKeepMs };
    if (upper <= info.firstSequence) this.#isBusy = false;
    else
      searchPlace(log, config.ackTimeoutMs, { lower: info.firstSequence, upper, ...limits }, (keepFrom) => {
        if (keepFrom === undefined || keepFrom <= info.firstSequence) this.#isBusy = false;
        else this.#trim(keepFrom);
      });
  }

  /** The stream sequence that the slowest follower has reached, of those for which the log is still kept. */
  #heldBy(state: ShardState, info: LogInfo, positions: ReadonlyMap<string, Position>): number {
    let held = Number.POSITIVE_INFINITY;
    const detached = new Set<string>();
    for (const [name, follower] of state.followers) {
      // One that has never reported stands before the oldest message, as long as that is not older than what is kept for it.
      const position = positions.get(name) ?? {
        streamSequence: info.firstSequence - 1,
        at: this.#firstSeen(name, state),
      };
      if (isTooFar(follower, position, info, state.at)) detached.add(name);
      else held = Math.min(held, Math.max(position.streamSequence, info.firstSequence));
    }
    for (const name of detached)
      if (!this.#detached.has(name)) this.#options.reporter.error("follower_detached", { follower: name });
    this.#detached = detached;
    for (const name of this.#seen.keys()) if (!state.followers.has(name)) this.#seen.delete(name);
    return held;
  }

  readonly #seen = new Map<string, number>();

  /** Log time at which this leader first looked at a follower without a checkpoint. ms. */
  #firstSeen(name: string, state: ShardState): number {
    const seen = this.#seen.get(name) ?? state.at;
    this.#seen.set(name, seen);
    return seen;
  }

  #trim(keepFrom: number): void {
    const { log, config, reporter } = this.#options;
    log.trim(keepFrom, config.ackTimeoutMs, (outcome) => {
      this.#isBusy = false;
      if (outcome.kind === "failed") {
        reporter.warn("trim_failed", { keepFrom, code: outcome.error.code, message: outcome.error.message });
        return;
      }
      reporter.info("log_trimmed", { keepFrom });
      log.info(config.ackTimeoutMs, (after) => {
        if (after.kind === "info") this.#options.pressure.looked(after.info);
      });
    });
  }
}

/** Whether more lies behind a follower than is kept for it. Bytes are estimated from the mean of the stored messages. */
function isTooFar(follower: Follower, position: Position, info: LogInfo, nowMs: number): boolean {
  const behind = info.lastSequence - position.streamSequence;
  if (behind <= 0) return false;
  const bytes = (info.bytes / info.messages) * behind;
  const limit =
    info.bytesMax > 0 ? Math.min(follower.keepBytes, info.bytesMax * FOLLOWER_SHARE_MAX) : follower.keepBytes;
  return position.streamSequence < info.firstSequence - 1 || bytes > limit || nowMs - position.at > follower.keepMs;
}

function decode(value: Uint8Array): Checkpoint | undefined {
  try {
    const parsed = Checkpoint.safeParse(JSON.parse(new TextDecoder().decode(value)));
    return parsed.success ? parsed.data : undefined;
  } catch {
    return undefined; // no JSON: nobody's checkpoint
  }
}
