/** Brings batches to one sink: tries again what can pass, and does with what is refused as the configuration says. */

import type { ReplicationEvent } from "../../contracts/envelope.ts";
import { OperatingError } from "../../contracts/errors.ts";
import type { Clock, Reporter } from "../../contracts/ports.ts";
import type { SinkFailure } from "../../contracts/sinks.ts";
import { backoffMs, pause } from "./pause.ts";
import type { Sink, SinkBatch } from "./sink.ts";

/** Events in a row that may be parked one by one: beyond that it is the sink that refuses, not the events that are bad. */
const PARKED_IN_ROW_MAX = 100;

export interface DeliveryOptions {
  readonly sink: Sink;
  readonly failure: SinkFailure;
  readonly clock: Clock;
  readonly random: () => number;
  readonly reporter: Reporter;
  /** Keeps an event that the sink refuses, durably and once. */
  readonly park: (event: ReplicationEvent, reason: OperatingError, signal: AbortSignal) => Promise<void>;
  /** Told of each try that failed, before the pause, and of the end of the trouble. */
  readonly onFailure: (error: OperatingError, attempt: number) => void;
  readonly onRecovered: () => void;
  readonly onParked: (event: ReplicationEvent) => void;
  /** Before each effect: undefined where the sink is surely ours, else it resolves when that is known. Throws: the reason of `signal`. */
  readonly sure: (signal: AbortSignal) => Promise<void> | undefined;
  /** Whether an operator wishes something else than to go on trying. */
  readonly isWishedElse: () => boolean;
}

/** Tries of what can pass before the sink is opened anew, maybe by another process: what it opened may be what is broken. */
const TRIES_PER_OPENING = 5;

/** Codes that blame what was brought, not the place: trying again brings the same. A sink of a third party that throws anything else than an OperatingError counts as such. */
const isRefusal = (error: OperatingError): boolean => error.code.endsWith("_refused");

/** What a sink threw that is no OperatingError. */
export function ownDefect(code: "sink_failed" | "sink_refused", cause: unknown): OperatingError {
  const message = `the sink failed in its own code: ${cause instanceof Error ? cause.message : String(cause)}`;
  return new OperatingError(code, message, { definite: false, cause });
}

/** The effects of a policy that ends the sink. */
export class SinkStopped extends Error {
  readonly reason: OperatingError;
  constructor(reason: OperatingError) {
    super(reason.message, { cause: reason });
    this.reason = reason;
  }
}

export class Delivery {
  readonly #options: DeliveryOptions;
  #parkedInRow = 0;

  constructor(options: DeliveryOptions) {
    this.#options = options;
  }

  /**
   * Resolves when each event has had its effect, or was parked.
   * Throws: `SinkStopped`; OperatingError `sink_taken`; the reason of `signal`; what parking throws when it cannot be done; and what can pass and
   * has not after some tries, or when an operator wishes something else: then the sink is to be opened anew.
   */
  async deliver(batch: SinkBatch, signal: AbortSignal): Promise<void> {
    const refusal = await this.#try(batch, signal);
    if (refusal === undefined) return;
    if (this.#options.failure.policy !== "park") throw new SinkStopped(refusal);
    await this.#parkRefused(batch, refusal, signal);
  }

  /** The refusal that was left after all attempts; undefined when the batch had its effect. */
  async #try(batch: SinkBatch, signal: AbortSignal, attemptsMax?: number): Promise<OperatingError | undefined> {
    const { failure, clock, random, onFailure, onRecovered } = this.#options;
    const { policy, attempts, retryMsMin, retryMsMax } = failure;
    const limit = attemptsMax ?? attempts;
    for (let attempt = 1; ; attempt += 1) {
      const error = await this.#apply(batch, signal);
      if (error === undefined) {
        if (attempt > 1) onRecovered();
        return undefined;
      }
      if (error.code === "sink_taken") throw error;
      onFailure(error, attempt);
      const isFinal = policy === "stop" || (policy === "park" && isRefusal(error));
      if (isFinal && attempt >= limit) return error;
      if (this.#options.isWishedElse() || (!isFinal && attempt >= TRIES_PER_OPENING)) throw error;
      const wished = error.details["retryAfterMs"];
      const atLeastMs = typeof wished === "number" && wished > 0 ? Math.min(wished, retryMsMax) : 0;
      await pause(clock, Math.max(atLeastMs, backoffMs(attempt, retryMsMin, retryMsMax, random())), signal);
    }
  }

  async #apply(batch: SinkBatch, signal: AbortSignal): Promise<OperatingError | undefined> {
    const unsure = this.#options.sure(signal);
    if (unsure !== undefined) await unsure;
    try {
      await this.#options.sink.apply(batch, signal);
      if (batch.events.length > 0) this.#parkedInRow = 0;
      return undefined;
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof OperatingError) return error;
      this.#options.reporter.error("sink_threw", { sink: batch.scope.sink, shard: batch.scope.shard, error });
      return ownDefect("sink_refused", error);
    }
  }

  /** Finds the refused events by halving, in order, so that all others have their effect and nothing overtakes anything. */
  async #parkRefused(batch: SinkBatch, refusal: OperatingError, signal: AbortSignal): Promise<void> {
    const { events } = batch;
    const [only] = events;
    if (only === undefined) throw new SinkStopped(refusal);
    if (events.length === 1) return this.#park(batch, only, refusal, signal);
    const middle = Math.ceil(events.length / 2);
    for (const part of [events.slice(0, middle), events.slice(middle)]) {
      const piece = pieceOf(batch, part);
      const left = await this.#try(piece, signal, 1);
      if (left !== undefined) await this.#parkRefused(piece, left, signal);
    }
  }

  async #park(batch: SinkBatch, event: ReplicationEvent, refusal: OperatingError, signal: AbortSignal): Promise<void> {
    this.#parkedInRow += 1;
    if (this.#parkedInRow > PARKED_IN_ROW_MAX) throw new SinkStopped(refusal);
    await this.#options.park(event, refusal, signal);
    this.#options.onParked(event);
    // A sink that keeps its own place must come past the event.
    const left = await this.#try({ ...batch, events: [] }, signal, 1);
    if (left !== undefined) throw new SinkStopped(left);
  }
}

/** A part of a batch, between the places of its events: these lie inside of frames, so only their sequences tell them apart. */
export function pieceOf(batch: SinkBatch, events: readonly ReplicationEvent[]): SinkBatch {
  const first = events[0]?.sequenceNumber ?? 0;
  const last = events.at(-1)?.sequenceNumber ?? 0;
  const isStart = batch.events[0]?.sequenceNumber === first;
  const isEnd = batch.events.at(-1)?.sequenceNumber === last;
  return {
    scope: batch.scope,
    after: isStart ? batch.after : { ...batch.after, sequence: Math.max(batch.after.sequence, first - 1) },
    upTo: isEnd ? batch.upTo : { ...batch.after, sequence: last },
    events,
  };
}
