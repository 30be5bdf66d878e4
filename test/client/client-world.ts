/** A client, the shard behind it, and the check that neither leaves anything behind: for tests over a real nats-server. */
import assert from "node:assert/strict";
import type { NatsConnection } from "@nats-io/transport-node";
import { expect } from "vitest";
import type { ShardOptionsPatch } from "../../contracts/options.ts";
import type { Clock, TimerHandle } from "../../contracts/ports.ts";
import {
  type Lease,
  LeaseClient,
  type LeaseClientOptions,
  LeaseWorker,
  type LeaseWorkerOptions,
} from "../../services/client/mod.ts";
import { connectNats } from "../../services/jetstream/connect.ts";
import { createClock } from "../../services/runtime/clock.ts";
import { SHARD, ShardDouble } from "./shard-double.ts";

/** The real clock, with the timers that are set counted. */
class CountingClock implements Clock {
  readonly #clock = createClock();
  readonly #timers = new Set<TimerHandle>();

  get timerCount(): number {
    return this.#timers.size;
  }
  wallMs(): number {
    return this.#clock.wallMs();
  }
  monotonicMs(): number {
    return this.#clock.monotonicMs();
  }
  setTimer(delayMs: number, callback: () => void): TimerHandle {
    const timer = this.#clock.setTimer(delayMs, () => {
      this.#timers.delete(timer);
      callback();
    });
    this.#timers.add(timer);
    return timer;
  }
  clearTimer(timer: TimerHandle): void {
    this.#timers.delete(timer);
    this.#clock.clearTimer(timer);
  }
  defer(callback: () => void): void {
    this.#clock.defer(callback);
  }
}

/** Takes what must run when the test is over: vitest's `onTestFinished`. */
type Cleanup = (dispose: () => Promise<void>) => void;

export interface WorldOptions {
  readonly url: string;
  readonly cleanup: Cleanup;
  readonly shard?: ShardOptionsPatch;
  readonly client?: Partial<LeaseClientOptions>;
  readonly clock?: Clock & { readonly timerCount: number };
}

export interface ClientWorld {
  readonly shard: ShardDouble;
  readonly client: LeaseClient;
  /** The client's own connection. */
  readonly connection: NatsConnection;
}

/** What nats.js keeps of subscriptions; a client that is closed must have given back its own. */
function subscriptionCount(connection: NatsConnection): number {
  return (connection as unknown as { protocol: { subscriptions: { size(): number } } }).protocol.subscriptions.size();
}

export async function clientWorld({
  url,
  cleanup,
  shard: options,
  client: given,
  clock: used,
}: WorldOptions): Promise<ClientWorld> {
  const clock = used ?? new CountingClock();
  const far = await connectNats({ servers: url, name: "shard" });
  const connection = await connectNats({ servers: url, name: "client" });
  const shard = new ShardDouble(far, options);
  await far.flush();
  const before = subscriptionCount(connection);
  const client = await LeaseClient.connect({ connection, shard: SHARD, principal: "alice", clock, ...given });
  cleanup(async () => {
    await client.close();
    const subscriptions = connection.isClosed() ? 0 : subscriptionCount(connection) - before;
    const left = { inFlight: client.traffic.inFlight, timers: clock.timerCount, subscriptions };
    shard.close();
    await connection.close();
    await far.close();
    assert.deepEqual(left, { inFlight: 0, timers: 0, subscriptions: 0 }, "the client left something behind");
  });
  return { shard, client, connection };
}

/** Worlds on a server that the tests of a file share. */
export const worldOf =
  (server: Pick<WorldOptions, "url">) =>
  (cleanup: Cleanup, more: Partial<WorldOptions> = {}): Promise<ClientWorld> =>
    clientWorld({ url: server.url, cleanup, ...more });

/** A worker that is stopped at the end of the test; what it tells is kept, one line an event. */
export function startWorker(
  client: LeaseClient,
  cleanup: Cleanup,
  options: LeaseWorkerOptions,
): { worker: LeaseWorker; told: string[] } {
  const worker = new LeaseWorker(client, { waitMs: 200, drainTimeoutMs: 500, abortGraceMs: 100, ...options });
  const told: string[] = [];
  worker.on("leased", ({ lease }) => told.push(`leased ${lease.item.resourceId}`));
  worker.on("completed", ({ lease }) => told.push(`completed ${lease.item.resourceId}`));
  worker.on("failed", ({ lease, outcome }) => told.push(`failed ${lease.item.resourceId} ${outcome}`));
  worker.on("lost", ({ lease, reason }) => told.push(`lost ${lease.item.resourceId} ${reason}`));
  worker.on("error", ({ error }) => told.push(`error ${(error as { code?: string }).code}`));
  cleanup(async () => {
    await worker.stop();
    assert.equal(worker.load.running, 0, "a handler runs on");
    assert.equal(worker.load.held, 0, "a lease is held after the end");
  });
  worker.start();
  return { worker, told };
}

/** A promise with its ends. */
export function signal<T = void>(): { readonly promise: Promise<T>; readonly resolve: (value: T) => void } {
  const { promise, resolve } = Promise.withResolvers<T>();
  return { promise, resolve };
}

export const item = (resourceId: string, more: object = {}): { resourceType: string; resourceId: string } => ({
  resourceType: "table",
  resourceId,
  ...more,
});

/** The one element of a list. */
export function only<T>(list: readonly T[]): T {
  const [first, ...others] = list;
  assert(first !== undefined && others.length === 0, `expected one element, not ${list.length}`);
  return first;
}

/** Leases one item that must be there. */
export const firstLease = async (client: LeaseClient): Promise<Lease> => only((await client.lease()).leases);

/** Waits until it holds: for what happens behind the wire and gives no signal. */
export const eventually = <T>(read: () => T) => expect.poll(read, { timeout: 15_000, interval: 5 });

/** The code of what a call fails with; what has none, whole. */
export const codeOf = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => "no error",
    (error: { readonly code?: string }) => error.code ?? error,
  );
