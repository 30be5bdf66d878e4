/** What a run leaves in its folder, file by file: the words that the driver writes and the checker reads. */
import { z } from "zod";
import type { ErrorBody } from "../contracts/errors.ts";
import { FollowerName } from "../contracts/followers.ts";
import { ItemId, LogId, PeerId, Principal, RegionName, Sequence, ShardName, Token } from "../contracts/ids.ts";

/** Verbs on the wire, with their bodies and replies; and a write to the fenced resource. */
const FUNCTIONS = [
  ...(["enqueue", "lease", "heartbeat", "complete", "fail", "release", "stats", "fenced_write"] as const),
  ...(["cancel", "redrive", "purge", "pause", "resume", "configure", "drain", "restore", "evict"] as const),
  ...(["get", "list", "schedule-put", "schedule-list", "schedule-delete"] as const),
] as const;
export type OperationFunction = (typeof FUNCTIONS)[number];

const ns = z
  .string()
  .regex(/^[0-9]{1,19}$/)
  .describe("process.hrtime.bigint() of the host, decimal.");
const object = z.record(z.string(), z.unknown());
const OperationError = z.looseObject({ code: z.string().min(1), definite: z.boolean() });

/**
 * One request, one answer: an operation is sent once. A repeat of the same request id is another operation.
 *
 * `ok`: answered without a request-level error; entries of a batch succeed alone. `fail`: certainly without effect.
 * `info`: nobody knows; it may take effect at any time after `invokedNs`. Failed reads say nothing and are not judged.
 * `invoke` stands in the file only: a line before the request is sent, so that a killed process leaves an `info` and not nothing.
 */
export const OperationRecord = z.strictObject({
  run: z.string().min(1),
  /** Has one operation under way at most, and none after one of type `info`. */
  process: z.string().min(1),
  /** Last token of the RPC subject: whose leases and request ids these are. */
  principal: Principal,
  id: z.string().min(1).describe("Unique in the run."),
  f: z.enum(FUNCTIONS),
  args: object.describe("The request's body; of `fenced_write`: FencedWrite."),
  invokedNs: ns,
  returnedNs: ns.optional().describe("Absent for `info` and `invoke`."),
  type: z.enum(["invoke", "ok", "fail", "info"]),
  result: object.optional().describe("Of `ok`: the whole reply."),
  error: OperationError.optional(),
});
export type OperationRecord = Readonly<z.infer<typeof OperationRecord>>;
export type OperationType = Exclude<OperationRecord["type"], "invoke">;
export type OperationError = Readonly<z.infer<typeof OperationError>>;

/** A write that names the lease it is done under. `resource` is the lease's `fenceKey`. */
export const FencedWrite = z.strictObject({ resource: z.string().min(1), itemId: ItemId, token: Token });
export type FencedWrite = Readonly<z.infer<typeof FencedWrite>>;

/** `fenced.jsonl`: writes that the resource has taken, in its order; `operation` is the id of the `fenced_write`. */
export const FencedRecord = z.strictObject({ ...FencedWrite.shape, operation: z.string().min(1) });
export type FencedRecord = Readonly<z.infer<typeof FencedRecord>>;

/** `nemesis.jsonl`: a fault; `applied` only if `evidence` shows that it really struck. */
export const FaultRecord = z.strictObject({
  kind: z.string().min(1),
  target: z.string().min(1),
  startedNs: ns,
  /** When it was there; between the two it may have looked for whom to strike. Absent: it did not strike. */
  struckNs: ns.optional(),
  endedNs: ns,
  params: object,
  applied: z.boolean(),
  evidence: z.unknown(),
});
export type FaultRecord = Readonly<z.infer<typeof FaultRecord>>;

/** `log-<replica>.jsonl`: the messages of the shard's stream as this replica has them, from the first on, void ones included. */
export const LogRecord = z.strictObject({
  streamSequence: z.int().min(1),
  subject: z.string(),
  headers: z.record(z.string(), z.string()),
  payload: z.string(),
});
export type LogRecord = Readonly<z.infer<typeof LogRecord>>;

/** A place of a sink's checkpoint, as the bucket had it. */
const SinkPlaceRecord = z.strictObject({
  sink: FollowerName,
  checkpoint: z.strictObject({ logId: LogId, sequence: Sequence }),
  revision: z.int().min(1).describe("Of the entry in the bucket; the highest is the last."),
  held: Sequence.optional().describe("Highest sequence that the sink held, looked at after the checkpoint."),
});
export type SinkPlaceRecord = Readonly<z.infer<typeof SinkPlaceRecord>>;

/** An event that a sink holds in the end. */
const HeldRecord = z.strictObject({
  sink: FollowerName,
  sequence: z.int().min(1),
  effectId: z.string(),
  eventType: z.string(),
});
export type HeldRecord = Readonly<z.infer<typeof HeldRecord>>;

/** `sinks.jsonl`: the places of the checkpoints that were seen, and the events of each sink in its order. */
export const SinkRecord = z.union([SinkPlaceRecord, HeldRecord]);
export type SinkRecord = SinkPlaceRecord | HeldRecord;

/** `states.json`: by peer id of a dispatcher, what it said of its state, at as many sequences as it was asked. */
export const NodeStates = z.record(PeerId, z.array(z.strictObject({ sequence: Sequence, stateHash: z.string() })));
export type NodeStates = Readonly<z.infer<typeof NodeStates>>;

/** `plan.json`: what the run was to be. A run that was less is invalid, whatever it shows. */
export const RunPlan = z.strictObject({
  run: z.string().min(1),
  seed: z.int().min(0),
  region: RegionName,
  shard: ShardName,
  /** Of the stream; a dump is owed of each. */
  replicas: z.int().min(1),
  /** Peer ids; each owes a word on its state from the end of the run. */
  dispatchers: z.array(PeerId).min(1),
  /** By name, what each sink of the replicator promises; what it holds is owed of each. */
  sinks: z.record(FollowerName, z.enum(["exactly once", "at least once"])).default({}),
  /** Faults by kind: how many of each must have been applied. */
  faults: z.record(z.string(), z.int().min(1)),
  /** Of the queue, that the load uses. */
  features: z.array(z.string()).default([]),
  /** Requests that must have been answered with something newly written to the log. */
  okMutationsMin: z.int().min(1),
  /** Terms that must have begun after the first operation. */
  leaderChangesMin: z.int().min(0),
  /** Part of the operations invoked during faults that must be ok, 0..1; 0.2 by default. 0 for a run without a quorum. */
  okDuringFaultsMin: z.number().min(0).max(1).default(0.2),
  /** Longest time without an acknowledged write, from the first operation to the last enqueue. ms. */
  writeGapMsMax: z.int().min(1),
});
export type RunPlan = Readonly<z.infer<typeof RunPlan>>;

export const RUN_FILES = {
  plan: "plan.json",
  states: "states.json",
  nemesis: "nemesis.jsonl",
  fenced: "fenced.jsonl",
  sinks: "sinks.jsonl",
  verdict: "verdict.json",
  /** Also one per process: `operations-<name>.jsonl`. */
  operations: "operations",
  /** One per replica: `log-<replica>.jsonl`. */
  log: "log-",
} as const;

/** How an operation ended that was answered: an error that says less than certainty leaves it open. */
export function typeOfReply(reply: { readonly error?: Pick<ErrorBody, "definite"> | undefined }): OperationType {
  if (reply.error === undefined) return "ok";
  return reply.error.definite ? "fail" : "info";
}
