/** What a node does for its log beside leading and following it: watches its bounds, takes snapshots, trims it. */
import type { Alarm, Clock, Kv, Log, Reporter } from "../../../contracts/ports.ts";
import type { ShardState } from "../../core/state.ts";
import { LogPressure } from "./log-pressure.ts";
import { LogWatch, type OnLook } from "./log-watch.ts";
import type { NodeConfig } from "./node-config.ts";
import type { Replica } from "./replica.ts";
import { Snapshooter, type Snapshots } from "./snapshooter.ts";
import { Trimmer } from "./trimmer.ts";

export interface UpkeepOptions {
  readonly config: NodeConfig;
  readonly clock: Clock;
  readonly log: Log;
  readonly reporter: Reporter;
  readonly snapshots: Snapshots | undefined;
  readonly checkpoints: Kv | undefined;
  readonly onLook: OnLook;
  /** Stream sequence of the last frame that was acknowledged to this node. */
  readonly lastSequence: () => number;
}

export class Upkeep {
  readonly pressure = new LogPressure();
  readonly snapshooter: Snapshooter | undefined;
  readonly #watch: LogWatch;
  readonly #trimmer: Trimmer | undefined;
  /** The last frame that was followed: its chain value, and where it stands in the stream. */
  #chain = "";
  #streamSequence = 0;
  /** The state that the node leads with. */
  #leading: ShardState | undefined;

  constructor({ config, clock, log, reporter, snapshots, checkpoints, onLook, lastSequence }: UpkeepOptions) {
    this.#watch = new LogWatch({
      ...{ clock, log, reporter, snapshots, timeoutMs: config.ackTimeoutMs },
      onLook: () => {
        const answered = onLook();
        return (look) => {
          if (look.kind === "info") this.pressure.looked(look.info);
          return answered(look);
        };
      },
      onIncomplete: () => this.snapshooter?.request(),
    });
    if (snapshots === undefined) return;
    const { snapshotEvents: everyEvents, snapshotMs: everyMs } = config;
    this.snapshooter = new Snapshooter({ clock, reporter, snapshots, everyEvents, everyMs });
    const { pressure } = this;
    const written = () => this.snapshooter?.written ?? [];
    const leading = () => this.#leading;
    const bounds = { pressure, checkpoints, written, leading, lastSequence };
    this.#trimmer = new Trimmer({ config, clock, log, reporter, snapshots, ...bounds });
  }

  get alarms(): readonly Alarm[] {
    const optional = [...(this.snapshooter?.alarms ?? []), ...(this.#trimmer?.alarms ?? [])];
    return [...this.#watch.alarms, ...this.pressure.alarms, ...optional];
  }

  /** The node follows, and has taken a frame: the moment to cut a snapshot. */
  followed({ state, reader, streamSequence }: Replica): void {
    this.#chain = reader.tip.chain;
    this.#streamSequence = streamSequence;
    this.snapshooter?.framed(state, reader.tip);
    this.snapshooter?.stored(this.#chain, streamSequence);
  }

  /** The node follows a quiet log: a snapshot that is wanted need not wait for the next frame. */
  quiet({ state, reader }: Replica): void {
    if (this.snapshooter?.isWaiting !== true || reader.tip.chain !== this.#chain) return;
    this.snapshooter.framed(state, reader.tip, true);
    this.snapshooter.stored(this.#chain, this.#streamSequence);
  }

  /** The node leads no more; `isDeposed`: the frame of a snapshot that is under way may never stand in the log. */
  resigned(isDeposed: boolean): void {
    this.#leading = undefined;
    this.#trimmer?.resigned();
    if (isDeposed) this.snapshooter?.cancel();
  }

  /** The periodic part. `isLeading`: only who leads trims, and takes snapshots because the log is nearly full. */
  tick(state: ShardState, isLeading: boolean): void {
    this.#leading = isLeading ? state : undefined;
    this.#watch.tick();
    if (!isLeading) return;
    const isTrimmed = state.options.logTrim !== "off";
    if (isTrimmed && this.pressure.isTrimUrgent && this.snapshooter?.isUseful(state.sequence) === true)
      this.snapshooter.request();
    this.#trimmer?.tick(state);
  }
}
