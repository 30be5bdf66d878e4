/** Trims a shard's log: only below snapshots that every dispatcher can load, and not before its followers have read it. */
import { Checkpoint, type Follower } from "../../../contracts/followers.ts";
import type { Alarm, Clock, Kv, Log, LogInfo, Reporter } from "../../../contracts/ports.ts";
import { checkpointKey } from "../../../contracts/subjects.ts";
import type { ShardState } from "../../core/state.ts";
import type { LogPressure } from "./log-pressure.ts";
import type { NodeConfig } from "./node-config.ts";
import { SNAPSHOTS_KEPT, type SnapshotPlace, type Snapshots } from "./snapshooter.ts";
import { searchPlace } from "./trim-search.ts";

/** Time between two looks whether there is something to trim, and while the byte limit is near. ms. */
const LOOK_MS = 10_000;
const LOOK_MS_URGENT = 1_000;
/** Part of the log's byte limit that is kept for a follower at most: one dead sink never stops the mesh. */
const FOLLOWER_SHARE_MAX = 0.5;
/** A server takes no append while it purges, so a trim goes in this many steps, each within these sizes, with rests between them. */
const STEPS = 100;
const STEP_MESSAGES_MIN = 16;
const STEP_MESSAGES_MAX = 256;
const STEP_REST_MS = 50;

export interface TrimmerOptions {
  readonly config: NodeConfig;
  readonly clock: Clock;
  readonly log: Log;
  readonly reporter: Reporter;
  readonly snapshots: Snapshots;
  /** The snapshots that this process has written and seen read back: a label alone proves nothing. */
  readonly written: () => readonly SnapshotPlace[];
  readonly pressure: LogPressure;
  /** Bucket of the followers' checkpoints; absent: registered followers hold the log as if they had never begun. */
  readonly checkpoints: Kv | undefined;
  /** The state that this node leads with; undefined while it does not lead. */
  readonly leading: () => ShardState | undefined;
  /** Stream sequence of the last frame that was acknowledged to this node. */
  readonly lastSequence: () => number;
}

/** What one look rests on: trimming is only right as long as this is what the shard wants. */
interface Round {
  readonly state: ShardState;
  readonly followers: ShardState["followers"];
  readonly options: ShardState["options"];
  /** What may be trimmed behind; undefined when nothing may. */
  readonly snapshot: SnapshotPlace | undefined;
  /** Stream sequences that the followers have reached. */
  readonly positions: ReadonlyMap<string, number>;
}

/** Since when a follower has not read all that was there at that time. */
interface Lag {
  readonly lastSequence: number;
  /** Log time. ms. */
  readonly at: number;
}

/** A wrong picture of followers or snapshots trims less, never more; what is trimmed is always below two durable snapshots. */
export class Trimmer {
  readonly #options: TrimmerOptions;
  readonly #lags = new Map<string, Lag>();
  #lookedMs = Number.NEGATIVE_INFINITY;
  #isBusy = false;
  #beganMs = 0;
  /** By follower, what is wrong with it. */
  #alarms: ReadonlyMap<string, Alarm> = new Map();

  constructor(options: TrimmerOptions) {
    this.#options = options;
  }

  get alarms(): readonly Alarm[] {
    return [...this.#alarms.values()];
  }

  /** The node leads no more: how far the followers are is the successor's to tell. */
  resigned(): void {
    this.#alarms = new Map();
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
      const snapshot = this.#behind(places);
      // How far the followers are is told also while there is nothing that the log could be trimmed behind.
      const isIdle = snapshot === undefined && state.followers.size === 0 && this.#alarms.size === 0;
      if (isIdle) this.#isBusy = false;
      else this.#withSnapshot(state, snapshot);
    });
  }

  #behind(places: readonly SnapshotPlace[]): SnapshotPlace | undefined {
    const { written, pressure } = this.#options;
    const own = new Set(written().map(({ chain }) => chain));
    const proven = places.filter(({ chain }) => own.has(chain));
    // A full log takes no frame behind which another one could be cut.
    return proven.at(pressure.level === "full" ? -1 : -SNAPSHOTS_KEPT);
  }

  #withSnapshot(state: ShardState, snapshot: SnapshotPlace | undefined): void {
    const { followers, options } = state;
    this.#positions(followers, (positions) => {
      if (positions === undefined) this.#isBusy = false;
      // Read behind the checkpoints: none of them can be further than the log is now.
      else
        this.#options.log.info(this.#options.config.ackTimeoutMs, (outcome) => {
          if (outcome.kind !== "info" || outcome.info.messages === 0) this.#isBusy = false;
          else this.#withInfo({ state, followers, options, snapshot, positions }, outcome.info);
        });
    });
  }

  /** Asks for all checkpoints; undefined when one could not be read, for then nothing is known. */
  #positions(
    followers: ShardState["followers"],
    callback: (positions: ReadonlyMap<string, number> | undefined) => void,
  ): void {
    const { checkpoints, config } = this.#options;
    const positions = new Map<string, number>();
    if (followers.size === 0 || checkpoints === undefined) {
      callback(positions);
      return;
    }
    let missing = followers.size;
    let isFailed = false;
    for (const name of followers.keys())
      checkpoints.get(checkpointKey(name, config.region, config.shard), (outcome) => {
        if (outcome.kind !== "ok") isFailed = true;
        else if (outcome.value !== undefined) {
          const checkpoint = decode(outcome.value.value);
          if (checkpoint?.logId === config.logId) positions.set(name, checkpoint.streamSequence);
        }
        missing -= 1;
        if (missing === 0) callback(isFailed ? undefined : positions);
      });
  }

  #withInfo(round: Round, info: LogInfo): void {
    const { pressure, log, config, lastSequence, leading } = this.#options;
    const { state, snapshot } = round;
    pressure.looked(info);
    // One frame of ours may be under way; more than that is a successor's, who decides what is kept.
    if (info.lastSequence > lastSequence() + 1 || leading() !== state) {
      this.#isBusy = false;
      return;
    }
    const held = this.#heldBy(round, info);
    const upper = Math.min(snapshot?.streamSequence ?? 0, held, info.lastSequence);
    const { logKeepEvents, logKeepMs } = state.options;
    // The limit of the stream comes before what is kept for readers that nobody knows.
    const limits = pressure.isTrimUrgent
      ? { first: Number.POSITIVE_INFINITY, at: Number.POSITIVE_INFINITY }
      : { first: state.sequence - logKeepEvents, at: state.at - logKeepMs };
    if (upper <= info.firstSequence) this.#isBusy = false;
    else
      searchPlace(log, config.ackTimeoutMs, { lower: info.firstSequence, upper, ...limits }, (keepFrom) => {
        if (keepFrom === undefined || keepFrom <= info.firstSequence) this.#isBusy = false;
        else {
          const messages = Math.ceil((keepFrom - info.firstSequence) / STEPS);
          const step = Math.min(Math.max(messages, STEP_MESSAGES_MIN), STEP_MESSAGES_MAX);
          this.#beganMs = this.#options.clock.monotonicMs();
          this.#trim(round, info.firstSequence, keepFrom, step);
        }
      });
  }

  /** The stream sequence that the slowest follower has reached, of those for which the log is still kept. */
  #heldBy({ state, followers, positions }: Round, info: LogInfo): number {
    let held = Number.POSITIVE_INFINITY;
    const alarms = new Map<string, Alarm>();
    for (const [name, follower] of followers) {
      const known = positions.get(name);
      const isWrong = known !== undefined && known > info.lastSequence;
      // One that has never reported, or reports what cannot be, stands before the oldest message.
      const position = known === undefined || isWrong ? info.firstSequence - 1 : known;
      if (isWrong) alarms.set(name, wrongAlarm(name, known, info));
      if (isTooFar(follower, position, info, this.#lagMs(name, position, info, state.at)))
        alarms.set(name, detachedAlarm(name));
      else held = Math.min(held, Math.max(position, info.firstSequence));
    }
    this.#alarms = alarms;
    for (const name of this.#lags.keys()) if (!followers.has(name)) this.#lags.delete(name);
    return held;
  }

  /** How long a follower has not read all that was there: what it read last may be old because nothing has happened since. ms. */
  #lagMs(name: string, position: number, info: LogInfo, at: number): number {
    const lag = this.#lags.get(name);
    if (lag !== undefined && position < lag.lastSequence) return at - lag.at;
    this.#lags.set(name, { lastSequence: info.lastSequence, at });
    return 0;
  }

  /**
   * Trims from `first` up to `keepFrom`, step by step; the rest at once when there is no time. A step that was sent before a follower registered
   * may take what is older than its registration, nothing behind it: all steps end below what the log held when the round began.
   */
  #trim(round: Round, first: number, keepFrom: number, step: number): void {
    const { log, config, reporter, leading, pressure, clock } = this.#options;
    const { state, followers, options } = round;
    // What the shard wants may have changed while the questions, or the steps before, were under way.
    const isWanted = state.followers === followers && state.options === options && options.logTrim !== "off";
    if (leading() !== state || !isWanted) {
      this.#isBusy = false;
      return;
    }
    const next = pressure.isTrimUrgent ? keepFrom : Math.min(keepFrom, first + step);
    log.trim(next, config.ackTimeoutMs, (outcome) => {
      if (outcome.kind === "failed") {
        this.#isBusy = false;
        reporter.warn("trim_failed", { keepFrom: next, code: outcome.error.code, message: outcome.error.message });
      } else if (next < keepFrom) clock.setTimer(STEP_REST_MS, () => this.#trim(round, next, keepFrom, step));
      else this.#trimmed(keepFrom);
    });
  }

  #trimmed(keepFrom: number): void {
    const { log, config, reporter, pressure, clock } = this.#options;
    this.#isBusy = false;
    reporter.info("log_trimmed", { keepFrom, ms: Math.round(clock.monotonicMs() - this.#beganMs) });
    log.info(config.ackTimeoutMs, (after) => {
      if (after.kind === "info") pressure.looked(after.info);
    });
  }
}

/** Whether more lies behind a follower than is kept for it. Bytes are estimated from the mean of the stored messages. */
function isTooFar(follower: Follower, position: number, info: LogInfo, lagMs: number): boolean {
  const behind = info.lastSequence - position;
  if (behind <= 0) return false;
  const bytes = (info.bytes / info.messages) * behind;
  const limit =
    info.bytesMax > 0 ? Math.min(follower.keepBytes, info.bytesMax * FOLLOWER_SHARE_MAX) : follower.keepBytes;
  return position < info.firstSequence - 1 || bytes > limit || lagMs > follower.keepMs;
}

const detachedAlarm = (name: string): Alarm => ({
  code: "follower_detached",
  message: `the follower ${name} has fallen further behind than what is kept for it: it must start again from a snapshot, or be removed with configure`,
  isServing: true,
});

const wrongAlarm = (name: string, position: number, { lastSequence }: LogInfo): Alarm => ({
  code: "checkpoint_wrong",
  message: `the checkpoint of the follower ${name} says ${position}, but the log ends at ${lastSequence}: it is of another log or was changed by hand; the log is kept for it as if it had read nothing`,
  isServing: true,
});

function decode(value: Uint8Array): Checkpoint | undefined {
  try {
    const parsed = Checkpoint.safeParse(JSON.parse(new TextDecoder().decode(value)));
    return parsed.success ? parsed.data : undefined;
  } catch {
    return undefined; // no JSON: nobody's checkpoint
  }
}
