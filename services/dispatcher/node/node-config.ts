/** The settings of a shard node; every time in ms. */
export interface NodeConfig {
  readonly region: string;
  readonly shard: string;
  readonly peerId: string;
  /** The log's id from registry or provisioning. */
  readonly logId: string;
  /** Period of the node's one timer. */
  readonly tickMs: number;
  /** Period of the leader's beat. */
  readonly beatMs: number;
  /** How long a leader may be silent before it is suspected; more than two beats. */
  readonly suspectMs: number;
  /** Random addition to `suspectMs`, so that two standbys seldom campaign at once. */
  readonly suspectJitterMs: number;
  /** How long one append or read may go unanswered before the other is tried. */
  readonly ackTimeoutMs: number;
  /** How far apart two sightings of a lost tail, a hole or a missing stream must be before the node halts. */
  readonly confirmMs: number;
  /** Events between two snapshots. */
  readonly snapshotEvents: number;
  /** Events, and time, after which the leader writes the hash of the state into the log. */
  readonly stateHashEvents: number;
  readonly stateHashMs: number;
  /** Time between two snapshots at least, so that a busy shard does not spend itself on them. */
  readonly snapshotMs: number;
}

export const NODE_TIMES = {
  tickMs: 50,
  beatMs: 250,
  suspectMs: 1_000,
  suspectJitterMs: 500,
  ackTimeoutMs: 2_000,
  confirmMs: 10_000,
  snapshotEvents: 100_000,
  snapshotMs: 30_000,
  stateHashEvents: 10_000,
  stateHashMs: 60_000,
} as const;
