/** Writes operations as they happen, so that a process that is killed at any moment leaves a history that can be judged. */
import assert from "node:assert/strict";
import { closeSync, openSync, writeSync } from "node:fs";
import type { ErrorBody } from "../contracts/errors.ts";
import type { OperationFunction, OperationRecord } from "./operations.ts";

/** A file of JSON lines. A line is handed to the system before `write` returns: the death of this process does not lose it. */
export class LineFile {
  readonly #descriptor: number;

  constructor(path: string) {
    this.#descriptor = openSync(path, "a");
  }

  write(record: object): void {
    writeSync(this.#descriptor, `${JSON.stringify(record)}\n`);
  }

  close(): void {
    closeSync(this.#descriptor);
  }
}

export interface Invocation {
  /** Who calls, one operation at a time. Its process id in the history is this name with a number, a new one after each `info`. */
  readonly caller: string;
  readonly principal: string;
  readonly f: OperationFunction;
  readonly args: Readonly<Record<string, unknown>>;
}

/** An error as it was answered, or as the caller met it. */
type OperationRefusal = Pick<ErrorBody, "definite"> & { readonly code: string };

/** An operation under way: handed back with its end. */
export interface PendingOperation {
  readonly caller: string;
  readonly record: OperationRecord;
}

interface Caller {
  /** Process ids that were retired. */
  retired: number;
  pending: PendingOperation | undefined;
}

/**
 * Call `invoke` right before the request is sent, and exactly one of `ok`, `fail` and `info` when it has ended.
 * Invariant: each operation has an `invoke` line before any other of its lines, and at most one line with its end.
 */
export class Recorder {
  readonly #file: LineFile;
  readonly #run: string;
  readonly #nowNs: () => bigint;
  readonly #callers = new Map<string, Caller>();
  #count = 0;

  /** `file`: `operations.jsonl` of the run's folder, or `operations-<name>.jsonl`, one per recorder. Caller names differ between recorders. */
  constructor(file: string, run: string, nowNs: () => bigint = process.hrtime.bigint) {
    this.#file = new LineFile(file);
    this.#run = run;
    this.#nowNs = nowNs;
  }

  invoke({ caller, principal, f, args }: Invocation): PendingOperation {
    const known = this.#callers.get(caller) ?? { retired: 0, pending: undefined };
    assert.equal(known.pending, undefined, `${caller} has an operation under way`);
    const process = `${caller}.${known.retired}`;
    this.#count += 1;
    const id = `${caller}-${this.#count}`;
    const invokedNs = String(this.#nowNs());
    const record: OperationRecord = { run: this.#run, process, principal, id, f, args, invokedNs, type: "invoke" };
    known.pending = { caller, record };
    this.#callers.set(caller, known);
    this.#file.write(record);
    return known.pending;
  }

  /** `result`: the whole reply. */
  ok(operation: PendingOperation, result: Readonly<Record<string, unknown>>): void {
    this.#end(operation, { returnedNs: String(this.#nowNs()), type: "ok", result });
  }

  /** It had no effect and will have none. */
  fail(operation: PendingOperation, error: OperationRefusal): void {
    this.#end(operation, { returnedNs: String(this.#nowNs()), type: "fail", error: { ...error } });
  }

  /** Nobody knows. The caller's next operation has a new process id. */
  info(operation: PendingOperation, error?: OperationRefusal): void {
    this.#end(operation, error === undefined ? { type: "info" } : { type: "info", error: { ...error } });
    (this.#callers.get(operation.caller) as Caller).retired += 1;
  }

  /** Ends what is under way as `info`. */
  close(): void {
    for (const { pending } of this.#callers.values()) if (pending !== undefined) this.info(pending);
    this.#file.close();
  }

  #end(operation: PendingOperation, end: Partial<OperationRecord>): void {
    const caller = this.#callers.get(operation.caller);
    assert.equal(caller?.pending, operation, `operation ${operation.record.id} is not under way`);
    caller.pending = undefined;
    this.#file.write({ ...operation.record, ...end });
  }
}
