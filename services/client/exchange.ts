/** One request until its one answer: attempts with the same bytes, rests between them, and what may be said when time is over. */
import type { NatsConnection } from "@nats-io/transport-node";
import { ErrorBodySchema, OperatingError } from "../../contracts/errors.ts";
import type { Clock } from "../../contracts/ports.ts";
import { Seats } from "../jetstream/seats.ts";
import { Deadline, DeadlineWheel } from "./deadline-wheel.ts";
import { Deafness } from "./deafness.ts";
import { type Fate, type Refusal, tooLarge } from "./refusal.ts";
import { type InboxHandler, ReplyInbox } from "./reply-inbox.ts";

/** Longest rest before the first repeat, and before any. Each is drawn between 40 % and 100 %. ms. */
const REST_FIRST_MS = 50;
const REST_MAX_MS = 500;
/** How much longer than the server may take we wait for its word, at most, and as a part of that time. ms. */
const MARGIN_MS_MAX = 250;
const MARGIN_PART = 0.1;
/** How long the first attempt may be silent before it is repeated, if that is shorter; doubled with each. ms. */
const SILENCE_FIRST_MS = 1_000;
/** How often a beat may make everything that is under way be repeated: anybody may have published it. ms. */
const HINT_EVERY_MS = 250;
/** Within which time it is repeated then, so that the requests of many clients do not come at once. ms. */
const HINT_SPREAD_MS = 20;
/** Refusals by which a leader says that it goes. */
const LEAVING: ReadonlySet<string> = new Set(["not_leader", "shutting_down"]);
/** Rest after a backpressure that does not say how long. ms. */
const RETRY_AFTER_DEFAULT_MS = 250;

export type OnBackpressure = "wait" | "throw";

/** Who gets the answer. Exactly one of `replied` with "done", `refused`, `failed`, or `outOfTime` with undefined is the last call. */
export interface ExchangeOwner {
  /**
   * A reply that is no refusal of the whole request. "again" sends the same bytes once more after a rest, "wait" waits for the answer
   * of a later attempt.
   */
  replied(reply: Readonly<Record<string, unknown>>, attempt: AnsweredAttempt): "done" | "again" | "wait";
  refused(error: Refusal): void;
  /** The deadline has passed. Returns the next one, or undefined when nobody waits any more. */
  outOfTime(nowMs: number, fate: Fate): number | undefined;
  /** The client was closed, or the connection is over. */
  failed(error: OperatingError): void;
}

export interface AnsweredAttempt {
  /** When the attempt that is answered was sent: a leader counts the times in a reply from the arrival of that very message. ms. */
  readonly sentAtMs: number;
  /** Whether no other attempt can have had an effect. */
  readonly isOnly: boolean;
  /** Whether no later attempt was sent. */
  readonly isLast: boolean;
}

export interface ExchangeOptions {
  readonly subject: string;
  readonly bytes: Uint8Array;
  /** ms on the monotonic clock. */
  readonly deadlineMs: number;
  /** How long the server may take for one attempt. At the latest a little after that the same bytes are sent again. ms. */
  readonly attemptTimeoutMs: number;
  /** How long the server was asked to wait with its answer, on top. ms. */
  readonly waitMs: number;
  readonly onBackpressure: OnBackpressure;
  /** Retryable refusals that the caller wants to hear instead of having the request repeated. */
  readonly isFinal?: ((error: Refusal) => boolean) | undefined;
  /** New bytes for a request that was refused with `request_expired` before any attempt can have had an effect. */
  readonly renew?: (() => Uint8Array) | undefined;
}

/**
 * `sent`: the last attempt has no answer yet. `resting`: waits before the next attempt. `parked`: waits for the connection.
 * `over`: answered or given up; everything that still comes is ignored.
 */
type Phase = "sent" | "resting" | "parked" | "over";

class Exchange extends Deadline {
  phase: Phase = "resting";
  attempt = 0;
  /** Rests since the request began: how long the next one may be. */
  rests = 0;
  attemptEndsMs = 0;
  /** When each attempt was sent. ms on the monotonic clock. */
  readonly sentAtMs: number[] = [];
  /** Whether an attempt that has ended may have been carried out. */
  isUnknown = false;
  /** The refusal that says for certain that nothing happened, while it is the last word. */
  refusal: Refusal | undefined;
  isRenewed = false;
  last = "never sent";
  bytes: Uint8Array;
  deadlineMs: number;
  /** Goes with its attempts. */
  token = "";
  readonly options: ExchangeOptions;
  readonly owner: ExchangeOwner;
  readonly #exchanges: Exchanges;

  constructor(exchanges: Exchanges, options: ExchangeOptions, owner: ExchangeOwner) {
    super();
    this.#exchanges = exchanges;
    this.options = options;
    this.owner = owner;
    this.bytes = options.bytes;
    this.deadlineMs = options.deadlineMs;
  }

  due(nowMs: number): void {
    this.#exchanges.due(this, nowMs);
  }

  get fate(): Fate {
    if (this.refusal !== undefined) return { kind: "refused", error: this.refusal };
    const isUnknown = this.isUnknown || this.phase === "sent";
    return { kind: isUnknown ? "unknown" : "undecided", last: this.phase === "sent" ? "timeout" : this.last };
  }
}

export type { Exchange };

/** All requests of one client that are under way. */
export class Exchanges implements InboxHandler {
  readonly wheel: DeadlineWheel;
  readonly #clock: Clock;
  readonly #inbox: ReplyInbox;
  readonly #random: () => number;
  readonly #open = new Seats<Exchange>();
  /** Highest term that a reply has cited; 0 before the first. */
  #term = 0;
  /** The newest term that a beat has shown, and when one last made us repeat. Apart from `#term`, which no stranger can raise. */
  #heard = { term: 0, atMs: Number.NEGATIVE_INFINITY };
  #closedBy: OperatingError | undefined;
  readonly #deafness: Deafness;
  /** Requests put on the wire, repeats included. */
  attempts = 0;

  /** `onDeaf`: nobody of the mesh has been heard for a while, although requests are under way. */
  constructor(connection: NatsConnection, clock: Clock, random: () => number, onDeaf: () => void) {
    this.#clock = clock;
    this.#deafness = new Deafness(onDeaf);
    this.#random = random;
    this.wheel = new DeadlineWheel(clock);
    this.#inbox = new ReplyInbox(connection, this);
  }

  /** Requests under way. */
  get size(): number {
    return this.#open.size;
  }
  get payloadBytesMax(): number | undefined {
    return this.#inbox.payloadBytesMax;
  }

  start(options: ExchangeOptions, owner: ExchangeOwner): Exchange {
    const exchange = new Exchange(this, options, owner);
    exchange.token = this.#open.add(exchange);
    const bytesMax = this.#inbox.payloadBytesMax;
    if (this.#closedBy !== undefined) this.#fail(exchange, this.#closedBy);
    else if (bytesMax !== undefined && options.bytes.length > bytesMax)
      this.#end(exchange).refused(tooLarge("the request", options.bytes.length, bytesMax));
    else this.#send(exchange);
    return exchange;
  }

  /** Ends a request that nobody waits for any more. */
  cancel(exchange: Exchange): void {
    this.#end(exchange);
  }

  close(error: OperatingError): void {
    if (this.#closedBy !== undefined) return;
    this.#closedBy = error;
    this.#inbox.close();
    for (const exchange of this.#open.values()) this.#fail(exchange, error);
  }

  reply(token: string, payload: Uint8Array): void {
    this.#deafness.heard();
    const [exchange, attempt] = this.#find(token);
    if (exchange === undefined) return;
    const body = parseObject(payload);
    if (body === undefined) this.#repeat(exchange, attempt, "a reply that is no JSON object");
    else if (body["error"] !== undefined) this.#refused(exchange, attempt, body["error"]);
    else this.#replied(exchange, attempt, body);
  }

  #replied(exchange: Exchange, attempt: number, body: Readonly<Record<string, unknown>>): void {
    exchange.refusal = undefined;
    const sentAtMs = exchange.sentAtMs[attempt - 1];
    if (sentAtMs === undefined) return; // not an attempt of ours: somebody else writes to our inbox
    if (typeof body["term"] === "number" && body["term"] > this.#term) {
      if (this.#term > 0 && body["term"] !== this.#heard.term) this.#doubt(exchange, attempt);
      this.#term = body["term"];
    }
    const verdict = exchange.owner.replied(body, {
      sentAtMs,
      isOnly: !exchange.isUnknown,
      isLast: attempt === exchange.attempt,
    });
    if (verdict === "done") this.#end(exchange);
    else if (verdict === "again") this.#repeat(exchange, attempt, "a reply without a whole outcome");
  }

  noResponders(token: string): void {
    const [exchange, attempt] = this.#find(token);
    if (exchange?.phase !== "sent" || attempt !== exchange.attempt) return;
    exchange.last = "no responders";
    this.#doubt(exchange, attempt);
    this.#rest(exchange);
    this.#deafness.unanswered(this.#clock.monotonicMs());
  }

  /**
   * A beat of this term was heard. When another leader has come, what the one before may have taken with it is repeated now instead of after its
   * silence, and what rests need not rest longer: whoever beats serves.
   */
  heard(term: number): void {
    this.#deafness.heard();
    const nowMs = this.#clock.monotonicMs();
    const known = Math.max(this.#term, this.#heard.term);
    if (term <= known || nowMs - this.#heard.atMs < HINT_EVERY_MS) return;
    this.#heard.term = term;
    if (known === 0) return;
    this.#heard.atMs = nowMs;
    for (const exchange of this.#open.values()) {
      if (exchange.phase === "sent") this.#wasSilent(exchange, "the leader changed");
      else if (exchange.phase !== "resting" || exchange.refusal !== undefined) continue;
      exchange.rests = 0;
      this.#rest(exchange, this.#random() * HINT_SPREAD_MS);
    }
  }

  denied(subject: string, reason: string): void {
    const error: Refusal = { code: "permission_denied", message: reason, retryable: false, definite: true };
    for (const exchange of this.#open.values())
      if (exchange.options.subject === subject) this.#end(exchange).refused(error);
  }

  connection(connected: boolean): void {
    this.#deafness.connection();
    for (const exchange of this.#open.values()) {
      if (!connected && exchange.phase === "sent") {
        this.#wasSilent(exchange, "disconnected");
        this.#park(exchange);
      } else if (connected && exchange.phase === "parked") this.#send(exchange);
    }
  }

  lost(): void {
    this.close(new OperatingError("disconnected", "the connection to NATS is closed", { definite: false }));
  }

  /** The deadline, the end of an attempt, or the end of a rest. */
  due(exchange: Exchange, nowMs: number): void {
    if (nowMs >= exchange.deadlineMs) {
      const next = exchange.owner.outOfTime(nowMs, exchange.fate);
      if (next === undefined) {
        this.#end(exchange);
        return;
      }
      exchange.deadlineMs = next;
    }
    if (exchange.phase === "sent" && nowMs >= exchange.attemptEndsMs) {
      this.#wasSilent(exchange, "timeout");
      this.#rest(exchange);
      this.#deafness.unanswered(nowMs);
    } else if (exchange.phase === "resting" && nowMs >= exchange.attemptEndsMs) this.#send(exchange);
    else this.#schedule(exchange);
  }

  /**
   * How long to rest after a refusal for now: between the time that was asked for and half as much again, so that those who were refused together
   * do not return together. ms.
   */
  jittered(retryAfterMs: number = RETRY_AFTER_DEFAULT_MS): number {
    return retryAfterMs * (1 + 0.5 * this.#random());
  }

  #find(token: string): [Exchange | undefined, number] {
    const end = token.lastIndexOf("-");
    return [this.#open.get(token.slice(0, end)), Number(token.slice(end + 1))];
  }

  #send(exchange: Exchange): void {
    const attempt = exchange.attempt + 1;
    const nowMs = this.#clock.monotonicMs();
    const { subject } = exchange.options;
    if (!this.#inbox.connected || !this.#inbox.send(subject, exchange.bytes, `${exchange.token}-${attempt}`)) {
      this.#park(exchange);
      return;
    }
    this.attempts += 1;
    exchange.attempt = attempt;
    exchange.phase = "sent";
    exchange.refusal = undefined;
    exchange.sentAtMs.push(nowMs);
    exchange.attemptEndsMs = nowMs + exchange.options.waitMs + silenceMs(exchange.options.attemptTimeoutMs, attempt);
    this.#schedule(exchange);
  }

  #refused(exchange: Exchange, attempt: number, value: unknown): void {
    const parsed = ErrorBodySchema.safeParse(value);
    if (!parsed.success) {
      this.#repeat(exchange, attempt, "a refusal that is none");
      return;
    }
    const error = parsed.data;
    if (LEAVING.has(error.code)) this.#doubt(exchange, attempt);
    const { renew, onBackpressure, isFinal } = exchange.options;
    if (error.code === "request_expired" && renew !== undefined && !exchange.isUnknown && !exchange.isRenewed) {
      exchange.isRenewed = true;
      exchange.bytes = renew();
      this.#send(exchange);
    } else if (!error.retryable || (error.definite && onBackpressure === "throw") || isFinal?.(error) === true)
      this.#end(exchange).refused(error);
    else if (!error.definite) this.#repeat(exchange, attempt, error.code);
    else {
      exchange.isUnknown = false;
      exchange.refusal = error;
      exchange.last = error.code;
      this.#rest(exchange, this.jittered(error.retryAfterMs));
    }
  }

  /** After an answer that leaves the outcome open. One to an attempt that was already given up changes nothing. */
  #repeat(exchange: Exchange, attempt: number, reason: string): void {
    if (exchange.phase !== "sent" || attempt !== exchange.attempt) return;
    exchange.isUnknown = true;
    exchange.last = reason;
    this.#rest(exchange);
  }

  /**
   * The leader is gone, or another one has answered this attempt, so what was sent before it and has no answer may be lost with the old one: it is
   * repeated now instead of after its silence.
   */
  #doubt(hint: Exchange, attempt: number): void {
    const hintSentMs = hint.sentAtMs[attempt - 1] ?? 0;
    for (const exchange of this.#open.values()) {
      if (exchange === hint || exchange.phase !== "sent" || (exchange.sentAtMs.at(-1) ?? 0) > hintSentMs) continue;
      this.#wasSilent(exchange, "the leader left");
      this.#rest(exchange);
    }
  }

  #wasSilent(exchange: Exchange, reason: string): void {
    exchange.isUnknown = true;
    exchange.last = reason;
  }

  #rest(exchange: Exchange, restMs?: number): void {
    const longest = Math.min(REST_FIRST_MS * 2 ** Math.min(exchange.rests, 10), REST_MAX_MS);
    exchange.rests += 1;
    exchange.phase = "resting";
    exchange.attemptEndsMs = this.#clock.monotonicMs() + (restMs ?? longest * (0.4 + 0.6 * this.#random()));
    this.#schedule(exchange);
  }

  #park(exchange: Exchange): void {
    exchange.phase = "parked";
    this.wheel.set(exchange, exchange.deadlineMs);
  }

  #schedule(exchange: Exchange): void {
    const { phase, deadlineMs, attemptEndsMs } = exchange;
    this.wheel.set(exchange, phase === "parked" ? deadlineMs : Math.min(deadlineMs, attemptEndsMs));
  }

  #fail(exchange: Exchange, error: OperatingError): void {
    const definite = exchange.fate.kind !== "unknown";
    this.#end(exchange).failed(new OperatingError(error.code, error.message, { definite, cause: error }));
  }

  #end(exchange: Exchange): ExchangeOwner {
    exchange.phase = "over";
    this.#open.take(exchange.token);
    this.wheel.clear(exchange);
    return exchange.owner;
  }
}

/** How long an attempt may be without an answer: all attempts are listened to, so repeating one early costs only the server a look. ms. */
function silenceMs(attemptTimeoutMs: number, attempt: number): number {
  const wholeMs = attemptTimeoutMs + Math.min(MARGIN_MS_MAX, attemptTimeoutMs * MARGIN_PART);
  return Math.min(wholeMs, SILENCE_FIRST_MS * 2 ** Math.min(attempt - 1, 10));
}

const decoder = new TextDecoder();

function parseObject(payload: Uint8Array): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(decoder.decode(payload));
    return typeof value === "object" && value !== null && !Array.isArray(value)
      ? (value as Readonly<Record<string, unknown>>)
      : undefined;
  } catch {
    return undefined; // not ours to understand: the request is repeated, and in the end its outcome is unknown
  }
}
