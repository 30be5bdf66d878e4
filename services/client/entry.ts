/** One entry of a batched request on its way, from the caller's value to the caller's promise. */
import type { OperatingError } from "../../contracts/errors.ts";
import { onAbort } from "./on-abort.ts";
import { BatchError, type EntryResult, type Refusal, RefusedError, refusedError } from "./refusal.ts";

/** Encoded at the call, so that what the caller does to the value afterwards changes nothing. */
export interface EncodedEntry {
  /** JSON of the entry. */
  readonly text: string;
  /** UTF-8 length of `text`. */
  readonly bytes: number;
  /** Whether the caller chose a request id for this entry. */
  readonly hasRequestId: boolean;
}

/** An entry that somebody waits for. Exactly one of `accept`, `refuse`, `fail` takes effect, the first. */
export interface Entry<T> extends EncodedEntry {
  /** ms on the monotonic clock. */
  readonly deadlineMs: number;
  readonly isSettled: boolean;
  /** Whether it may be sent anew after `request_expired`: once. */
  renew(): boolean;
  accept(value: T): void;
  refuse(error: Refusal): void;
  fail(error: Error): void;
}

/** The entry of a single form: the caller's promise and nothing else. */
export class SingleEntry<T> implements Entry<T> {
  readonly text: string;
  readonly bytes: number;
  readonly hasRequestId: boolean;
  readonly deadlineMs: number;
  isSettled = false;
  #isRenewed = false;
  readonly #resolve: (value: T) => void;
  readonly #reject: (error: unknown) => void;
  readonly #unhear: (() => void) | undefined;

  constructor(
    encoded: EncodedEntry,
    deadlineMs: number,
    signal: AbortSignal | undefined,
    resolve: (value: T) => void,
    reject: (error: unknown) => void,
  ) {
    this.text = encoded.text;
    this.bytes = encoded.bytes;
    this.hasRequestId = encoded.hasRequestId;
    this.deadlineMs = deadlineMs;
    this.#resolve = resolve;
    this.#reject = reject;
    this.#unhear = onAbort(signal, (reason) => this.#aborted(reason));
  }

  renew(): boolean {
    const may = !this.#isRenewed;
    this.#isRenewed = true;
    return may;
  }
  accept(value: T): void {
    if (this.#settle()) this.#resolve(value);
  }
  refuse(error: Refusal): void {
    if (this.#settle()) this.#reject(refusedError(error));
  }
  fail(error: Error): void {
    if (this.#settle()) this.#reject(error);
  }
  #aborted(reason: unknown): void {
    if (this.#settle()) this.#reject(reason);
  }

  #settle(): boolean {
    if (this.isSettled) return false;
    this.isSettled = true;
    this.#unhear?.();
    return true;
  }
}

/** Gathers the results of a batch form: values and refusals as values; unknown outcomes reject the whole with what is known. */
export class Collector<T> {
  readonly #results: (EntryResult<T> | undefined)[];
  readonly #resolve: (results: readonly EntryResult<T>[]) => void;
  readonly #reject: (error: unknown) => void;
  readonly #unhear: (() => void) | undefined;
  #open: number;
  #failure: OperatingError | undefined;
  isOver = false;

  constructor(
    count: number,
    signal: AbortSignal | undefined,
    resolve: (results: readonly EntryResult<T>[]) => void,
    reject: (error: unknown) => void,
  ) {
    this.#results = new Array<undefined>(count).fill(undefined);
    this.#open = count;
    this.#resolve = resolve;
    this.#reject = reject;
    this.#unhear = onAbort(signal, (reason) => this.#aborted(reason));
  }

  put(index: number, result: EntryResult<T>): void {
    this.#results[index] = result;
    this.#countDown();
  }
  fail(error: OperatingError): void {
    this.#failure ??= error;
    this.#countDown();
  }
  #aborted(reason: unknown): void {
    if (this.#finish()) this.#reject(reason);
  }

  #countDown(): void {
    this.#open -= 1;
    if (this.#open > 0 || !this.#finish()) return;
    if (this.#failure === undefined) this.#resolve(this.#results as EntryResult<T>[]);
    else this.#reject(new BatchError(this.#failure, this.#results));
  }

  #finish(): boolean {
    if (this.isOver) return false;
    this.isOver = true;
    this.#unhear?.();
    return true;
  }
}

/** One of the entries of a batch form. */
export class CollectedEntry<T> implements Entry<T> {
  readonly text: string;
  readonly bytes: number;
  readonly hasRequestId: boolean;
  readonly deadlineMs: number;
  readonly #collector: Collector<T>;
  readonly #index: number;
  #isSettled = false;
  #isRenewed = false;

  constructor(encoded: EncodedEntry, deadlineMs: number, collector: Collector<T>, index: number) {
    this.text = encoded.text;
    this.bytes = encoded.bytes;
    this.hasRequestId = encoded.hasRequestId;
    this.deadlineMs = deadlineMs;
    this.#collector = collector;
    this.#index = index;
  }

  get isSettled(): boolean {
    return this.#isSettled || this.#collector.isOver;
  }
  renew(): boolean {
    const may = !this.#isRenewed;
    this.#isRenewed = true;
    return may;
  }
  accept(value: T): void {
    if (this.#settle()) this.#collector.put(this.#index, { kind: "ok", value });
  }
  refuse(error: Refusal): void {
    if (this.#settle()) this.#collector.put(this.#index, { kind: "refused", error });
  }
  fail(error: Error): void {
    if (!this.#settle()) return;
    if (error instanceof RefusedError) this.#collector.put(this.#index, { kind: "refused", error: error.toRefusal() });
    else this.#collector.fail(error as OperatingError);
  }

  #settle(): boolean {
    if (this.isSettled) return false;
    this.#isSettled = true;
    return true;
  }
}
