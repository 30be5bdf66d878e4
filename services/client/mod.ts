/** The public entry of the SDK: what users import as `omnirelay/client`. */
export type { OutwardType, ReplicationEvent } from "../../contracts/envelope.ts";
export { OperatingError } from "../../contracts/errors.ts";
export { provisionBodies } from "../jetstream/body-bucket.ts";
export { bytes, decodeBody, type EncodedBody, json } from "./body.ts";
export { type SweepOptions, type SweepProgress, type SweepReport, sweepBodies } from "./body-sweep.ts";
export { type Changes, changes } from "./changes.ts";
export type { ChangesFilter, ChangesFrom, ChangesOptions } from "./changes-options.ts";
export type { CallOptions } from "./client-core.ts";
export type { LeaseClientOptions } from "./client-options.ts";
export type { DiscardOptions, DrainOptions, DrainSource, RestoredItem } from "./drains.ts";
export type { Cancelled, CancelOptions, DeadLetterFilter, DeadLettersTaken, RedriveFilter } from "./ends.ts";
export type { Beat, Completion, EnqueueInput, Failure, LeaseRef } from "./entries.ts";
export { LargeBodies, type LargeBodiesOptions } from "./large-bodies.ts";
export {
  type Enqueued,
  type FailOutcome,
  type HeartbeatOptions,
  type IdempotentOptions,
  type ItemRecord,
  type Lease,
  type LeaseAnswer,
  LeaseClient,
  type LeaseOptions,
  type ListFilter,
  type Renewal,
  type Settled,
} from "./lease-client.ts";
export { type HandlerContext, type LeaseHandler, LeaseWorker, type LeaseWorkerOptions } from "./lease-worker.ts";
export { PayloadError, type PayloadIssue } from "./payload-error.ts";
export {
  definePayloads,
  type Enqueuer,
  type Payload,
  type PayloadHandler,
  type PayloadHandlers,
  type PayloadItem,
  type PayloadOptions,
  type Payloads,
  payload,
  type Upcast,
} from "./payloads.ts";
export type { ReadOptions } from "./read-options.ts";
export { BackpressureError, BatchError, type EntryResult, type Refusal, RefusedError, unwrap } from "./refusal.ts";
export type { ScheduleClient, ScheduleInput, SchedulePage, ScheduleRecord } from "./schedule-client.ts";
export type { ConfigureOptions, HandoverOptions, QuotaRecord, QuotasPage, ShardAdmin } from "./shard-admin.ts";
export type { StandardSchema } from "./standard-schema.ts";
export {
  CancelledError,
  DrainError,
  FatalItemError,
  LeaseLostError,
  type LostReason,
  type WorkerEvents,
} from "./worker-events.ts";
