/** The operations of a run on one time line: invocations paired with their ends, requests and replies in the words of the contract. */
import { REQUESTS, type RequestOf } from "../../contracts/commands.ts";
import { REPLIES, type ReplyOf } from "../../contracts/replies.ts";
import {
  FencedWrite,
  type OperationError,
  type OperationFunction,
  type OperationRecord,
  type OperationType,
} from "../operations.ts";
import type { Tally } from "./tally.ts";

type JudgedVerb = Exclude<OperationFunction, "fenced_write">;

interface Times {
  readonly id: string;
  readonly process: string;
  readonly principal: string;
  readonly type: OperationType;
  /** From the run's first invocation. ns. */
  readonly invoked: number;
  /** Infinity when nobody knows: it may take effect at any time. ns. */
  readonly returned: number;
  readonly error: OperationError | undefined;
}

/** A request to the shard. `reply` is there exactly when it is `ok`. */
export type ShardOperation = {
  readonly [V in JudgedVerb]: Times & {
    readonly f: V;
    readonly request: RequestOf<V>;
    readonly reply: ReplyOf<V> | undefined;
  };
}[JudgedVerb];
export type ShardOperationOf<V extends JudgedVerb> = Extract<ShardOperation, { readonly f: V }>;
export type FencedOperation = Times & { readonly f: "fenced_write"; readonly request: FencedWrite };
export type Operation = ShardOperation | FencedOperation;

/** Operations in order of invocation. What cannot be understood is told and left out. */
export function timedOperations(records: readonly OperationRecord[], tally: Tally): readonly Operation[] {
  let startNs: bigint | undefined;
  const paired = new Map<string, OperationRecord>();
  for (const record of records) {
    const invokedNs = BigInt(record.invokedNs);
    if (startNs === undefined || invokedNs < startNs) startNs = invokedNs;
    const known = paired.get(record.id);
    // The line of the invocation comes first; an end takes its place.
    const isPaired = known === undefined || (known.type === "invoke" && record.type !== "invoke");
    tally.check("run.records", isPaired, () => `operation ${record.id} has two ends`);
    if (isPaired) paired.set(record.id, record);
  }
  const operations = [...paired.values()].map((record) => operationOf(record, startNs ?? 0n, tally));
  return operations.filter((operation) => operation !== undefined).sort((a, b) => a.invoked - b.invoked);
}

function operationOf(record: OperationRecord, startNs: bigint, tally: Tally): Operation | undefined {
  const { id, process, principal, f, args, error } = record;
  const type = record.type === "invoke" ? "info" : record.type;
  const isTimed = (type === "info") === (record.returnedNs === undefined);
  tally.check("run.records", isTimed, () => `operation ${id}: ${type} returned at ${record.returnedNs}`);
  const invoked = Number(BigInt(record.invokedNs) - startNs);
  const returned =
    record.returnedNs === undefined ? Number.POSITIVE_INFINITY : Number(BigInt(record.returnedNs) - startNs);
  const request = (f === "fenced_write" ? FencedWrite : REQUESTS[f]).safeParse(args);
  // What was no request may be refused; anything else about it cannot be judged.
  const isRequest = request.success || type === "fail";
  tally.check("run.records", isRequest, () => `operation ${id} is no ${f}: ${request.error?.message}`);
  if (!request.success) return undefined;
  const times = { id, process, principal, type, invoked, returned, error };
  if (f === "fenced_write") return { ...times, f, request: request.data as FencedWrite };
  if (type !== "ok") return { ...times, f, request: request.data, reply: undefined } as ShardOperation;
  const reply = REPLIES[f].safeParse(record.result);
  tally.check("run.records", reply.success, () => `operation ${id}: no reply of ${f}: ${reply.error?.message}`);
  if (!reply.success) return undefined;
  return { ...times, f, request: request.data, reply: reply.data } as ShardOperation;
}

/** One entry of a batch with how it ended: an entry that is refused for certain did nothing, whatever became of the others. */
export interface Entry<Asked, Answered> {
  readonly operation: ShardOperation;
  readonly index: number;
  readonly asked: Asked;
  readonly type: OperationType;
  /** Of `ok`. */
  readonly answered: Answered | undefined;
  /** Of `fail` and `info`. */
  readonly error: OperationError | undefined;
}

type Answers = { readonly results: readonly object[] };
type Refused = { readonly error?: OperationError };

function entriesOf<Asked, Answered>(
  operation: ShardOperation,
  asked: readonly Asked[],
  reply: Answers | undefined,
): readonly Entry<Asked, Answered>[] {
  return asked.map((entry, index) => {
    const own = { operation, index, asked: entry };
    if (operation.type !== "ok") return { ...own, type: operation.type, answered: undefined, error: operation.error };
    const result = reply?.results[index];
    const error = (result as Refused | undefined)?.error;
    if (result !== undefined && error === undefined)
      return { ...own, type: "ok", answered: result as Answered, error: undefined };
    return { ...own, type: error?.definite === true ? "fail" : "info", answered: undefined, error };
  });
}

export type EnqueueEntry = Entry<
  RequestOf<"enqueue">["items"][number],
  { readonly itemId: string; readonly sequence: number; readonly duplicate: boolean }
>;
export const enqueueEntries = (operation: ShardOperationOf<"enqueue">): readonly EnqueueEntry[] =>
  entriesOf(operation, operation.request.items, operation.reply);

export type BeatEntry = Entry<
  { readonly itemId: string; readonly token: number; readonly progress?: string | undefined },
  { readonly expiresAt: number; readonly validMs: number; readonly cancelRequested?: boolean | undefined }
>;
export const beatEntries = (operation: ShardOperationOf<"heartbeat">): readonly BeatEntry[] =>
  entriesOf(operation, operation.request.leases, operation.reply);

export type SettleOperation = ShardOperationOf<"complete"> | ShardOperationOf<"fail"> | ShardOperationOf<"release">;
export type SettleEntry = Entry<
  { readonly itemId: string; readonly token: number; readonly requeue?: boolean; readonly result?: string | undefined },
  { readonly duplicate: boolean; readonly outcome?: string }
>;
export const settleEntries = (operation: SettleOperation): readonly SettleEntry[] =>
  entriesOf<SettleEntry["asked"], NonNullable<SettleEntry["answered"]>>(
    operation,
    operation.request.leases,
    operation.reply,
  );

/** Of what is asked of items by their ids. */
export type OrderOperation = ShardOperationOf<"cancel" | "redrive" | "purge">;
export type OrderEntry = Entry<string, { readonly duplicate: boolean; readonly outcome?: string }>;
export const orderEntries = (operation: OrderOperation): readonly OrderEntry[] =>
  entriesOf<string, NonNullable<OrderEntry["answered"]>>(operation, operation.request.itemIds, operation.reply);

export const isOrder = (operation: Operation): operation is OrderOperation =>
  operation.f === "cancel" || operation.f === "redrive" || operation.f === "purge";

export const isSettle = (operation: Operation): operation is SettleOperation =>
  operation.f === "complete" || operation.f === "fail" || operation.f === "release";

/** The id by which the shard remembers an entry of an enqueue; undefined when it has none. */
export function entryRequestId({ request }: ShardOperationOf<"enqueue">, index: number): string | undefined {
  if (request.requestId !== undefined) return `${request.requestId}/${index}`;
  // An id of an item's own never reads like that of an entry of a request.
  return request.items[index]?.requestId?.replace(/\/(?=\.*[0-9]+$)/, "/.");
}
