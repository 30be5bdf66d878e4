/** A steady load through the SDK: single calls that enqueue, a worker that completes them, and every error that either of them sees. */
import { LeaseClient, LeaseWorker } from "../services/client/mod.ts";
import { AckTimes } from "./ack-times.ts";
import { pause } from "./drill.ts";

const CALLS_PER_SECOND = 200;
const WORKER_CONCURRENCY = 16;
const IDLE_POLL_MS = 20;

/** Invariant: a call is under way, in `acknowledged`, or told in `errors`. */
export class SdkLoad {
  /** Resource id of each acknowledged call, with the item id that was answered. */
  readonly acknowledged = new Map<string, string>();
  /** Items whose completion was acknowledged. */
  readonly completed = new Set<string>();
  /** What a caller of the SDK would have seen. */
  readonly errors: string[] = [];
  readonly acks = new AckTimes();
  readonly #client: LeaseClient;
  readonly #worker: LeaseWorker;
  #count = 0;
  #open = 0;
  #timer: NodeJS.Timeout | undefined;

  private constructor(client: LeaseClient) {
    this.#client = client;
    this.#worker = new LeaseWorker(client, {
      concurrency: WORKER_CONCURRENCY,
      prefetch: WORKER_CONCURRENCY,
      handler: async () => {},
      onError: ({ error }) => this.#failed("worker", error),
    });
    this.#worker.on("completed", ({ lease }) => this.completed.add(lease.itemId));
    this.#worker.on("lost", ({ lease, reason }) => this.errors.push(`worker: item ${lease.itemId}: lost: ${reason}`));
  }

  static async connect(natsUrls: readonly string[]): Promise<SdkLoad> {
    return new SdkLoad(await LeaseClient.connect({ servers: natsUrls, shard: "default", principal: "load" }));
  }

  start(): void {
    this.#worker.start();
    this.#timer = setInterval(() => {
      this.#count += 1;
      this.#call(`call-${this.#count}`);
    }, 1_000 / CALLS_PER_SECOND);
  }

  /** Starts no more calls and waits until all are answered and all items completed. Throws when that takes longer than `boundMs`. */
  async stop(boundMs = 60_000): Promise<void> {
    clearInterval(this.#timer);
    const start = performance.now();
    while (this.#open > 0 || this.completed.size < this.acknowledged.size) {
      if (performance.now() - start > boundMs)
        throw new Error(`${this.#open} calls and ${this.acknowledged.size - this.completed.size} items are unfinished`);
      await pause(IDLE_POLL_MS);
    }
    await this.#worker.stop();
  }

  /** Ends everything at once. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.#client.close();
  }

  #call(id: string): void {
    this.#open += 1;
    this.#client
      .enqueue({ resourceType: "table", resourceId: id })
      .then(
        ({ itemId }) => {
          this.acknowledged.set(id, itemId);
          this.acks.add();
        },
        (error: unknown) => this.#failed(id, error),
      )
      .finally(() => {
        this.#open -= 1;
      });
  }

  #failed(who: string, error: unknown): void {
    this.errors.push(`${who}: ${error instanceof Error ? error.message : String(error)}`);
  }
}
