/** Changes to recorded histories: whatever is changed in the log, the log stays a chain, so that only the intended defect is in it. */
import type { RunRecords } from "../../chaos/checker/run-folder.ts";
import type { LogRecord, OperationRecord } from "../../chaos/operations.ts";
import type { Actor } from "../../contracts/events.ts";
import { CHAIN_HEADER } from "../../contracts/subjects.ts";
import { chainOf } from "../../services/runtime/frame-codec.ts";

type Mutable<T> = { -readonly [Key in keyof T]: T[Key] };
export interface EditedEvent {
  type: string;
  actor?: number;
  itemId?: string;
  token?: number;
  requestId?: string;
  [field: string]: unknown;
}
export interface EditedFrame {
  term: number;
  first: number;
  count: number;
  prev: string;
  pending: number;
  active: number;
  append: string;
  actors: Actor[];
  events: EditedEvent[];
  [field: string]: unknown;
}
export type EditedOperation = Mutable<OperationRecord> & { result?: Record<string, unknown> };
/** A run whose parts may be changed; its operations are those that have ended, with their ends. */
export type EditedRun = Mutable<Omit<RunRecords, "operations" | "logs">> & {
  operations: EditedOperation[];
  logs: Record<string, LogRecord[]>;
};

/** A copy of the run to be changed. */
export function editedCopy(run: RunRecords): EditedRun {
  const copy = structuredClone(run) as unknown as EditedRun;
  const ended = new Set(copy.operations.filter(({ type }) => type !== "invoke").map(({ id }) => id));
  copy.operations = copy.operations.filter(({ id, type }) => type !== "invoke" || !ended.has(id));
  return copy;
}

/** Changes the frames of every replica's log in the same way. */
export function editLog(run: EditedRun, edit: (frames: EditedFrame[]) => void): void {
  const records = Object.values(run.logs).reduce((best, dump) => (dump.length > best.length ? dump : best));
  const frames = records.filter(isFrame).map(({ payload }) => JSON.parse(payload) as EditedFrame);
  edit(frames);
  const written: LogRecord[] = [];
  const template = records[0] as LogRecord;
  let prev = "";
  let first = 1;
  const store = (payload: string, headers: Record<string, string>): void => {
    const streamSequence = written.length + 1;
    const expected = { "Nats-Expected-Last-Sequence": String(written.length) };
    written.push({ ...template, streamSequence, payload, headers: { ...headers, ...expected } });
  };
  for (const frame of frames) {
    const payload = JSON.stringify({ ...frame, prev, first, count: frame.events.length });
    prev = chainOf(new TextEncoder().encode(payload));
    first += frame.events.length;
    store(payload, { [CHAIN_HEADER]: prev });
  }
  for (const { payload, headers } of records.filter((record) => !isFrame(record))) store(payload, headers);
  for (const replica of Object.keys(run.logs)) run.logs[replica] = [...written];
}

/** Puts one more frame of the last leader behind the log, with this event of an actor. */
export function appendEvent(
  run: EditedRun,
  event: EditedEvent,
  actor: Actor,
  counts = { pending: 0, active: 0 },
): void {
  editLog(run, (frames) => {
    const last = frames.at(-1) as EditedFrame;
    const { pending, active } = last;
    frames.push({
      ...last,
      ...{ append: "one-more", pending: pending + counts.pending, active: active + counts.active },
      ...{ actors: [actor], events: [{ ...event, actor: 0 }] },
    });
  });
}

const isFrame = ({ headers }: LogRecord): boolean => headers[CHAIN_HEADER] !== undefined;

export interface Placed {
  readonly event: EditedEvent;
  readonly sequence: number;
  readonly actor: Actor | undefined;
}

/** Every event of the log in order. */
export function eventsOf(run: EditedRun): readonly Placed[] {
  const [records = []] = Object.values(run.logs);
  const frames = records.filter(isFrame).map(({ payload }) => JSON.parse(payload) as EditedFrame);
  return frames.flatMap(({ first, events, actors }) =>
    events.map((event, index) => ({ event, sequence: first + index, actor: actors[event.actor ?? -1] })),
  );
}

/** The first that is such; a history without any is no good for the test. */
export function first<T>(all: readonly T[], isSuch: (one: T) => boolean = () => true): T {
  const found = all.find(isSuch);
  if (found === undefined) throw new Error("the history has nothing of the kind that is to be changed");
  return found;
}

export const lastOf = <T>(all: readonly T[]): T => first([...all].reverse());

type Entries = Record<string, unknown>[];
export const resultsOf = ({ result }: EditedOperation): Entries => (result?.["results"] ?? []) as Entries;
export const leasesOf = ({ result }: EditedOperation): Entries => (result?.["leases"] ?? []) as Entries;
export const askedOf = ({ args }: EditedOperation, name: "items" | "leases"): Entries => (args[name] ?? []) as Entries;

/** Ok operations of a kind, in the order of their ends. */
export const okOf = ({ operations }: EditedRun, f: OperationRecord["f"]): readonly EditedOperation[] =>
  operations.filter((operation) => operation.f === f && operation.type === "ok");

/** Whether an answered entry tells of something new. */
export const isNew = (entry: Record<string, unknown> | undefined): boolean => entry?.["duplicate"] === false;

/** Ok enqueues of one new item that nobody asked for again, with its id. */
export function loneEnqueues(
  run: EditedRun,
): readonly { readonly operation: EditedOperation; readonly itemId: string }[] {
  const asked = run.operations.flatMap((operation) => askedNames(operation));
  return okOf(run, "enqueue")
    .filter((operation) => isNew(resultsOf(operation)[0]) && askedOf(operation, "items").length === 1)
    .filter((operation) => askedNames(operation).every((name) => asked.filter((other) => other === name).length === 1))
    .map((operation) => ({ operation, itemId: String(resultsOf(operation)[0]?.["itemId"]) }));
}

const askedNames = (operation: EditedOperation): string[] => {
  if (operation.f !== "enqueue") return [];
  const { requestId } = operation.args;
  return askedOf(operation, "items").map(
    (item) => `${operation.principal} ${String(requestId ?? JSON.stringify(item))}`,
  );
};
