/** What every call of a client shares: the exchanges, the lanes, request ids, and the highest sequence that was seen. */
import type { NatsConnection } from "@nats-io/transport-node";
import { z } from "zod";
import { HeartbeatRequest, REQUESTS, type RequestInput, requestBytesMax } from "../../contracts/commands.ts";
import { OperatingError } from "../../contracts/errors.ts";
import { RequestId, Sequence } from "../../contracts/ids.ts";
import { REQUEST_BYTES_MAX } from "../../contracts/limits.ts";
import type { Clock } from "../../contracts/ports.ts";
import type { ReplyOf } from "../../contracts/replies.ts";
import { rpcSubject, type Verb } from "../../contracts/subjects.ts";
import { createIds } from "../runtime/ids.ts";
import type { ClientSettings } from "./client-options.ts";
import type { Encoded } from "./entries.ts";
import { CollectedEntry, Collector, type EncodedEntry, SingleEntry } from "./entry.ts";
import { type AnsweredAttempt, type Exchange, type ExchangeOwner, Exchanges } from "./exchange.ts";
import { ENVELOPE_BYTES, type Envelope, Lane, type LaneOptions, serverTimeoutMs } from "./lane.ts";
import { LeaderWatch } from "./leader-watch.ts";
import { onAbort } from "./on-abort.ts";
import {
  check,
  type EntryResult,
  type Fate,
  fateError,
  type Refusal,
  RefusedError,
  refusedError,
  tooLarge,
} from "./refusal.ts";
import { replyOf } from "./reply-of.ts";

/** What any call may carry. */
export interface CallOptions {
  /** Gives up waiting: the promise rejects with the signal's reason. The request may still be carried out. */
  readonly signal?: AbortSignal | undefined;
  /** How long the call may take with all its repeats. ms; the client's `timeoutMs` by default. */
  readonly timeoutMs?: number | undefined;
  /** How long one attempt may stay without an answer. ms; the client's by default. */
  readonly attemptTimeoutMs?: number | undefined;
}

/** Verbs whose request ids are remembered beyond their request, so that `after` has a meaning for them. */
const VERBS_WITH_AFTER: ReadonlySet<Verb> = new Set(["enqueue", "lease"]);
const READS: ReadonlySet<Verb> = new Set(["get", "list", "explain", "schedule-list", "stats", "quotas"]);
const OwnEnvelope = z.object({
  requestId: RequestId.optional(),
  after: Sequence.optional(),
  extendMs: HeartbeatRequest.shape.extendMs,
  attemptTimeoutMs: z.number().min(1).optional(),
});

export class ClientCore {
  readonly settings: ClientSettings;
  readonly clock: Clock;
  readonly exchanges: Exchanges;
  /** Highest event sequence that any reply has cited. */
  sequenceSeen = 0;
  readonly #leaderWatch: LeaderWatch;
  readonly #ids = createIds();
  /** Unguessable, so that no other process of the principal can meet our request ids. */
  readonly #incarnation = this.#ids.id("client");
  #nextRequest = 0;
  readonly #lanes: { close(error: OperatingError): void }[] = [];
  #closedBy: OperatingError | undefined;

  /** `onDeaf`: see `Exchanges`. */
  constructor(connection: NatsConnection, settings: ClientSettings, clock: Clock, onDeaf: () => void) {
    this.settings = settings;
    this.clock = clock;
    this.exchanges = new Exchanges(connection, clock, Math.random, onDeaf);
    this.#leaderWatch = new LeaderWatch(connection, settings.shard, (term) => this.exchanges.heard(term));
  }

  get isClosed(): boolean {
    return this.#closedBy !== undefined;
  }
  nowMs(): number {
    return this.clock.monotonicMs();
  }
  requestId(): string {
    this.#nextRequest += 1;
    return `${this.#incarnation}-${this.#nextRequest.toString(36)}`;
  }

  lane<T>(verb: Verb, field: "items" | "leases", read: LaneOptions<T>["read"]): Lane<T> {
    const { shard, principal, requestsInFlightMax, entriesMax, attemptTimeoutMs, onBackpressure } = this.settings;
    const hasAfter = VERBS_WITH_AFTER.has(verb);
    const lane = new Lane<T>({
      ...{ verb, field, read, requestsInFlightMax, entriesMax, attemptTimeoutMs, onBackpressure },
      subject: rpcSubject(shard, verb, principal),
      exchanges: this.exchanges,
      requestId: () => this.requestId(),
      after: () => (hasAfter ? `"after":${this.sequenceSeen}` : ""),
      sawSequence: (sequence) => this.#saw(sequence),
      nowMs: () => this.nowMs(),
    });
    this.#lanes.push(lane);
    return lane;
  }

  /** A single form: the entry travels with whatever else the lane has. With an envelope of its own it travels alone. */
  one<T>(lane: Lane<T>, encoded: Encoded, options: CallOptions, envelope?: Envelope): Promise<T> {
    const { signal } = options;
    return new Promise<T>((resolve, reject) => {
      const own = envelope ?? this.#ownEnvelope(options);
      const error = this.#refusalOf(encoded, signal, own);
      if (error !== undefined || encoded.kind === "refused") return reject(error?.reason);
      const entry = new SingleEntry(encoded.entry, this.#deadlineMs(options), signal, resolve, reject);
      if (own === undefined) lane.push(entry);
      else lane.sendAlone([entry], own);
    });
  }

  /** A batch form: one result per entry, in the order given. */
  many<T>(
    lane: Lane<T>,
    encoded: readonly Encoded[],
    options: CallOptions,
    envelope?: Envelope,
  ): Promise<readonly EntryResult<T>[]> {
    const { signal } = options;
    const own = envelope ?? this.#ownEnvelope(options);
    return new Promise((resolve, reject) => {
      const error = this.#refusalOf(undefined, signal, own);
      if (error !== undefined) return reject(error.reason);
      if (encoded.length === 0) return resolve([]);
      const deadlineMs = this.#deadlineMs(options);
      const collector = new Collector<T>(encoded.length, signal, resolve, reject);
      const alone: CollectedEntry<T>[] = [];
      for (const [index, one] of encoded.entries()) {
        if (one.kind === "refused") {
          collector.put(index, { kind: "refused", error: one.error });
          continue;
        }
        const entry = new CollectedEntry(one.entry, deadlineMs, collector, index);
        if (own === undefined) lane.push(entry);
        else alone.push(entry);
      }
      if (own !== undefined) for (const chunk of this.#chunks(alone)) lane.sendAlone(chunk, own);
    });
  }

  /** How many requests of their own the entries would need. */
  requestCount(encoded: readonly Encoded[]): number {
    return this.#chunks(encoded.flatMap((one) => (one.kind === "ok" ? [one.entry] : []))).length;
  }

  /** A request without entries of its own promise. `fields` are the verb's; ids and sequence are added here. */
  call<V extends Verb>(
    verb: V,
    fields: RequestInput<V>,
    options: CallOptions & {
      readonly waitMs?: number;
      readonly abandoned?: (reply: ReplyOf<V>) => void;
      readonly isFinal?: (error: Refusal) => boolean;
    },
  ): Promise<Answer<V>> {
    const { signal, waitMs = 0, abandoned, isFinal } = options;
    return new Promise<Answer<V>>((resolve, reject) => {
      const isRead = READS.has(verb);
      const attemptTimeoutMs = options.attemptTimeoutMs ?? this.settings.attemptTimeoutMs;
      const timeoutMs = serverTimeoutMs(attemptTimeoutMs);
      const request = {
        ...(isRead ? {} : { requestId: this.requestId() }),
        ...(VERBS_WITH_AFTER.has(verb) ? { after: this.sequenceSeen } : {}),
        ...(timeoutMs === undefined ? {} : { timeoutMs }),
        ...withoutUndefined(fields),
      };
      const refusal = check(REQUESTS[verb], request);
      const error = this.#refusalOf(refusal === undefined ? undefined : { kind: "refused", error: refusal }, signal);
      if (error !== undefined) return reject(error.reason);
      const bytes = Buffer.from(JSON.stringify(request));
      const bytesMax = requestBytesMax(verb);
      if (bytes.length > bytesMax) return reject(new RefusedError(tooLarge("the request", bytes.length, bytesMax)));
      const { shard, principal, onBackpressure } = this.settings;
      const saw = (sequence: number): void => this.#saw(sequence);
      const owner = new Call<V>(verb, { signal, resolve, reject, saw, abandoned });
      const hasOwnAfter = "after" in fields && fields.after !== undefined;
      owner.start(this.exchanges, {
        subject: rpcSubject(shard, verb, principal),
        bytes,
        deadlineMs: this.#deadlineMs(options) + waitMs,
        attemptTimeoutMs,
        waitMs,
        onBackpressure,
        isFinal,
        renew:
          "after" in request && !hasOwnAfter
            ? () => Buffer.from(JSON.stringify({ ...request, after: this.sequenceSeen }))
            : undefined,
      });
    });
  }

  close(): void {
    if (this.#closedBy !== undefined) return;
    this.#closedBy = new OperatingError("closed", "the client is closed", { definite: true });
    this.#leaderWatch.close();
    for (const lane of this.#lanes) lane.close(this.#closedBy);
    this.exchanges.close(this.#closedBy);
  }

  #saw(sequence: number): void {
    if (sequence > this.sequenceSeen) this.sequenceSeen = sequence;
  }

  #deadlineMs({ timeoutMs = this.settings.timeoutMs }: CallOptions): number {
    return this.nowMs() + timeoutMs;
  }

  #ownEnvelope({ attemptTimeoutMs }: CallOptions): Envelope | undefined {
    return attemptTimeoutMs === undefined ? undefined : { attemptTimeoutMs };
  }

  /** Why a call fails before anything is sent. */
  #refusalOf(
    encoded: Encoded | undefined,
    signal: AbortSignal | undefined,
    own?: Envelope,
  ): { readonly reason: unknown } | undefined {
    if (this.#closedBy !== undefined) return { reason: this.#closedBy };
    if (signal?.aborted === true) return { reason: signal.reason };
    const refusal =
      encoded?.kind === "refused" ? encoded.error : own === undefined ? undefined : check(OwnEnvelope, own);
    return refusal === undefined ? undefined : { reason: new RefusedError(refusal) };
  }

  #chunks<E extends EncodedEntry>(entries: readonly E[]): E[][] {
    const bytesMax = Math.min(this.exchanges.payloadBytesMax ?? REQUEST_BYTES_MAX, REQUEST_BYTES_MAX) - ENVELOPE_BYTES;
    const chunks: E[][] = [];
    let bytes = 0;
    for (const entry of entries) {
      const chunk = chunks.at(-1);
      bytes += entry.bytes + 1;
      if (chunk !== undefined && chunk.length < this.settings.entriesMax && bytes <= bytesMax) chunk.push(entry);
      else {
        chunks.push([entry]);
        bytes = entry.bytes + 1;
      }
    }
    return chunks;
  }
}

/** A reply with the time that its own times count from. ms on the client's monotonic clock. */
export interface Answer<V extends Verb> {
  readonly reply: ReplyOf<V>;
  readonly sentAtMs: number;
}

interface Caller<V extends Verb> {
  readonly signal: AbortSignal | undefined;
  readonly resolve: (answer: Answer<V>) => void;
  readonly reject: (error: unknown) => void;
  readonly saw: (sequence: number) => void;
  /** Gets the reply that comes after the caller has given up. Without it the request is dropped then. */
  readonly abandoned: ((reply: ReplyOf<V>) => void) | undefined;
}

/** One call that is a request by itself. */
class Call<V extends Verb> implements ExchangeOwner {
  readonly #verb: V;
  readonly #caller: Caller<V>;
  #isAbandoned = false;
  #exchanges: Exchanges | undefined;
  #exchange: Exchange | undefined;
  #unhear: (() => void) | undefined;

  constructor(verb: V, caller: Caller<V>) {
    this.#verb = verb;
    this.#caller = caller;
  }

  start(exchanges: Exchanges, options: Parameters<Exchanges["start"]>[0]): void {
    this.#unhear = onAbort(this.#caller.signal, (reason) => this.#aborted(reason));
    this.#exchanges = exchanges;
    this.#exchange = exchanges.start(options, this);
  }

  replied(reply: Readonly<Record<string, unknown>>, { sentAtMs, isLast }: AnsweredAttempt): "done" | "again" | "wait" {
    const known = replyOf(this.#verb, reply);
    if (known === undefined) return "again";
    // A later attempt may still be waiting at the leader and be granted leases that nobody would know of.
    if (!isLast && this.#verb === "lease" && (known as ReplyOf<"lease">).leases.length === 0) return "wait";
    this.#caller.saw(known.sequence);
    this.#end();
    if (this.#isAbandoned) this.#caller.abandoned?.(known);
    else this.#caller.resolve({ reply: known, sentAtMs });
    return "done";
  }
  refused(error: Refusal): void {
    this.#end();
    this.#caller.reject(refusedError(error));
  }
  outOfTime(_nowMs: number, fate: Fate): undefined {
    this.#end();
    this.#caller.reject(fateError(fate, this.#verb, !READS.has(this.#verb)));
  }
  failed(error: OperatingError): void {
    this.#end();
    this.#caller.reject(error);
  }
  /** The abort of the caller's signal. What is rejected twice was rejected first. */
  #aborted(reason: unknown): void {
    const { abandoned, reject } = this.#caller;
    this.#end();
    this.#isAbandoned = true;
    if (abandoned === undefined && this.#exchange !== undefined) this.#exchanges?.cancel(this.#exchange);
    reject(reason);
  }

  #end(): void {
    this.#unhear?.();
  }
}

function withoutUndefined(fields: object): Record<string, unknown> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
}
