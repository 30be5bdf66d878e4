/** The long polls that found nothing: served in the order in which they came as soon as something of theirs is leasable. */
import assert from "node:assert/strict";
import { type ErrorBody, errorBody } from "../../../contracts/errors.ts";
import type { ShardState } from "../../core/state.ts";
import { TypeMarks } from "../../core/type-marks.ts";
import type { PendingRequest } from "./pending-request.ts";

/** Polls that may wait at once, and places in lines that they may take together: beyond, a client is told to come back. */
const POLLS_MAX = 20_000;
const PLACES_MAX = 200_000;
/** Repeats of one poll that wait with it. */
const JOINED_MAX = 16;
/** Dead polls that are kept among as many live ones as there are, and this many more. */
const DEAD_MAX = 64;
const TOO_MANY: ErrorBody = errorBody("resource_exhausted", "too many long polls wait at this shard", {
  retryAfterMs: 1_000,
});

interface Poll {
  /** Undefined when it is not live. */
  request: PendingRequest | undefined;
  untilMs: number;
  live: boolean;
}

/**
 * One first-in first-out line for polls without a filter and one per resource type.
 * Invariant: `size` is the number of live polls; a dead one is dropped when its line comes to it.
 */
export class WaitingPolls {
  readonly #any: Poll[] = [];
  readonly #byType = new Map<string, Poll[]>();
  /** In the order of their coming, dead ones among them until they are the most: a list, for the reason that `Seats` has. */
  readonly #all: Poll[] = [];
  #size = 0;
  /** Places taken in lines, dead polls included until they are dropped. */
  #places = 0;
  /** Polls with a request id, so that a repeat joins the one that waits. */
  readonly #byRequest = new Map<string, Poll>();

  get size(): number {
    return this.#size;
  }

  /** Lets the repeat of a poll that waits wait with it, at most as long as the repeat itself would; both get the same answer. */
  join(request: PendingRequest): boolean {
    const { command } = request;
    const key = command.verb === "lease" ? keyOf(request) : undefined;
    const known = key === undefined ? undefined : this.#byRequest.get(key);
    if (known === undefined || command.verb !== "lease") return false;
    const first = requestOf(known);
    if (!isSameRequest(first, request)) return false;
    // Who repeats without end hears nothing for the oldest of its repeats: it has given them up itself.
    if (first.joined.length >= JOINED_MAX) first.joined.shift();
    first.joined.push(request);
    known.untilMs = Math.min(known.untilMs, request.arrivedMs + command.request.waitMs);
    return true;
  }

  /**
   * Hands out polls for what became leasable: one of each type that has come, then those that take any, until nothing is left to give.
   * `hasRoom` says whether one more may be decided now.
   */
  serve(
    { ready: { lanes, releasedAt }, paused, drain }: ShardState,
    hasRoom: () => boolean,
    decide: (request: PendingRequest) => void,
  ): void {
    const shown = lanes.shown ?? new TypeMarks();
    if (this.size === 0) shown.clear();
    if (paused || drain !== undefined) return;
    if (this.size > 0) lanes.refill(releasedAt);
    const offer = (request: PendingRequest | undefined): boolean => {
      if (request !== undefined) decide(request);
      return request !== undefined;
    };
    for (let isServed = this.size > 0; isServed; ) {
      isServed = false;
      for (const type of shown) {
        if (!hasRoom()) return;
        const isOffered = lanes.offers(type, releasedAt) && offer(this.takeFor(type));
        if (!isOffered) shown.delete(type);
        isServed ||= isOffered;
      }
      if (hasRoom() && lanes.offers(undefined, releasedAt)) isServed = offer(this.takeAny()) || isServed;
    }
  }

  /** Lets a poll wait until something of its types is leasable; or says why it may not. */
  add(
    request: PendingRequest,
    { resourceTypes: types }: { readonly resourceTypes?: readonly string[] | undefined },
    untilMs: number,
  ): ErrorBody | undefined {
    const places = types === undefined ? 1 : new Set(types).size;
    if (this.#size >= POLLS_MAX || this.#places + places > PLACES_MAX) return TOO_MANY;
    this.#places += places;
    const key = keyOf(request);
    const poll: Poll = { request, untilMs, live: true };
    this.#all.push(poll);
    this.#size += 1;
    if (key !== undefined) this.#byRequest.set(key, poll);
    if (types === undefined) this.#any.push(poll);
    else
      for (const type of new Set(types)) {
        const line = this.#byType.get(type);
        if (line === undefined) this.#byType.set(type, [poll]);
        else line.push(poll);
      }
    return undefined;
  }

  /** Takes the oldest live poll without a filter. */
  takeAny(): PendingRequest | undefined {
    return this.#take(this.#any);
  }

  /** Takes the oldest live poll that asks for this type by name. */
  takeFor(type: string): PendingRequest | undefined {
    const line = this.#byType.get(type);
    if (line === undefined) return undefined;
    const request = this.#take(line);
    if (line.length === 0) this.#byType.delete(type);
    return request;
  }

  /** The types that some poll waits for by name. */
  types(): IterableIterator<string> {
    return this.#byType.keys();
  }

  /** Takes every poll whose wait is over. */
  takeExpired(nowMs: number): readonly PendingRequest[] {
    const over = this.#all.filter(({ live, untilMs }) => live && untilMs <= nowMs);
    const expired = over.map((poll) => this.#drop(poll));
    if (expired.length > 0) this.#sweep();
    return expired;
  }

  takeAll(): readonly PendingRequest[] {
    const requests = this.#all.filter(({ live }) => live).map(requestOf);
    this.#all.length = 0;
    this.#size = 0;
    this.#any.length = 0;
    this.#byType.clear();
    this.#byRequest.clear();
    this.#places = 0;
    return requests;
  }

  #take(line: Poll[]): PendingRequest | undefined {
    while (line.length > 0) {
      const poll = line.shift();
      this.#places -= 1;
      if (poll?.live !== true) continue;
      return this.#drop(poll);
    }
    return undefined;
  }

  /** Its request is let go of, wherever the poll may still stand. */
  #drop(poll: Poll): PendingRequest {
    const request = requestOf(poll);
    poll.live = false;
    poll.request = undefined;
    this.#size -= 1;
    if (this.#all.length > 2 * this.#size + DEAD_MAX) keepLive(this.#all);
    const key = keyOf(request);
    if (key !== undefined && this.#byRequest.get(key) === poll) this.#byRequest.delete(key);
    return request;
  }

  /** Drops dead polls from the lines, so that polls that nobody serves cost nothing for longer than their wait. */
  #sweep(): void {
    keepLive(this.#any);
    this.#places = this.#any.length;
    for (const [type, line] of this.#byType) {
      keepLive(line);
      this.#places += line.length;
      if (line.length === 0) this.#byType.delete(type);
    }
  }
}

function requestOf({ request }: Poll): PendingRequest {
  assert(request !== undefined, "a live poll has its request");
  return request;
}

function keyOf(request: PendingRequest): string | undefined {
  const { requestId } = request.command.request;
  return requestId === undefined ? undefined : `${request.principal}/${requestId}`;
}

function isSameRequest(left: PendingRequest, right: PendingRequest): boolean {
  return contentsOf(left) === contentsOf(right);
}

/** What two requests with one id must share: all but how long they wait. */
function contentsOf({ command: { verb, request } }: PendingRequest): string {
  const { timeoutMs: _timeoutMs, after: _after, minSequence: _minSequence, ...contents } = request;
  return JSON.stringify([verb, { ...contents, waitMs: 0 }]);
}

function keepLive(line: Poll[]): void {
  let kept = 0;
  for (const poll of line) if (poll.live) line[kept++] = poll;
  line.length = kept;
}
