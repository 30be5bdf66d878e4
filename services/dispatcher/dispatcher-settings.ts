/** What a dispatcher is told when it is started. */
import type { ShardOptionsPatch } from "../../contracts/options.ts";

export interface DispatcherSettings {
  readonly natsUrl: string | readonly string[];
  /** Monitoring endpoint of the server, for settings that a client cannot ask for; empty when there is none. */
  readonly natsMonitorUrl?: string | undefined;
  readonly region: string;
  readonly shards: readonly string[];
  readonly peerId: string;
  readonly dataDir: string;
  readonly replicas: number;
  /** Byte limit of each shard's stream; -1 for none. */
  readonly logBytesMax?: number | undefined;
  /** Events, and time in ms, between two snapshots of a shard. */
  readonly snapshotEvents?: number | undefined;
  readonly snapshotMs?: number | undefined;
  /** Create streams that nobody knows yet. Without it an unknown shard is refused. */
  readonly provision: boolean;
  /** Options that a new shard starts with; an existing one keeps its own. */
  readonly shardOptions: ShardOptionsPatch;
  /** Serve although the server check found something that it refuses. */
  readonly allowUnsafeServer?: boolean | undefined;
}
