/** The log port in memory, on a clock that the test owns, with the faults of a real stream on order. */
import assert from "node:assert/strict";
import { OperatingError } from "../../contracts/errors.ts";
import type {
  AppendOutcome,
  Clock,
  FollowHandler,
  Following,
  InfoOutcome,
  Log,
  LogSource,
  ReadOutcome,
  TimerHandle,
  TrimOutcome,
} from "../../contracts/ports.ts";
import { type MemoryMessage, MemoryStream } from "./memory-stream.ts";

/**
 * A fault of one append.
 * `lose_ack`: stored, but no answer comes. `vanish`: neither stored nor answered. `late`: no answer in time; tried at the stream after
 * `afterMs`, with its expectation, when the caller has long given up. `refuse`: answered as unavailable, not stored. `delay`: stored after
 * `delayMs`, then answered. `disconnect`: the connection breaks, with the message stored before or not; `reconnect` ends it.
 */
export type AppendFault =
  | { readonly kind: "lose_ack" }
  | { readonly kind: "vanish" }
  | { readonly kind: "late"; readonly afterMs: number }
  | { readonly kind: "refuse"; readonly code?: number; readonly message?: string }
  | { readonly kind: "delay"; readonly delayMs: number }
  | { readonly kind: "disconnect"; readonly isStored: boolean };

export interface MemoryLogOptions {
  readonly clock: Clock;
  /** Shared with the other logs that play the same stream; a new one when absent. */
  readonly stream?: MemoryStream;
  /** How long one way to the stream, or from it, takes. ms; 0 (default) calls back by `Clock.defer`. May differ from call to call. */
  readonly latencyMs?: () => number;
}

interface Pending {
  isDone: boolean;
  timer: TimerHandle | undefined;
  /** Ends it because the connection broke or the log closed. */
  readonly disconnected: () => void;
}

interface Reader {
  next: number;
  isScheduled: boolean;
  isHeld: boolean;
  readonly handler: FollowHandler;
}

const NO_RESPONDERS = 503;
/** The server's code for a store that is full. */
const STORE_FAILED = 10077;

export class MemoryLog implements Log, LogSource {
  readonly stream: MemoryStream;
  readonly #clock: Clock;
  readonly #latencyMs: () => number;
  readonly #faults: AppendFault[] = [];
  readonly #pending = new Set<Pending>();
  readonly #following = new Set<Reader>();
  readonly #stopListening: () => void;
  #isAppending = false;
  #isConnected = true;
  #readFailures = 0;

  constructor(options: MemoryLogOptions) {
    this.stream = options.stream ?? new MemoryStream();
    this.#clock = options.clock;
    this.#latencyMs = options.latencyMs ?? (() => 0);
    this.#stopListening = this.stream.onStored(() => this.#wakeFollowers());
  }

  /** Gives the next appends these faults, one each, in order. */
  failNextAppend(...faults: readonly AppendFault[]): void {
    this.#faults.push(...faults);
  }

  /** Lets the next `count` reads and infos fail. */
  failNextReads(count: number): void {
    this.#readFailures += count;
  }

  get isConnected(): boolean {
    return this.#isConnected;
  }

  /** Breaks the connection: what is under way ends at once, followers hear nothing until `reconnect`. */
  disconnect(): void {
    this.#isConnected = false;
    for (const pending of [...this.#pending]) pending.disconnected();
  }
  reconnect(): void {
    this.#isConnected = true;
    this.#wakeFollowers();
  }

  /** Ends all followers with an error, as a deleted stream does. */
  failFollowers(error: OperatingError): void {
    for (const following of [...this.#following]) {
      this.#following.delete(following);
      this.#clock.defer(() => following.handler.failed(error));
    }
  }

  close(): void {
    this.#stopListening();
    this.#following.clear();
    this.#isConnected = false;
    for (const pending of [...this.#pending]) pending.disconnected();
  }

  append(
    payload: Uint8Array,
    chain: string,
    expectedLast: number,
    timeoutMs: number,
    callback: (outcome: AppendOutcome) => void,
  ): void {
    assert(!this.#isAppending, "an append is under way already");
    assert(
      Number.isSafeInteger(expectedLast) && expectedLast >= 0,
      `expectedLast must be a sequence, is ${expectedLast}`,
    );
    this.#isAppending = true;
    const finish = this.#begin<AppendOutcome>(timeoutMs, { kind: "timeout" }, { kind: "disconnected" }, (outcome) => {
      this.#isAppending = false;
      callback(outcome);
    });
    if (!this.#isConnected) return;
    // What travels are the sender's own bytes, as in a socket: one that writes over them too early is found out.
    this.#travel(() => this.#arrive(payload, chain, expectedLast, finish));
  }

  read(streamSequence: number, timeoutMs: number, callback: (outcome: ReadOutcome) => void): void {
    assert(Number.isSafeInteger(streamSequence) && streamSequence >= 1, `no sequence: ${streamSequence}`);
    this.#ask<ReadOutcome>(timeoutMs, callback, () => {
      if (this.stream.isMissing) return { kind: "failed", error: failure("stream_missing", "stream not found") };
      const message = this.stream.at(streamSequence);
      if (message === undefined) return { kind: "absent" };
      return { kind: "found", message: { ...copyOf(message), pending: -1 } };
    });
  }

  info(timeoutMs: number, callback: (outcome: InfoOutcome) => void): void {
    this.#ask<InfoOutcome>(timeoutMs, callback, () => {
      if (this.stream.isMissing) return { kind: "missing" };
      const { firstSequence, lastSequence, messageCount, bytes, bytesMax } = this.stream;
      const serverTimeMs = Math.floor(this.#clock.wallMs());
      return {
        kind: "info",
        info: { firstSequence, lastSequence, messages: messageCount, bytes, bytesMax, replicas: 1, serverTimeMs },
      };
    });
  }

  trim(keepFrom: number, timeoutMs: number, callback: (outcome: TrimOutcome) => void): void {
    assert(Number.isSafeInteger(keepFrom) && keepFrom >= 2, `no sequence to keep from: ${keepFrom}`);
    this.#ask<TrimOutcome>(timeoutMs, callback, () => {
      if (this.stream.isMissing) return { kind: "failed", error: failure("stream_missing", "stream not found") };
      this.stream.trimBelow(keepFrom);
      return { kind: "trimmed" };
    });
  }

  follow(fromSequence: number, handler: FollowHandler): Following {
    assert(Number.isSafeInteger(fromSequence) && fromSequence >= 1, `no sequence to follow from: ${fromSequence}`);
    const following: Reader = { next: fromSequence, isScheduled: false, isHeld: false, handler };
    this.#following.add(following);
    this.#wake(following);
    return {
      hold: () => {
        following.isHeld = true;
      },
      resume: () => {
        following.isHeld = false;
        this.#wake(following);
      },
      close: () => void this.#following.delete(following),
    };
  }

  /** The message has reached the stream. */
  #arrive(payload: Uint8Array, chain: string, expectedLast: number, finish: (outcome: AppendOutcome) => void): void {
    const fault = this.#faults.shift();
    const store = (): AppendOutcome => this.#store(payload, chain, expectedLast);
    const answer = (): void => {
      const outcome = store();
      this.#travel(() => finish(outcome));
    };
    switch (fault?.kind) {
      case undefined:
        answer();
        return;
      case "lose_ack":
        store();
        return;
      case "vanish":
        return;
      case "late":
        this.#clock.setTimer(fault.afterMs, store);
        return;
      case "delay":
        this.#clock.setTimer(fault.delayMs, answer);
        return;
      case "refuse":
        this.#travel(() =>
          finish({ kind: "unavailable", code: fault.code ?? NO_RESPONDERS, message: fault.message ?? "no responders" }),
        );
        return;
      case "disconnect":
        if (fault.isStored) store();
        this.disconnect();
        return;
    }
  }

  #store(payload: Uint8Array, chain: string, expectedLast: number): AppendOutcome {
    if (this.stream.isMissing) return { kind: "unavailable", code: NO_RESPONDERS, message: "no responders" };
    const stored = this.stream.publish(payload, chain, expectedLast);
    switch (stored.kind) {
      case "stored":
        return { kind: "acked", streamSequence: stored.streamSequence };
      case "wrong_last":
        return stored;
      case "full":
        return { kind: "unavailable", code: STORE_FAILED, message: "maximum bytes exceeded" };
    }
  }

  #ask<Outcome extends ReadOutcome | InfoOutcome | TrimOutcome>(
    timeoutMs: number,
    callback: (outcome: Outcome | FailedOutcome) => void,
    answer: () => Outcome,
  ): void {
    const timeout = failed("jetstream_timeout", "no answer in time");
    const disconnected = failed("nats_disconnected", "the connection is down");
    const finish = this.#begin<Outcome | FailedOutcome>(timeoutMs, timeout, disconnected, callback);
    if (!this.#isConnected) return;
    this.#travel(() => {
      const isFailing = this.#readFailures > 0;
      if (isFailing) this.#readFailures -= 1;
      const outcome = isFailing ? failed("jetstream_error", "a failure on order") : answer();
      this.#travel(() => finish(outcome));
    });
  }

  /** Starts something that ends exactly once: by what the stream says, by its timer, or by the connection. */
  #begin<Outcome>(
    timeoutMs: number,
    timeout: Outcome,
    disconnected: Outcome,
    callback: (outcome: Outcome) => void,
  ): (outcome: Outcome) => void {
    assert(timeoutMs > 0, `timeoutMs must be above 0, is ${timeoutMs}`);
    const finish = (outcome: Outcome): void => {
      if (pending.isDone) return;
      pending.isDone = true;
      if (pending.timer !== undefined) this.#clock.clearTimer(pending.timer);
      this.#pending.delete(pending);
      callback(outcome);
    };
    const pending: Pending = {
      isDone: false,
      timer: this.#clock.setTimer(timeoutMs, () => finish(timeout)),
      disconnected: () => this.#clock.defer(() => finish(disconnected)),
    };
    this.#pending.add(pending);
    if (!this.#isConnected) pending.disconnected();
    return finish;
  }

  /** One way over the network. What is on its way when the connection breaks still arrives, but its answer is not waited for. */
  #travel(step: () => void): void {
    const delayMs = this.#latencyMs();
    if (delayMs > 0) this.#clock.setTimer(delayMs, step);
    else this.#clock.defer(step);
  }

  #wakeFollowers(): void {
    for (const following of this.#following) this.#wake(following);
  }

  #wake(following: Reader): void {
    if (following.isScheduled) return;
    following.isScheduled = true;
    this.#travel(() => {
      following.isScheduled = false;
      this.#deliver(following);
    });
  }

  #deliver(following: Reader): void {
    const isReading = (): boolean => this.#isConnected && !following.isHeld && this.#following.has(following);
    while (isReading() && following.next <= this.stream.lastSequence) {
      const message = this.stream.at(following.next);
      following.next += 1;
      const pending = this.stream.lastSequence - following.next + 1;
      if (message !== undefined) following.handler.message({ ...copyOf(message), pending });
    }
  }
}

type FailedOutcome = { readonly kind: "failed"; readonly error: OperatingError };

function failed(code: string, message: string): FailedOutcome {
  return { kind: "failed", error: failure(code, message) };
}

/** A reader may keep or change what it gets; the stream keeps its own. */
function copyOf(message: MemoryMessage): MemoryMessage {
  return { ...message, payload: message.payload.slice() };
}

function failure(code: string, message: string): OperatingError {
  return new OperatingError(code, message, { definite: true });
}
