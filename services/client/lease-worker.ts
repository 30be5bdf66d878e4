/** The SDK's worker: leases items, runs a handler for each with its lease kept alive, settles them, and stops in bounded time. */
import { EventEmitter } from "node:events";
import { z } from "zod";
import { LeaseRequest } from "../../contracts/commands.ts";
import { OperatingError } from "../../contracts/errors.ts";
import { WAIT_MS_MAX } from "../../contracts/limits.ts";
import type { CallOptions } from "./client-core.ts";
import type { Lease, LeaseClient, Renewal } from "./lease-client.ts";
import { HeldLease, isLost, LeaseKeeper } from "./lease-keeper.ts";
import { LeasePolls } from "./lease-polls.ts";
import { AdaptivePrefetch } from "./prefetch.ts";
import { RefusedError } from "./refusal.ts";
import { DrainError, failureOf, type LostReason, type WorkerEvents } from "./worker-events.ts";

export interface HandlerContext {
  /** Fires when the lease is lost, the item cancelled, or the worker stops: with a `LeaseLostError`, `CancelledError` or `DrainError`. */
  readonly signal: AbortSignal;
  /** Renews the lease now, for `extendMs` if given, and tells how far the work is. Not needed to keep it alive: the worker does that. */
  readonly heartbeat: (extendMs?: number, progress?: string) => Promise<Renewal>;
}
/** Works on one item. What it returns is the result of the completion, text of at most 8 KiB; what it throws fails the item. */
// biome-ignore lint/suspicious/noConfusingVoidType: a handler without a result is an async function that returns nothing.
export type LeaseHandler = (lease: Lease, context: HandlerContext) => Promise<string | void>;

const Settings = z.strictObject({
  concurrency: z.int().min(1).max(10_000).default(1),
  prefetch: z.union([z.int().min(0).max(10_000), z.literal("auto")]).default(0),
  resourceTypes: LeaseRequest.shape.resourceTypes,
  leaseDurationMs: LeaseRequest.shape.leaseDurationMs,
  waitMs: z.int().min(0).max(WAIT_MS_MAX).default(2_000),
  drainTimeoutMs: z.int().min(0).default(10_000),
  abortGraceMs: z.int().min(0).default(1_000),
  safetyMarginMs: z.int().min(0).default(250),
});
type WorkerSettings = z.output<typeof Settings>;

export interface LeaseWorkerOptions {
  readonly handler: LeaseHandler;
  /** Handlers that run at once. 1..10,000, 1 by default. */
  readonly concurrency?: number | undefined;
  /**
   * Leases that wait for a free handler, kept alive meanwhile. 0..10,000, 0 by default; `"auto"`: as many as the handlers end while an item is
   * settled and the next one is fetched, 0..1,000, measured as the worker runs.
   */
  readonly prefetch?: number | "auto" | undefined;
  /** Only items of these types; of any by default. */
  readonly resourceTypes?: string[] | undefined;
  /** The shard's default when absent. ms. */
  readonly leaseDurationMs?: number | undefined;
  /** How long a question for items waits at the leader; two are asked at a time. ms, 0..30,000, 2,000 by default. `stop()` waits for the last one to come back. */
  readonly waitMs?: number | undefined;
  /** How long `stop()` lets handlers run on. ms, 10,000 by default; 0 aborts their signals at once. */
  readonly drainTimeoutMs?: number | undefined;
  /** How long handlers may take to end after their signals have fired, before their items are given back over their heads. ms, 1,000 by default. */
  readonly abortGraceMs?: number | undefined;
  /** A lease with less validity than this left is not started but given back. ms, 250 by default. */
  readonly safetyMarginMs?: number | undefined;
  /** A listener of `error`. */
  readonly onError?: ((event: WorkerEvents["error"][0]) => void) | undefined;
}

/** How long giving back may take when the worker stops. ms. */
const RELEASE_TIMEOUT_MS = 1_000;

/** `idle` until `start`, `running` until `stop`, `stopping` while draining, then `stopped` for good. */
type WorkerState = "idle" | "running" | "stopping" | "stopped";
type Outcome =
  | { readonly kind: "done"; readonly result: string | undefined }
  | { readonly kind: "threw"; readonly error: unknown };
interface Waiter {
  readonly isOver: () => boolean;
  readonly resolve: () => void;
}

/** A class, for an object with a getter of its own is of a kind of its own, which the engine keeps. */
class Context implements HandlerContext {
  readonly heartbeat: HandlerContext["heartbeat"];
  readonly #held: HeldLease;

  constructor(held: HeldLease, heartbeat: HandlerContext["heartbeat"]) {
    this.#held = held;
    this.heartbeat = heartbeat;
  }

  get signal(): AbortSignal {
    return this.#held.signal;
  }
}

/** A worker of one client. What a handler throws is the item's failure; a defect of the worker ends the process. */
export class LeaseWorker {
  readonly #client: LeaseClient;
  readonly #handler: LeaseHandler;
  readonly #settings: WorkerSettings;
  readonly #events = new EventEmitter<WorkerEvents>();
  readonly #keeper: LeaseKeeper;
  /** Leases in state `waiting`, oldest first. */
  readonly #queue: HeldLease[] = [];
  #waiters: readonly Waiter[] = [];
  readonly #polls: LeasePolls;
  readonly #adaptive: AdaptivePrefetch | undefined;
  #state: WorkerState = "idle";
  #runningCount = 0;
  /** Leases held, and handlers that run on without one: what takes room. */
  #occupiedCount = 0;
  #stopped: Promise<void> | undefined;

  constructor(client: LeaseClient, options: LeaseWorkerOptions) {
    const { handler, onError, ...settings } = options;
    const parsed = Settings.safeParse(settings);
    if (!parsed.success) throw new OperatingError("invalid_options", z.prettifyError(parsed.error), { definite: true });
    this.#client = client;
    this.#handler = handler;
    this.#settings = parsed.data;
    this.#polls = this.#newPolls();
    const { prefetch, concurrency } = parsed.data;
    this.#adaptive = prefetch === "auto" ? new AdaptivePrefetch(concurrency) : undefined;
    this.#keeper = new LeaseKeeper(client, {
      lost: (held, reason) => this.#lost(held, reason),
      failed: (error, held) => this.#report(error, held?.lease),
    });
    if (onError !== undefined) this.on("error", onError);
  }

  get state(): WorkerState {
    return this.#state;
  }
  /** Handlers that run, and leases that are held with those that wait or are being settled. */
  get load(): { readonly running: number; readonly held: number } {
    return { running: this.#runningCount, held: this.#keeper.size };
  }

  on<Name extends keyof WorkerEvents>(name: Name, listener: (...event: WorkerEvents[Name]) => void): this {
    (this.#events as EventEmitter).on(name, listener);
    return this;
  }
  off<Name extends keyof WorkerEvents>(name: Name, listener: (...event: WorkerEvents[Name]) => void): this {
    (this.#events as EventEmitter).off(name, listener);
    return this;
  }

  /** Begins to lease. Once only. */
  start(): void {
    if (this.#state !== "idle")
      throw new OperatingError("worker_started", `the worker is ${this.#state}; make a new one`, { definite: true });
    this.#state = "running";
    this.#polls.start();
  }

  /**
   * Stops in bounded time: leases nothing more, gives back what has not started, lets handlers run for `drainTimeoutMs`, then aborts their
   * signals, and after `abortGraceMs` gives their items back. Takes at most those two times and a second. Stopping twice is allowed.
   */
  stop(): Promise<void> {
    this.#stopped ??= this.#drain();
    return this.#stopped;
  }

  /** Stops the worker and then closes its client at SIGTERM or SIGINT; a second signal ends the process as usual. Returns the way back. */
  installSignalHandlers(): () => void {
    const uninstall = (): void => {
      process.off("SIGTERM", onSignal);
      process.off("SIGINT", onSignal);
    };
    const onSignal = (): void => {
      uninstall();
      void this.stop().then(() => this.#client.close());
    };
    process.on("SIGTERM", onSignal);
    process.on("SIGINT", onSignal);
    return uninstall;
  }

  #newPolls(): LeasePolls {
    const { waitMs, leaseDurationMs, resourceTypes } = this.#settings;
    const worker = this;
    return new LeasePolls(
      this.#client,
      { waitMs, leaseDurationMs, resourceTypes },
      {
        get isRunning() {
          return worker.#state === "running";
        },
        get room() {
          const { concurrency, prefetch } = worker.#settings;
          const ahead = prefetch === "auto" ? (worker.#adaptive?.size ?? 0) : prefetch;
          return concurrency + ahead - worker.#occupiedCount;
        },
        take: (leases) => this.#take(leases),
        failed: (error) => this.#report(error, undefined),
        until: (isOver, timeoutMs) => this.#until(isOver, timeoutMs),
        changed: () => this.#changed(),
      },
    );
  }

  #take(leases: readonly Lease[]): void {
    for (const lease of leases) {
      const held = new HeldLease(lease);
      this.#occupiedCount += 1;
      this.#keeper.add(held);
      this.#queue.push(held);
      this.#events.emit("leased", { lease });
    }
    if (this.#state === "running") this.#fill();
    else this.#releaseQueue();
  }

  #fill(): void {
    while (this.#state === "running" && this.#runningCount < this.#settings.concurrency) {
      const held = this.#queue.shift();
      if (held === undefined) return;
      if (held.state !== "waiting") continue;
      const leftMs = held.validUntilMs - this.#client.clock.monotonicMs();
      // Too late to begin here: whoever gets it next has a whole lease. What is cancelled ends with its release.
      if (held.abortReason !== undefined || leftMs < this.#settings.safetyMarginMs) void this.#release(held);
      else void this.#run(held);
    }
  }

  async #run(held: HeldLease): Promise<void> {
    held.state = "running";
    held.isHandled = true;
    this.#runningCount += 1;
    const { clock } = this.#client;
    const begunMs = clock.monotonicMs();
    const outcome = await this.#handle(held);
    const handledMs = clock.monotonicMs();
    this.#adaptive?.handled(handledMs - begunMs);
    held.isHandled = false;
    this.#runningCount -= 1;
    this.#fill();
    // One that was lost, or given back over the handler's head, is nobody's to settle.
    if (held.state === "running") {
      await this.#settle(held, outcome);
      this.#adaptive?.settled(clock.monotonicMs() - handledMs);
    } else if (held.state === "ended") this.#freed();
  }

  async #handle(held: HeldLease): Promise<Outcome> {
    const { lease } = held;
    const heartbeat = async (extendMs?: number, progress?: string): Promise<Renewal> => {
      try {
        const options = { extendMs, signal: held.signal };
        const renewal = await this.#client.heartbeat({ ...lease, progress }, options);
        if (isHeld(held)) this.#keeper.renewed(held, renewal);
        return renewal;
      } catch (error) {
        if (error instanceof RefusedError && isLost(error.code) && held.state === "running")
          this.#keeper.lose(held, error.code);
        throw error;
      }
    };
    try {
      const result = await this.#handler(lease, new Context(held, heartbeat));
      return { kind: "done", result: result ?? undefined };
    } catch (error) {
      return { kind: "threw", error };
    }
  }

  /** Tells the shard how the handler ended. The lease is kept alive until the shard has it. */
  async #settle(held: HeldLease, outcome: Outcome): Promise<void> {
    const { lease } = held;
    if (outcome.kind === "threw" && held.abortReason instanceof DrainError) return this.#release(held);
    held.state = "settling";
    try {
      if (outcome.kind === "done") {
        const { duplicate } = await this.#client.complete(lease, outcome.result);
        this.#events.emit("completed", { lease, duplicate });
      } else await this.#fail(held, outcome.error);
    } catch (error) {
      if (!isLostError(error) && error instanceof RefusedError && outcome.kind === "done") {
        this.#report(error, lease);
        return this.#settle(held, { kind: "threw", error });
      }
      this.#settleFailed(held, error);
    }
    this.#end(held);
  }

  async #fail(held: HeldLease, error: unknown): Promise<void> {
    const { lease } = held;
    const { outcome } = await this.#client.fail(lease, failureOf(error));
    this.#events.emit("failed", { lease, error, outcome });
  }

  async #release(held: HeldLease, options: CallOptions = {}): Promise<void> {
    held.state = "settling";
    try {
      await this.#client.release(held.lease, options);
    } catch (error) {
      this.#settleFailed(held, error);
    }
    this.#end(held);
  }

  #settleFailed(held: HeldLease, error: unknown): void {
    if (held.state === "ended") return;
    if (isLostError(error)) this.#keeper.lose(held, error.code as LostReason);
    else this.#report(error, held.lease);
  }

  #end(held: HeldLease): void {
    if (held.state === "ended") return; // lost meanwhile
    this.#keeper.remove(held);
    if (!held.isHandled) this.#freed();
  }

  #lost(held: HeldLease, reason: LostReason): void {
    this.#events.emit("lost", { lease: held.lease, reason });
    if (held.isHandled) this.#changed();
    else this.#freed();
  }

  #freed(): void {
    this.#occupiedCount -= 1;
    this.#changed();
  }

  async #drain(): Promise<void> {
    if (this.#state === "running") {
      this.#state = "stopping";
      const { drainTimeoutMs, abortGraceMs } = this.#settings;
      this.#releaseQueue();
      this.#polls.end();
      this.#changed();
      const isDrained = (): boolean => this.#keeper.size === 0 && this.#runningCount === 0 && this.#polls.isOver;
      await this.#until(isDrained, drainTimeoutMs);
      this.#polls.abort(new DrainError());
      const running = [...this.#keeper].filter((held) => held.state === "running");
      for (const held of running) held.abort(new DrainError());
      await this.#until(isDrained, running.length > 0 ? abortGraceMs : 0);
      for (const held of running) {
        if (held.state !== "running") continue;
        this.#report(
          new OperatingError("handler_did_not_stop", `the handler of item ${held.lease.itemId} runs on`, {
            definite: true,
          }),
          held.lease,
        );
        void this.#release(held, { timeoutMs: RELEASE_TIMEOUT_MS });
      }
      await this.#until(() => this.#keeper.size === 0, RELEASE_TIMEOUT_MS);
      this.#keeper.close();
    }
    this.#state = "stopped";
  }

  #releaseQueue(): void {
    for (const held of this.#queue.splice(0)) if (held.state === "waiting") void this.#release(held);
  }

  /** What may go wrong while the mesh works as it should is told; anything else is a defect and ends the process. */
  #report(error: unknown, lease: Lease | undefined): void {
    if (!(error instanceof OperatingError || error instanceof RefusedError)) throw error;
    if (this.#events.listenerCount("error") > 0) this.#events.emit("error", { error, lease });
    else process.emitWarning(error);
  }

  /** Waits until a change makes it true, at most `timeoutMs`. */
  #until(isOver: () => boolean, timeoutMs?: number): Promise<void> {
    if (isOver()) return Promise.resolve();
    return new Promise((resolve) => {
      const { clock } = this.#client;
      const end = (): void => {
        this.#waiters = this.#waiters.filter((other) => other !== waiter);
        if (timer !== undefined) clock.clearTimer(timer);
        resolve();
      };
      const waiter: Waiter = { isOver, resolve: end };
      const timer = timeoutMs === undefined ? undefined : clock.setTimer(timeoutMs, end);
      this.#waiters = [...this.#waiters, waiter];
    });
  }

  #changed(): void {
    for (const waiter of this.#waiters) if (waiter.isOver()) waiter.resolve();
  }
}

const isHeld = (held: HeldLease): boolean => held.state !== "ended";
const isLostError = (error: unknown): error is RefusedError => error instanceof RefusedError && isLost(error.code);
