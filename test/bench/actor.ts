/** A client process of a scenario that directs several: what it may be told, and what it says. */
import type { RunningClient } from "./client-process.ts";

/** What an actor does when told; each is answered once it is done. */
export type Order =
  /** Enqueues that many items, numbered from `from`. */
  | { readonly order: "enqueue"; readonly from: number; readonly count: number }
  /** Enqueues batches until told to stop, and goes on after errors. Answered when it has begun. */
  | { readonly order: "produce"; readonly batch: number; readonly inFlight: number }
  | { readonly order: "stopProducing" }
  /** Works; with `isHeld` the handlers wait for `letGo`. */
  | { readonly order: "work"; readonly concurrency: number; readonly isHeld: boolean }
  | { readonly order: "letGo" }
  /** Answered when everything under way is settled. */
  | { readonly order: "stopWork" };

/** What happens in an actor, as it happens. `numbers` are of items. */
export type Happening =
  | { readonly what: "started" | "settled" | "acked"; readonly numbers: readonly number[] }
  | { readonly what: "failed"; readonly text: string };

/** A running actor. */
export class Actor {
  readonly #client: RunningClient;
  readonly #listeners = new Set<() => void>();
  readonly started = new Map<number, number>();
  /** By number: how often its handler was called, was said to be settled, was acknowledged to the producer. */
  readonly counts = {
    started: new Map<number, number>(),
    settled: new Map<number, number>(),
    acked: new Map<number, number>(),
  };
  readonly failures: string[] = [];
  /** When an item was last acknowledged to the producer. ms on this process's clock. */
  lastAckMs = Number.NEGATIVE_INFINITY;

  constructor(client: RunningClient) {
    this.#client = client;
    client.onHappening((happening) => this.#hear(happening));
  }

  get pid(): number {
    return this.#client.pid;
  }

  async tell(order: Order): Promise<void> {
    await this.#client.ask({ kind: "order", order });
  }

  signal(signal: NodeJS.Signals): void {
    this.#client.signal(signal);
  }

  end(): Promise<void> {
    return this.#client.end();
  }

  /** Waits until what has happened makes it true. Returns whether it did within the time. */
  until(isOver: () => boolean, boundMs: number): Promise<boolean> {
    if (isOver()) return Promise.resolve(true);
    return new Promise((resolve) => {
      const done = (outcome: boolean): void => {
        clearTimeout(timer);
        this.#listeners.delete(look);
        resolve(outcome);
      };
      const look = (): void => {
        if (isOver()) done(true);
      };
      const timer = setTimeout(() => done(false), boundMs);
      this.#listeners.add(look);
    });
  }

  #hear(happening: Happening): void {
    const nowMs = performance.now();
    if (happening.what === "failed") this.failures.push(happening.text);
    else {
      const counts = this.counts[happening.what];
      for (const number of happening.numbers) {
        counts.set(number, (counts.get(number) ?? 0) + 1);
        if (happening.what === "started" && !this.started.has(number)) this.started.set(number, nowMs);
      }
      if (happening.what === "acked") this.lastAckMs = nowMs;
    }
    for (const listener of [...this.#listeners]) listener();
  }
}
