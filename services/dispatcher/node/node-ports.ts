/** What a shard node is given, and what it tells of itself. */
import type { Alarm, Clock, Ids, Kv, Log, Net, Reporter, Store } from "../../../contracts/ports.ts";
import type { NextTick } from "../../../contracts/schedules.ts";
import type { Halt } from "../../core/log-reader.ts";
import type { ShardState } from "../../core/state.ts";
import type { Precedence } from "./patience.ts";
import type { Snapshots } from "./snapshooter.ts";

export interface NodePorts {
  readonly clock: Clock;
  readonly ids: Ids;
  readonly log: Log;
  /** Bucket of the shard registry. */
  readonly kv: Kv;
  /** Carries requests and answers, and is pinged; its user may not publish to the log. */
  readonly rpc: Net;
  /** Carries beats, and our own pings to others. */
  readonly gossip: Net;
  /** Core messages over the log's own connection: what they reach, the log's side of a split network reaches. */
  readonly logNet: Net;
  readonly store: Store;
  readonly nextTick: NextTick;
  /** Where snapshots go; absent: none are taken and every start folds the whole log. */
  readonly snapshots?: Snapshots | undefined;
  /** Bucket of the followers' checkpoints. */
  readonly checkpoints?: Kv | undefined;
  /** Keeps the state of a node that halts, for whoever has to find out why. */
  readonly dump?: ((halt: Halt, state: ShardState) => void) | undefined;
  readonly precedence: Precedence;
  readonly reporter: Reporter;
}

/**
 * `following`: reads the log; campaigns when the leader is silent. Left by campaigning, halting, stopping.
 * `campaigning`: its `termStarted` is under way; follows nothing. `leading`: a term runs; requests are served.
 * `halted`: the log is not what it must be; only a restart leaves it. `stopped`: final.
 */
export type NodeMode = "starting" | "following" | "campaigning" | "leading" | "halted" | "stopped";

export interface NodeStatus {
  readonly mode: NodeMode;
  readonly region: string;
  readonly shard: string;
  readonly logId: string;
  readonly term: number;
  readonly leader: string;
  readonly sequence: number;
  readonly streamSequence: number;
  readonly chain: string;
  readonly voids: number;
  readonly unackedMs: number;
  /** Whether it leaves the shard to others, because what is sent to it may not arrive. */
  readonly isCutOff: boolean;
  readonly halt: Halt | undefined;
  readonly alarms: readonly Alarm[];
}
