/** Keeps leases alive: one heartbeat request for all that are due, and the end of each lease's validity on our own clock. */
import { OperatingError } from "../../contracts/errors.ts";
import type { Clock, TimerHandle } from "../../contracts/ports.ts";
import type { Lease, LeaseClient, Renewal } from "./lease-client.ts";
import { BatchError, type EntryResult, RefusedError } from "./refusal.ts";
import { CancelledError, LeaseLostError, type LostReason } from "./worker-events.ts";

/**
 * `waiting`: granted, its handler not started. `running`: its handler runs. `settling`: the handler is over (or never ran) and the shard is
 * being told; what a heartbeat says about it no longer counts. `ended`: no longer ours.
 */
export type HeldState = "waiting" | "running" | "settling" | "ended";

/** One lease in this worker's hands. */
export class HeldLease {
  readonly lease: Lease;
  state: HeldState = "waiting";
  /** Its place among the held leases. */
  place = -1;
  /** ms on the client's monotonic clock. */
  validUntilMs: number;
  /** Whether its handler runs, the lease being ours or not. */
  isHandled = false;
  /** When the next heartbeat is due; Infinity while one is under way. */
  beatAtMs = Number.POSITIVE_INFINITY;
  /** Why its signal has fired; undefined while it has not. */
  abortReason: Error | undefined = undefined;
  /** Made when somebody asks for its signal: few handlers do. */
  #controller: AbortController | undefined = undefined;

  constructor(lease: Lease) {
    this.lease = lease;
    this.validUntilMs = lease.validUntilMs;
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.abortReason !== undefined) this.#controller.abort(this.abortReason);
    }
    return this.#controller.signal;
  }

  /** Fires its signal, once. */
  abort(reason: Error): void {
    if (this.abortReason !== undefined) return;
    this.abortReason = reason;
    this.#controller?.abort(reason);
  }
}

/** Heartbeats are due at multiples of an eighth of their period, so that leases granted near each other share a request. */
const SLOTS_PER_PERIOD = 8;
/** Shortest time that a heartbeat request may take with its repeats, and shortest time before it is tried again. ms. */
const BEAT_TIMEOUT_MS_MIN = 200;
const BEAT_RETRY_MS = 250;
const LOST_CODES: ReadonlySet<string> = new Set<LostReason>(["stale_token", "item_not_found", "permission_denied"]);

export interface KeeperListener {
  /** The lease is no longer ours. Called once per lease, never for one that is settling. */
  lost(held: HeldLease, reason: LostReason): void;
  /** A heartbeat did not come through; it is tried again until the leases run out. */
  failed(error: Error, held: HeldLease | undefined): void;
}

/** All leases of one worker. */
export class LeaseKeeper {
  readonly #client: LeaseClient;
  readonly #clock: Clock;
  readonly #listener: KeeperListener;
  readonly #held: HeldLease[] = [];
  #timer: TimerHandle | undefined;
  #wakeMs = Number.POSITIVE_INFINITY;

  constructor(client: LeaseClient, listener: KeeperListener) {
    this.#client = client;
    this.#clock = client.clock;
    this.#listener = listener;
  }

  get size(): number {
    return this.#held.length;
  }
  [Symbol.iterator](): IterableIterator<HeldLease> {
    return this.#held.values();
  }

  add(held: HeldLease): void {
    held.place = this.#held.push(held) - 1;
    this.#setBeat(held);
    this.#wakeAt(held);
  }

  remove(held: HeldLease): void {
    held.state = "ended";
    if (held.place >= 0) {
      const last = this.#held.pop() as HeldLease;
      if (last !== held) this.#held[held.place] = last;
      last.place = held.place;
      held.place = -1;
    }
    if (this.#held.length === 0) this.close();
  }

  /** Takes note of a renewal, also of one that the handler asked for itself. */
  renewed(held: HeldLease, renewal: Renewal): void {
    // A later end only: an answer that was long on its way says less than one that has overtaken it.
    held.validUntilMs = Math.max(held.validUntilMs, renewal.validUntilMs);
    if (renewal.cancelRequested) held.abort(new CancelledError(held.lease.itemId));
    this.#setBeat(held);
    this.#wakeAt(held);
  }

  /** Ends a lease that turned out not to be ours any more. */
  lose(held: HeldLease, reason: LostReason): void {
    if (held.state === "ended") return;
    this.remove(held);
    held.abort(new LeaseLostError(reason, held.lease.itemId));
    this.#listener.lost(held, reason);
  }

  close(): void {
    if (this.#timer !== undefined) this.#clock.clearTimer(this.#timer);
    this.#timer = undefined;
    this.#wakeMs = Number.POSITIVE_INFINITY;
  }

  #setBeat(held: HeldLease): void {
    const { heartbeatMs } = held.lease;
    const slotMs = heartbeatMs / SLOTS_PER_PERIOD;
    // Counted from now, not from sending, and rounded up: a beat before a third of the lease has run at the leader renews nothing.
    held.beatAtMs = Math.ceil((this.#clock.monotonicMs() + heartbeatMs) / slotMs) * slotMs;
  }

  #wakeAt(held: HeldLease): void {
    const wakeMs = Math.min(held.beatAtMs, held.state === "settling" ? Number.POSITIVE_INFINITY : held.validUntilMs);
    if (wakeMs >= this.#wakeMs) return;
    if (this.#timer !== undefined) this.#clock.clearTimer(this.#timer);
    this.#wakeMs = wakeMs;
    const delayMs = Math.max(Math.ceil(wakeMs - this.#clock.monotonicMs()), 0);
    this.#timer = this.#clock.setTimer(delayMs, () => this.#wake());
  }

  #wake(): void {
    this.#timer = undefined;
    this.#wakeMs = Number.POSITIVE_INFINITY;
    const nowMs = this.#clock.monotonicMs();
    const due: HeldLease[] = [];
    for (const held of [...this.#held]) {
      if (held.state !== "settling" && held.validUntilMs <= nowMs) this.lose(held, "expired");
      else if (held.beatAtMs <= nowMs) due.push(held);
    }
    if (due.length > 0) void this.#beat(due);
    for (const held of this.#held) this.#wakeAt(held);
  }

  /** Never rejects but for a defect: then the rejection is nobody's and ends the process. */
  async #beat(due: readonly HeldLease[]): Promise<void> {
    const periodMs = Math.min(...due.map((held) => held.lease.heartbeatMs));
    for (const held of due) held.beatAtMs = Number.POSITIVE_INFINITY;
    let results: readonly (EntryResult<Renewal> | undefined)[];
    try {
      results = await this.#client.heartbeatMany(
        due.map((held) => held.lease),
        {
          timeoutMs: Math.max(periodMs, BEAT_TIMEOUT_MS_MIN),
          attemptTimeoutMs: Math.max(periodMs / 3, BEAT_TIMEOUT_MS_MIN / 2),
        },
      );
    } catch (error) {
      if (!(error instanceof OperatingError)) throw error;
      results = error instanceof BatchError ? (error.results as typeof results) : [];
      this.#listener.failed(error, undefined);
    }
    for (const [index, held] of due.entries()) this.#answered(held, results[index]);
  }

  #answered(held: HeldLease, result: EntryResult<Renewal> | undefined): void {
    if (held.state === "ended") return;
    if (result?.kind === "ok") {
      this.renewed(held, result.value);
      return;
    }
    const code = result?.error.code ?? "";
    if (isLost(code)) {
      // The shard may have the settlement already, so that it is the settlement's answer that counts.
      if (held.state !== "settling") this.lose(held, code);
      return;
    }
    if (result !== undefined) this.#listener.failed(new RefusedError(result.error), held);
    if (this.#client.isClosed) return;
    held.beatAtMs = this.#clock.monotonicMs() + BEAT_RETRY_MS;
    this.#wakeAt(held);
  }
}

export function isLost(code: string): code is LostReason {
  return LOST_CODES.has(code);
}
