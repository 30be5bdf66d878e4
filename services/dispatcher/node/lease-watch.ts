/** Which leases run out when, for as long as one leader leads: from the ack of grant or renewal on, on the lease clock. */
import type { LogEvent } from "../../../contracts/events.ts";
import type { Frame } from "../../../contracts/frame.ts";
import { tokenOf } from "../../../contracts/ids.ts";
import type { Clock } from "../../../contracts/ports.ts";
import { Deadlines } from "../../core/deadlines.ts";
import type { Validity } from "../../core/outcome.ts";
import { expiryReasonOf, type ShardState } from "../../core/state.ts";
import { expire } from "../../core/term.ts";
import { LeaseClock } from "./lease-clock.ts";
import type { OpenFrame } from "./open-frame.ts";
import type { Proof } from "./proof.ts";
import type { RequestQueue } from "./request-queue.ts";

/** Expiries decided in one tick: the rest waits for the next one, so that heartbeats are not kept waiting. */
const EXPIRIES_PER_TICK = 1_000;
/** How long, and which part of a lease, may pass unconfirmed before its validity is told. ms. */
const DOUBT_MS = 1_000;
const DOUBT_SHARE = 0.1;
/** Room that a frame must have for one more expiry. Bytes. */
const EXPIRY_BYTES = 2_048;

/** Invariant: a lease that has a deadline here was granted or renewed by an acknowledged frame, or stood in the log when the term began. */
export class LeaseWatch {
  readonly #state: ShardState;
  readonly #clock: LeaseClock;
  readonly #deadlines = new Deadlines();
  readonly #proof: Proof;
  readonly #now: () => number;
  readonly #random: () => number;
  #provenMs = Number.NEGATIVE_INFINITY;
  /** Since when some lease is due, and how many requests had come when it was proven that all before had. */
  #dueMs: number | undefined;
  #dueMark: number | undefined;
  /** The lease clock then: what became due later needs an answer of its own. ms. */
  #dueCountedMs = 0;

  /** Every lease gets its whole length from now: nobody's beats were heard before. `random`: for the delays of retries. */
  constructor(state: ShardState, clock: Clock, tickMs: number, proof: Proof, random: () => number) {
    this.#state = state;
    this.#proof = proof;
    this.#now = () => clock.monotonicMs();
    this.#random = random;
    this.#clock = new LeaseClock(clock, tickMs);
    for (const { itemId, lease } of state.leased)
      if (lease !== undefined) this.#set(itemId, lease.token, lease.expiresAt - lease.renewedAt);
  }

  /** Ends an interval of the lease clock. Returns whether it counted: not while the log is silent, or when requests may not have reached us. */
  tick(isLogSilent: boolean): boolean {
    const hasLeases = this.#state.active > 0;
    if (hasLeases) this.#proof.renew(this.#dueMs !== undefined && this.#proof.reachedMs < this.#dueMs);
    return this.#clock.tick(isLogSilent || (hasLeases && !this.#proof.isFresh));
  }

  /**
   * Heartbeats that reached the server before their leases ran out are decided first: what is due may expire when a request to ourselves, sent
   * after it was due, has come back, and everything that had come before that answer has been decided.
   */
  mayExpire(undecided: RequestQueue): boolean {
    if (this.#deadlines.due(this.#clock.elapsed()) === undefined) {
      this.#dueMs = undefined;
      return false;
    }
    if (this.#dueMs === undefined) {
      this.#dueMs = this.#now();
      this.#dueCountedMs = this.#clock.elapsed();
      this.#dueMark = undefined;
      this.#proof.renew(true);
      return false;
    }
    if (this.#proof.reachedMs < this.#dueMs) return false;
    this.#dueMark ??= undecided.pushed;
    if (undecided.left < this.#dueMark) return false;
    this.#dueMs = undefined;
    return true;
  }

  /** A frame that was sent then is acknowledged: nobody had taken over before. ms, monotonic. */
  proven(sentMs: number): void {
    this.#provenMs = sentMs;
  }

  /** Whether another leader may have begun to count these leases anew for too long to tell from memory how long they are valid. */
  isDoubtful(validity: readonly Validity[]): boolean {
    if (validity.length === 0) return false;
    const shortestMs = validity.reduce(
      (shortest, { lastsMs }) => Math.min(shortest, lastsMs),
      Number.POSITIVE_INFINITY,
    );
    return this.#now() - this.#provenMs > Math.min(DOUBT_MS, shortestMs * DOUBT_SHARE);
  }

  /**
   * Fills in how long leases are valid, counted from when the request was sent: the time that it has waited here, and what is left.
   * Nothing is left of a lease that a leader who took over right behind our last frame could have let run out.
   */
  tell(validity: readonly Validity[], arrivedMs: number): void {
    const nowMs = this.#now();
    const countedMs = this.#clock.upperBound();
    for (const { target, token, lastsMs } of validity) {
      const leftMs = Math.min(this.#deadlines.remaining(token, countedMs), lastsMs - (nowMs - this.#provenMs));
      target.validMs = leftMs > 0 ? Math.floor(nowMs - arrivedMs + leftMs) : 0;
    }
  }

  /** Takes what an acknowledged frame did to leases. */
  acknowledged(frame: Frame): void {
    let sequence = frame.first - 1;
    for (const event of frame.events) {
      sequence += 1;
      if (event.type === "leased") this.#set(event.itemId, tokenOf(this.#state.tokenEpoch, sequence), event.durationMs);
      else if (event.type === "renewed")
        for (const { itemId, token, expiresAt } of event.leases) this.#renew(itemId, token, expiresAt - frame.at);
      else if ("token" in event) this.#deadlines.remove(event.token);
    }
  }

  /** Decides the expiries that are due into the open frame. `unacked` are the events that wait for their ack. */
  expireDue(openFrame: () => OpenFrame, unacked: () => readonly LogEvent[]): void {
    let renewing: ReadonlySet<number> | undefined;
    for (let count = 0; count < EXPIRIES_PER_TICK; count += 1) {
      const due = this.#deadlines.due(this.#dueCountedMs);
      if (due === undefined) return;
      renewing ??= renewalsOf(unacked());
      const lease = this.#state.items.get(due.itemId)?.lease;
      if (lease !== undefined && renewing.has(due.token)) {
        // A heartbeat was decided in time and waits for its ack, from which on the lease runs anew.
        this.#set(due.itemId, due.token, lease.expiresAt - lease.renewedAt);
        continue;
      }
      const open = openFrame();
      // Not `hasRoomFor`: under load the frame is always at its aim, and expiries would wait for ever.
      if (open.bytesLeft < EXPIRY_BYTES) return;
      this.#deadlines.remove(due.token);
      const moment = { at: open.head.at, random: this.#random };
      expire(this.#state, due.itemId, due.token, due.reason, moment, open);
    }
  }

  /**
   * A leader that took over has given the lease its whole length again, which may be more than the log knows of, and may have told so: only a worker
   * that asks for less than it was granted gets less than that.
   */
  #renew(itemId: string, token: number, durationMs: number): void {
    const grantMs = this.#state.items.get(itemId)?.lease?.grantMs ?? 0;
    const leftMs = durationMs < grantMs ? 0 : this.#deadlines.remaining(token, this.#clock.upperBound());
    this.#set(itemId, token, Math.max(durationMs, leftMs));
  }

  #set(itemId: string, token: number, durationMs: number): void {
    const item = this.#state.items.get(itemId);
    // Settled in a later frame already: that frame's ack would remove it, so it need not be set.
    if (item?.lease?.token !== token) return;
    this.#deadlines.set(itemId, token, this.#clock.upperBound() + durationMs, expiryReasonOf(this.#state, item));
  }
}

/** Tokens whose renewal is among the events. */
function renewalsOf(events: readonly LogEvent[]): ReadonlySet<number> {
  const tokens = new Set<number>();
  for (const event of events) if (event.type === "renewed") for (const { token } of event.leases) tokens.add(token);
  return tokens;
}
