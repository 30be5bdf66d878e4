/** The loads that scenarios are made of: filling a queue, draining it, both at once, and items that come at their own times. */
import type { Items } from "./items.ts";
import { numberOf } from "./items.ts";
import { type Percentiles, percentiles } from "./machine.ts";
import type { Figures, Meter } from "./meter.ts";
import type { Drive, PeerClient, Working } from "./peers/peer.ts";

/** How long nothing may happen before a run is given up. ms. */
const STALL_MS = 60_000;
/** Most items that wait in the queue while it is filled and drained at once, as a multiple of those in the hands of both sides. */
const AHEAD = 4;
const AHEAD_ITEMS_MIN = 2_000;

/** How many items the next call of `enqueue` has; 0: there are no more. */
export type Supply = (batch: number) => number;

export function supplyOf(count: number): Supply {
  let left = count;
  return (batch) => {
    const size = Math.min(batch, left);
    left -= size;
    return size;
  };
}

/** Whole batches until the time is over, which begins with the first. */
export function supplyFor(seconds: number): Supply {
  let endMs: number | undefined;
  return (batch) => {
    endMs ??= performance.now() + seconds * 1_000;
    return performance.now() < endMs ? batch : 0;
  };
}

/** Enqueues what the supply has, and returns how many that were. `room` is asked before each call and may make it wait. */
export async function fill(
  client: PeerClient,
  items: Items,
  supply: Supply,
  { batch, inFlight }: Pick<Drive, "batch" | "inFlight">,
  room?: () => Promise<void>,
): Promise<number> {
  const from = items.made;
  const loop = async (): Promise<void> => {
    for (;;) {
      if (room !== undefined) await room();
      const size = supply(batch);
      if (size === 0) return;
      await client.enqueue(items.make(size));
    }
  };
  await Promise.all(Array.from({ length: inFlight }, loop));
  return items.made - from;
}

interface Waiter {
  readonly until: number;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

/** A worker whose handler does nothing but see the item, with a way to wait for how many are settled. */
export class Drain {
  readonly #items: Items;
  readonly #onStart: ((number: number) => Promise<void> | void) | undefined;
  /** In the order of their counts. */
  readonly #waiters: Waiter[] = [];
  #settled = 0;
  #working: Working | undefined;
  #watch: NodeJS.Timeout | undefined;
  #error: Error | undefined;

  /** `onStart`: called with each item that a handler sees; the handler ends with what it returns. */
  constructor(items: Items, onStart?: (number: number) => Promise<void> | void) {
    this.#items = items;
    this.#onStart = onStart;
  }

  get settled(): number {
    return this.#settled;
  }

  async start(client: PeerClient, concurrency: number): Promise<this> {
    if (client.work === undefined) throw new Error("the peer is no queue");
    this.#working = await client.work({
      concurrency,
      handler: (body) => {
        this.#items.see(body);
        return this.#onStart?.(numberOf(body));
      },
      settled: () => {
        this.#settled += 1;
        while (this.#settled >= (this.#waiters[0]?.until ?? Number.POSITIVE_INFINITY)) this.#waiters.shift()?.resolve();
      },
      failed: (error) => {
        this.#error ??= error;
      },
    });
    let before = -1;
    this.#watch = setInterval(() => {
      if (this.#settled === before) this.#giveUp();
      before = this.#settled;
    }, STALL_MS);
    return this;
  }

  /** Waits until that many are settled, counted from the start; each call asks for no less than the one before. Throws when nothing happens for a minute. */
  until(count: number): Promise<void> {
    if (this.#settled >= count) return Promise.resolve();
    return new Promise((resolve, reject) => this.#waiters.push({ until: count, resolve, reject }));
  }

  async stop(): Promise<void> {
    clearInterval(this.#watch);
    await this.#working?.stop();
  }

  #giveUp(): void {
    const cause = this.#error === undefined ? {} : { cause: this.#error };
    const words = this.#error === undefined ? "" : `; the first thing that failed: ${this.#error.message}`;
    for (const { until, reject } of this.#waiters.splice(0))
      reject(new Error(`nothing settled for a minute: ${this.#settled} of ${until} are${words}`, cause));
  }
}

/** Drains whatever has not been seen yet. */
export async function drainRest(client: PeerClient, items: Items, { concurrency }: Drive): Promise<void> {
  const left = items.made - items.seen;
  if (client.work === undefined || left === 0) return;
  const drain = await new Drain(items).start(client, concurrency);
  await drain.until(left);
  await drain.stop();
}

/** What a life of items was. */
export interface Life {
  readonly count: number;
  /** Ends the worker: apart, because how long an idle worker takes to end says nothing about the items. */
  readonly stop: () => Promise<void>;
}

/**
 * Enqueues and drains at once, what waits in between bounded, and returns when as many items are settled as were enqueued. A peer that is
 * no queue only enqueues.
 */
export async function life(client: PeerClient, items: Items, supply: Supply, drive: Drive): Promise<Life> {
  if (client.work === undefined) return { count: await fill(client, items, supply, drive), stop: async () => {} };
  const drain = await new Drain(items).start(client, drive.concurrency);
  const ahead = Math.max(AHEAD_ITEMS_MIN, AHEAD * (drive.batch * drive.inFlight + drive.concurrency));
  const from = items.made;
  const count = await fill(client, items, supply, drive, () => drain.until(items.made - from - ahead));
  await drain.until(count);
  return { count, stop: () => drain.stop() };
}

/** A life of items that is not measured. */
export async function warmUp(client: PeerClient, items: Items, supply: Supply, drive: Drive): Promise<void> {
  await (await life(client, items, supply, drive)).stop();
}

/** A life of items that is. */
export async function measuredLife<Lived extends Life>(
  meter: Meter,
  live: () => Promise<Lived>,
): Promise<{ readonly figures: Figures; readonly lived: Lived }> {
  let lived: Lived | undefined;
  const figures = await meter.rate(async () => {
    lived = await live();
    return lived.count;
  });
  if (lived === undefined) throw new Error("nothing was measured");
  await lived.stop();
  return { figures, lived };
}

/** Seeded numbers in (0, 1]. mulberry32. */
export function randomOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (((mixed ^ (mixed >>> 14)) >>> 0) + 1) / 2 ** 32;
  };
}

export interface OpenLoop {
  /** Items per second on average. */
  readonly rate: number;
  readonly seconds: number;
  readonly seed: number;
  readonly drive: Drive;
}

export interface OpenLoopResult {
  readonly latencyMs: Percentiles;
  /** Of each item in the order of its time, from when it was to be sent until its handler started. ms. */
  readonly latencies: Float64Array;
  /** Items that waited when the last had been sent. */
  readonly backlog: number;
}

/** How many items may wait before an open loop is given up: the peer does not keep up. */
const BACKLOG_MAX = 300_000;
const TICK_MS = 1;

/** Sends items at the times of a Poisson process, however late the answers are: latency counts from the time that an item was meant for. */
export async function openLoop(client: PeerClient, items: Items, load: OpenLoop): Promise<OpenLoopResult> {
  const { rate, seconds, drive } = load;
  const dueMs = poissonTimes(load);
  const count = dueMs.length;
  const first = items.made + 1;
  const latencies = new Float64Array(count).fill(Number.POSITIVE_INFINITY);
  let startMs = Number.POSITIVE_INFINITY;
  const drain = await new Drain(items, (number) => {
    const index = number - first;
    if (latencies[index] === Number.POSITIVE_INFINITY)
      latencies[index] = performance.now() - startMs - (dueMs[index] ?? 0);
  }).start(client, drive.concurrency);
  // A worker may take seconds to connect: the first item comes before the clock runs, and is not counted.
  await client.enqueue(items.make(1));
  await drain.until(1);
  // Counted, not kept: a set of a million promises would leave more behind than all that is measured.
  let underWay = 0;
  let failure: Error | undefined;
  startMs = performance.now() + TICK_MS;
  for (let sent = 0; sent < count; ) {
    const nowMs = performance.now() - startMs;
    let due = sent;
    while (due < count && (dueMs[due] ?? 0) <= nowMs) due += 1;
    for (; sent < due; ) {
      const size = Math.min(drive.batch, due - sent);
      sent += size;
      underWay += 1;
      client.enqueue(items.make(size)).then(
        () => {
          underWay -= 1;
        },
        (error: Error) => {
          failure ??= error;
        },
      );
    }
    if (failure !== undefined) throw failure;
    if (sent + 1 - drain.settled > BACKLOG_MAX)
      throw new Error(`the peer does not keep up with ${Math.round(rate)} items/s`);
    await tick();
  }
  const backlog = count + 1 - drain.settled;
  while (underWay > 0 && failure === undefined) await tick();
  if (failure !== undefined) throw failure;
  await drain.until(count + 1);
  await drain.stop();
  if (latencies.includes(Number.POSITIVE_INFINITY)) throw new Error(`an item of ${seconds} s was never started`);
  return { latencyMs: percentiles(latencies), latencies, backlog };
}

const tick = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, TICK_MS));

/** Times from 0 on, ms, in order. */
function poissonTimes({ rate, seconds, seed }: OpenLoop): Float64Array {
  const random = randomOf(seed);
  const times: number[] = [];
  for (let atMs = 0; ; ) {
    atMs -= (Math.log(random()) / rate) * 1_000;
    if (atMs >= seconds * 1_000) return Float64Array.from(times);
    times.push(atMs);
  }
}
