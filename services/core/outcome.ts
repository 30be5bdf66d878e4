/** What goes into `execute` and what comes out: context, sink, decisions, outcome. Separate because every verb uses it. */
import { type ErrorBody, errorBody } from "../../contracts/errors.ts";
import type { Actor, LogEvent } from "../../contracts/events.ts";
import { FRAME_BYTES_MAX } from "../../contracts/limits.ts";
import type { NextTick } from "../../contracts/schedules.ts";
import { apply } from "./apply.ts";
import { BACKPRESSURE_RETRY_AFTER_MS, FRAME_BYTES_RESERVE } from "./limits.ts";
import { eventLength } from "./sizes.ts";
import type { ShardState } from "./state.ts";

export type LogPressureLevel = "high" | "full";

export interface Context {
  /** Log time of the open frame. ms. */
  readonly at: number;
  /** Log time at this moment; `at` by default, which stands still while the frame waits to be sent. ms. */
  readonly now?: number | undefined;
  /** Chance in [0, 1), for the delays of retries; the shortest by default. */
  readonly random?: (() => number) | undefined;
  /** When schedules tick; only for `schedule-put`. */
  readonly nextTick?: NextTick | undefined;
  /** The authenticated caller. */
  readonly principal: string;
  /** The request's `peerId`, or the principal. */
  readonly peerId: string;
  readonly trace?: string | undefined;
  /** Bytes of events that the open frame still takes; an empty frame by default. What does not fit is refused, or not granted. */
  readonly frameBytesLeft?: number | undefined;
  /** How near the log is to its byte limit: `high` takes no new items, `full` grants nothing either. */
  readonly logPressure?: LogPressureLevel | undefined;
  /** Only for the reply of `stats`. */
  readonly region?: string | undefined;
  readonly shard?: string | undefined;
}

/** The open frame. `push` hears of events that are already applied. */
export interface EventSink {
  /** Enters an actor and answers its index in the frame. */
  actor(actor: Actor): number;
  push(event: LogEvent): void;
}

/** A place in the reply whose `validMs` is filled in when the reply is sent. */
export interface Validity {
  readonly target: { validMs: number };
  readonly token: number;
  /** Its whole length since grant or last renewal: what a leader that takes over grants it anew. ms. */
  readonly lastsMs: number;
}

interface OutcomeBase {
  /** Whether the answer holds a refusal that is decided from state and definite: it must be confirmed through the log. */
  readonly confirm: boolean;
  readonly validity: readonly Validity[];
  /** A lease request that was granted nothing. */
  readonly empty?: true;
}
export type Outcome =
  | (OutcomeBase & { readonly reply: object; readonly error?: never })
  | (OutcomeBase & { readonly error: ErrorBody; readonly reply?: never });

/**
 * What a decide function says. Its event points at actor 0: the emitter gives it the index in the open frame.
 * `unchanged`: answered from state, nothing is written.
 */
export type Decision<Event extends LogEvent, Result> =
  | { readonly kind: "accepted"; readonly event: Event; readonly result: Result }
  /** `confirm`: it may hold in this state only. */
  | { readonly kind: "unchanged"; readonly result: Result; readonly confirm?: true }
  | { readonly kind: "refused"; readonly error: ErrorBody };

/** A repeat is answered all the same: it writes nothing. */
export function logPressureRefusal(): ErrorBody {
  return errorBody(
    "backpressure",
    "the log is near its byte limit; it is trimmed as soon as snapshots and followers allow",
    {
      retryAfterMs: BACKPRESSURE_RETRY_AFTER_MS,
      details: { reason: "log_bytes" },
    },
  );
}

export const refused = (error: ErrorBody) => ({ kind: "refused", error }) as const;

/** An outcome that refuses the whole request. `fromState` says whether another state might have decided otherwise. */
export function refuse(error: ErrorBody, fromState: boolean): Outcome {
  return { error, confirm: fromState && error.definite, validity: [] };
}

/** Applies and pushes the events of one command, with its actor entered at the first of them. */
export class Emitter {
  readonly state: ShardState;
  private readonly sink: EventSink;
  /** The same for all its events. */
  private readonly meta: { readonly at: number; readonly actor: Actor };
  private index = -1;
  /** Bytes that the frame still takes. */
  bytesLeft: number;

  constructor(state: ShardState, context: Context, sink: EventSink, request?: { requestId: string; digest: string }) {
    this.state = state;
    this.sink = sink;
    this.bytesLeft = context.frameBytesLeft ?? FRAME_BYTES_MAX - FRAME_BYTES_RESERVE;
    const { at, principal, peerId, trace } = context;
    this.meta = { at, actor: { principal, peerId, ...request, ...(trace === undefined ? undefined : { trace }) } };
  }

  /** `bytes`: what the event takes in the frame, where the caller has counted already. */
  emit(event: LogEvent & { actor: number }, bytes: number = eventLength(event)): void {
    if (this.index === -1) this.index = this.sink.actor(this.meta.actor);
    event.actor = this.index;
    apply(this.state, event, this.meta);
    this.bytesLeft -= bytes;
    this.sink.push(event);
  }
}

/** The entries of a batch's reply, and whether one of them must be confirmed. */
export class Results {
  readonly entries: object[] = [];
  confirm = false;

  add(result: object): void {
    this.entries.push(result);
  }

  refuse(error: ErrorBody): void {
    this.entries.push({ error });
    if (error.definite) this.confirm = true;
  }
}

/** What every reply cites. */
export function cite(state: ShardState): { term: number; sequence: number } {
  return { term: state.term, sequence: state.sequence };
}
