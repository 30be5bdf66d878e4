/** The public entry of persistence: what users import as `omnirelay/persistence`. */
export {
  type DeterministicRecord,
  type DeterministicStateStore,
  SqliteDeterministicStore,
} from "./deterministic-store.ts";
export {
  type Effect,
  type Fence,
  type FencedResult,
  FencedStore,
  type FencedStoreOptions,
  type FencedWrite,
} from "./fenced-store.ts";
export { restorePlace } from "./restored-place.ts";
export { copySnapshot } from "./snapshot-copy.ts";
export { type BucketObject, type BucketUpload, type ObjectBucket, ObjectSnapshotStore } from "./snapshot-objects.ts";
export { type SqliteSnapshotOptions, SqliteSnapshotStore } from "./snapshot-sqlite.ts";
export {
  type ChunkSum,
  type EncodedChunk,
  requireLog,
  type SnapshotInfo,
  SnapshotLabel,
  type SnapshotProblem,
  type SnapshotStore,
  type SnapshotWriter,
} from "./snapshot-store.ts";
export { SnapshotThread } from "./snapshot-thread.ts";
export { openSqlite, type SqliteOptions } from "./sqlite.ts";
export { SqliteStore } from "./sqlite-store.ts";
