/**
 * Adaptive group commit on the client's side: while requests of a verb are under way, further calls gather and leave together.
 * Nobody waits for a timer: an idle lane sends at once, a busy one as soon as a request comes back.
 */
import assert from "node:assert/strict";
import type { OperatingError } from "../../contracts/errors.ts";
import {
  ENTRIES_PER_REQUEST_MAX,
  REQUEST_BYTES_MAX,
  TIMEOUT_MS_DEFAULT,
  TIMEOUT_MS_MAX,
} from "../../contracts/limits.ts";
import type { Verb } from "../../contracts/subjects.ts";
import { Deadline } from "./deadline-wheel.ts";
import type { Entry } from "./entry.ts";
import type { AnsweredAttempt, ExchangeOptions, ExchangeOwner, Exchanges, OnBackpressure } from "./exchange.ts";
import { type Fate, fateError, type Refusal } from "./refusal.ts";
import { replyOf } from "./reply-of.ts";

/** Room for what stands around the entries of a request: ids, sequence, separators. Bytes. */
export const ENVELOPE_BYTES = 1_024;
/** Bytes of the request id that an entry may get so that it can share a request with entries that have one of their own. */
const ENTRY_ID_BYTES = 64;
export const ENTRY_BYTES_MAX: number = REQUEST_BYTES_MAX - ENVELOPE_BYTES - ENTRY_ID_BYTES;

/** What a lane needs to know of its verb and its client. */
export interface LaneOptions<T> {
  readonly verb: Verb;
  /** The request's field that holds the entries. */
  readonly field: "items" | "leases";
  readonly subject: string;
  readonly exchanges: Exchanges;
  readonly requestsInFlightMax: number;
  readonly entriesMax: number;
  readonly attemptTimeoutMs: number;
  readonly onBackpressure: OnBackpressure;
  /** A fresh request id. */
  readonly requestId: () => string;
  /** `"after":<sequence>` for verbs whose request ids outlive the request; empty for others. */
  readonly after: () => string;
  /** Told the sequence of each reply. */
  readonly sawSequence: (sequence: number) => void;
  readonly nowMs: () => number;
  /** The caller's value of one result. */
  readonly read: (result: Readonly<Record<string, unknown>>, sentAtMs: number) => T;
}

/** What one request may have of its own instead of the lane's. */
export interface Envelope {
  readonly requestId?: string | undefined;
  readonly after?: number | undefined;
  readonly extendMs?: number | undefined;
  readonly attemptTimeoutMs?: number | undefined;
  /** Its entries name each other by their places: whatever is sent again is sent as this whole request. */
  readonly isWhole?: boolean;
}

/** What a request says about how long the server may take; undefined for the server's default. ms. */
export function serverTimeoutMs(attemptTimeoutMs: number): number | undefined {
  if (attemptTimeoutMs === TIMEOUT_MS_DEFAULT) return undefined;
  return Math.min(Math.max(Math.round(attemptTimeoutMs), 1), TIMEOUT_MS_MAX);
}

type EntryOutcome = { readonly error?: Refusal } & Readonly<Record<string, unknown>>;

export class Lane<T> extends Deadline {
  readonly options: LaneOptions<T>;
  #gathered: Entry<T>[] = [];
  readonly #waiting = new Set<WaitingEntry<T>>();
  #inFlight = 0;
  #isFlushScheduled = false;
  /** Earliest deadline among the gathered. */
  #deadlineMs = Number.POSITIVE_INFINITY;

  constructor(options: LaneOptions<T>) {
    super();
    this.options = options;
  }

  /** Entries that are not in a request now. */
  get gatheredCount(): number {
    return this.#gathered.length + this.#waiting.size;
  }

  push(entry: Entry<T>): void {
    this.#gathered.push(entry);
    this.#scheduleFlush();
    if (entry.deadlineMs >= this.#deadlineMs) return;
    this.#deadlineMs = entry.deadlineMs;
    this.options.exchanges.wheel.set(this, entry.deadlineMs);
  }

  /** Sends entries in a request of their own, past the window: their caller bounds them. */
  sendAlone(entries: readonly Entry<T>[], envelope: Envelope): void {
    new Batch(this, entries, envelope, () => {}).start();
  }

  /** Puts an entry that was refused for now back in line, when its time has come. */
  later(entry: Entry<T>, refusal: Refusal, delayMs: number): void {
    const dueMs = Math.min(this.options.nowMs() + delayMs, entry.deadlineMs);
    const waiting = new WaitingEntry(entry, refusal, (one) => {
      this.#waiting.delete(one);
      if (this.options.nowMs() >= entry.deadlineMs) entry.refuse(refusal);
      else this.push(entry);
    });
    this.#waiting.add(waiting);
    this.options.exchanges.wheel.set(waiting, dueMs);
  }

  /** Some of the gathered have run out of time. */
  due(nowMs: number): void {
    const left: Entry<T>[] = [];
    this.#deadlineMs = Number.POSITIVE_INFINITY;
    for (const entry of this.#gathered) {
      if (entry.isSettled) continue;
      if (entry.deadlineMs <= nowMs) {
        entry.fail(fateError({ kind: "undecided", last: "never sent" }, this.options.verb, true));
      } else {
        left.push(entry);
        this.#deadlineMs = Math.min(this.#deadlineMs, entry.deadlineMs);
      }
    }
    this.#gathered = left;
    if (left.length > 0) this.options.exchanges.wheel.set(this, this.#deadlineMs);
  }

  close(error: OperatingError): void {
    const { wheel } = this.options.exchanges;
    wheel.clear(this);
    for (const entry of this.#gathered) entry.fail(error);
    this.#gathered = [];
    for (const waiting of this.#waiting) {
      wheel.clear(waiting);
      waiting.entry.fail(error);
    }
    this.#waiting.clear();
  }

  /** At the end of this turn's promise jobs, so that calls made side by side, and those that a reply set free, leave together. */
  #scheduleFlush(): void {
    if (this.#isFlushScheduled) return;
    this.#isFlushScheduled = true;
    queueMicrotask(() => {
      this.#isFlushScheduled = false;
      this.#flush();
    });
  }

  #flush(): void {
    let from = 0;
    while (this.#inFlight < this.options.requestsInFlightMax && from < this.#gathered.length) {
      const entries: Entry<T>[] = [];
      from = this.#take(from, entries);
      if (entries.length === 0) continue;
      this.#inFlight += 1;
      new Batch(this, entries, {}, () => {
        this.#inFlight -= 1;
        if (this.#gathered.length > 0) this.#scheduleFlush();
      }).start();
    }
    if (from > 0) this.#gathered.splice(0, from);
    if (this.#gathered.length > 0) return;
    this.options.exchanges.wheel.clear(this);
    this.#deadlineMs = Number.POSITIVE_INFINITY;
  }

  /** Takes from `from` on what fits one request; returns where the next one begins. */
  #take(from: number, entries: Entry<T>[]): number {
    const max = this.options.exchanges.payloadBytesMax ?? REQUEST_BYTES_MAX;
    const bytesMax = Math.min(max, REQUEST_BYTES_MAX) - ENVELOPE_BYTES;
    let bytes = 0;
    let index = from;
    let ownIds = 0;
    for (; index < this.#gathered.length && entries.length < this.options.entriesMax; index += 1) {
      const entry = this.#gathered[index];
      if (entry === undefined || entry.isSettled) continue;
      bytes += entry.bytes + 1;
      ownIds += entry.hasRequestId ? 1 : 0;
      const idBytes = ownIds === 0 ? 0 : (entries.length + 1 - ownIds) * ENTRY_ID_BYTES;
      if (bytes + idBytes > bytesMax && entries.length > 0) break;
      entries.push(entry);
    }
    return index;
  }
}

/** An entry that waits until the shard takes more. */
class WaitingEntry<T> extends Deadline {
  readonly entry: Entry<T>;
  readonly refusal: Refusal;
  readonly #onDue: (one: WaitingEntry<T>) => void;

  constructor(entry: Entry<T>, refusal: Refusal, onDue: (one: WaitingEntry<T>) => void) {
    super();
    this.entry = entry;
    this.refusal = refusal;
    this.#onDue = onDue;
  }

  due(): void {
    this.#onDue(this);
  }
}

/** One request with entries: hands each its own part of the reply. */
class Batch<T> implements ExchangeOwner {
  readonly #lane: Lane<T>;
  readonly #entries: readonly Entry<T>[];
  readonly #envelope: Envelope;
  readonly #requestId: string;
  readonly #onEnd: () => void;
  /** By index: entries that this request has nothing more to do with. */
  readonly #isDone: boolean[];

  constructor(lane: Lane<T>, entries: readonly Entry<T>[], envelope: Envelope, onEnd: () => void) {
    assert(entries.length > 0 && entries.length <= ENTRIES_PER_REQUEST_MAX, `a request of ${entries.length} entries`);
    this.#lane = lane;
    this.#entries = entries;
    this.#envelope = envelope;
    this.#requestId = envelope.requestId ?? lane.options.requestId();
    this.#onEnd = onEnd;
    this.#isDone = new Array<boolean>(entries.length).fill(false);
  }

  start(): void {
    const { subject, attemptTimeoutMs, onBackpressure, exchanges, after } = this.#lane.options;
    const options: ExchangeOptions = {
      subject,
      bytes: this.#encode(),
      deadlineMs: Math.min(...this.#entries.map((entry) => entry.deadlineMs)),
      attemptTimeoutMs: this.#envelope.attemptTimeoutMs ?? attemptTimeoutMs,
      waitMs: 0,
      onBackpressure,
      renew: after() === "" || this.#envelope.after !== undefined ? undefined : () => this.#encode(),
    };
    exchanges.start(options, this);
  }

  replied(reply: Readonly<Record<string, unknown>>, { sentAtMs, isOnly }: AnsweredAttempt): "done" | "again" {
    const { verb, sawSequence, onBackpressure, read, exchanges } = this.#lane.options;
    const known = replyOf(verb, reply);
    if (known === undefined || !("results" in known)) return "again";
    const results = known.results as readonly EntryOutcome[];
    if (results.length !== this.#entries.length) return "again";
    sawSequence(known.sequence);
    const { isWhole = false } = this.#envelope;
    if (isWhole && isOnly && results.every(({ error }) => error?.code === "request_expired") && this.#renew())
      return "done";
    let isAgain = false;
    // One for all: what was refused together can travel together again.
    let restMs: number | undefined;
    results.forEach((result, index) => {
      const entry = this.#entries[index];
      if (entry === undefined || this.#isDone[index] === true) return;
      const { error } = result;
      if (error?.retryable === true && (!error.definite || (isWhole && onBackpressure === "wait"))) {
        isAgain = true;
        return;
      }
      this.#isDone[index] = true;
      if (error === undefined) entry.accept(read(result, sentAtMs));
      else if (error.retryable && onBackpressure === "wait") {
        restMs ??= exchanges.jittered(error.retryAfterMs);
        this.#lane.later(entry, error, restMs);
      } else if (error.code === "request_expired" && isOnly && this.#envelope.after === undefined && entry.renew())
        this.#lane.push(entry); // with the sequence of this reply as its `after`
      else entry.refuse(error);
    });
    if (isAgain) return "again";
    this.#onEnd();
    return "done";
  }

  /** Sends all entries anew, with the sequence of this reply as `after`; false when that was done before, or was the caller's own. */
  #renew(): boolean {
    if (this.#envelope.after !== undefined || !this.#entries.every((entry) => entry.renew())) return false;
    new Batch(this.#lane, this.#entries, this.#envelope, this.#onEnd).start();
    return true;
  }

  refused(error: Refusal): void {
    for (const entry of this.#open()) entry.refuse(error);
    this.#onEnd();
  }

  outOfTime(nowMs: number, fate: Fate): number | undefined {
    let next = Number.POSITIVE_INFINITY;
    for (const entry of this.#open()) {
      if (entry.deadlineMs <= nowMs) entry.fail(fateError(fate, this.#lane.options.verb, true));
      else next = Math.min(next, entry.deadlineMs);
    }
    if (next < Number.POSITIVE_INFINITY) return next;
    this.#onEnd();
    return undefined;
  }

  failed(error: OperatingError): void {
    for (const entry of this.#open()) entry.fail(error);
    this.#onEnd();
  }

  #open(): readonly Entry<T>[] {
    return this.#entries.filter((entry, index) => this.#isDone[index] !== true && !entry.isSettled);
  }

  /** A request id for all entries, or one for each where some have their own: the contract has one or the other. */
  #encode(): Uint8Array {
    const { field, after } = this.#lane.options;
    const { extendMs } = this.#envelope;
    const timeoutMs = serverTimeoutMs(this.#envelope.attemptTimeoutMs ?? this.#lane.options.attemptTimeoutMs);
    const hasOwnIds = this.#entries.some((entry) => entry.hasRequestId);
    const fields = [
      hasOwnIds ? "" : `"requestId":${JSON.stringify(this.#requestId)}`,
      this.#envelope.after === undefined ? after() : `"after":${this.#envelope.after}`,
      timeoutMs === undefined ? "" : `"timeoutMs":${timeoutMs}`,
      extendMs === undefined ? "" : `"extendMs":${extendMs}`,
    ].filter((text) => text !== "");
    const texts = this.#entries.map((entry, index) =>
      !hasOwnIds || entry.hasRequestId
        ? entry.text
        : `${entry.text.slice(0, -1)},"requestId":"${this.#requestId}/${index}"}`,
    );
    return Buffer.from(`{${fields.join(",")}${fields.length > 0 ? "," : ""}"${field}":[${texts.join(",")}]}`, "utf8");
  }
}
