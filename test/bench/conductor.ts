/** What an actor's process does with its orders; what happens is told in groups, so that telling does not become the load. */
import type { Happening, Order } from "./actor.ts";
import { bodyOf, numberOf } from "./items.ts";
import type { PeerClient, Working } from "./peers/peer.ts";

/** Rest after a call that failed, while a server is down. ms. */
const REST_MS = 20;

export class Conductor {
  readonly #client: PeerClient;
  readonly #tell: (happening: Happening) => void;
  readonly #untold = { started: [] as number[], settled: [] as number[], acked: [] as number[] };
  #isTelling = false;
  #gate = Promise.withResolvers<void>();
  #working: Working | undefined;
  #producing: Promise<unknown> | undefined;
  #isProducing = false;

  constructor(client: PeerClient, tell: (happening: Happening) => void) {
    this.#client = client;
    this.#tell = tell;
  }

  async carryOut(order: Order): Promise<void> {
    switch (order.order) {
      case "enqueue":
        return this.#client.enqueue(Array.from({ length: order.count }, (_, index) => bodyOf(order.from + index)));
      case "produce":
        this.#isProducing = true;
        this.#producing = this.#produce(order.batch, order.inFlight);
        return;
      case "stopProducing":
        this.#isProducing = false;
        await this.#producing;
        return;
      case "work":
        return this.#work(order.concurrency, order.isHeld);
      case "letGo":
        this.#gate.resolve();
        return;
      case "stopWork":
        await this.#working?.stop();
        return this.#flush();
    }
  }

  async #produce(batch: number, inFlight: number): Promise<void> {
    let next = 0;
    const loop = async (): Promise<void> => {
      while (this.#isProducing) {
        const numbers = Array.from({ length: batch }, (_, index) => next + index);
        next += batch;
        try {
          await this.#client.enqueue(numbers.map(bodyOf));
          this.#happened("acked", numbers);
        } catch (error) {
          // Unknown: it may be in, or not. Only what was acknowledged is owed.
          this.#failed(error as Error);
          await new Promise((resolve) => setTimeout(resolve, REST_MS));
        }
      }
    };
    await Promise.all(Array.from({ length: inFlight }, loop));
    this.#flush();
  }

  async #work(concurrency: number, isHeld: boolean): Promise<void> {
    if (this.#client.work === undefined) throw new Error("the peer is no queue");
    this.#gate = Promise.withResolvers();
    this.#working = await this.#client.work({
      concurrency,
      isApart: isHeld,
      handler: (body) => {
        this.#happened("started", [numberOf(body)]);
        return isHeld ? this.#gate.promise : undefined;
      },
      settled: (body) => this.#happened("settled", [numberOf(body)]),
      failed: (error) => this.#failed(error),
    });
  }

  #failed(error: Error): void {
    this.#tell({ what: "failed", text: error.message });
  }

  #happened(what: "started" | "settled" | "acked", numbers: readonly number[]): void {
    this.#untold[what].push(...numbers);
    if (this.#isTelling) return;
    this.#isTelling = true;
    setImmediate(() => this.#flush());
  }

  #flush(): void {
    this.#isTelling = false;
    for (const what of ["started", "settled", "acked"] as const)
      if (this.#untold[what].length > 0) this.#tell({ what, numbers: this.#untold[what].splice(0) });
  }
}
