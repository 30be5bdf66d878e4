/** A steady load of single calls by a client that repeats each of them until it is acknowledged: what most drills measure by. */
import { createInbox, type NatsConnection } from "@nats-io/transport-node";
import { AckTimes } from "./ack-times.ts";

const CALLS_PER_SECOND_DEFAULT = 200;
const RETRY_MS = 150;
const IDLE_POLL_MS = 20;

export interface LoadOptions {
  readonly shard?: string;
  readonly callsPerSecond?: number;
  /** Takes every reply to a call, also to one that is acknowledged already: two leaders may answer it. */
  readonly onReply?: (id: string, reply: Readonly<Record<string, unknown>>) => void;
}

/**
 * Each call enqueues one item and is sent again with the same bytes every 150 ms until it is acknowledged.
 * Invariant: a call is either open or in `acknowledged`, under the item id of its first acknowledgement.
 */
export class Load {
  /** Resource id of each acknowledged call, with the item id that was answered. */
  readonly acknowledged = new Map<string, string>();
  readonly #connection: NatsConnection;
  readonly #subject: string;
  readonly #periodMs: number;
  readonly #inbox = createInbox();
  readonly #open = new Map<string, NodeJS.Timeout>();
  readonly #acks = new AckTimes();
  readonly #onReply: LoadOptions["onReply"];
  #count = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(connection: NatsConnection, { shard = "default", callsPerSecond, onReply }: LoadOptions = {}) {
    this.#connection = connection;
    this.#onReply = onReply;
    this.#subject = `resourcelease.${shard}.enqueue.load`;
    this.#periodMs = 1_000 / (callsPerSecond ?? CALLS_PER_SECOND_DEFAULT);
    connection.subscribe(`${this.#inbox}.*`, {
      callback: (_error, message) => this.#answered(message.subject.slice(this.#inbox.length + 1), message.string()),
    });
  }

  start(): void {
    this.#timer = setInterval(() => {
      this.#count += 1;
      this.#send(`call-${this.#count}`);
    }, this.#periodMs);
  }

  /** Starts no more calls and waits for those that are open. Throws when they are not all acknowledged within `boundMs`. */
  async stop(boundMs = 60_000): Promise<void> {
    clearInterval(this.#timer);
    const start = performance.now();
    while (this.#open.size > 0) {
      if (performance.now() - start > boundMs) {
        const open = this.#open.size;
        this.abandon();
        throw new Error(`${open} calls were not acknowledged within ${boundMs} ms after the load had ended`);
      }
      await new Promise((resolve) => setTimeout(resolve, IDLE_POLL_MS));
    }
  }

  /** Ends the load at once; what is open stays without an answer. */
  abandon(): void {
    clearInterval(this.#timer);
    for (const timer of this.#open.values()) clearTimeout(timer);
    this.#open.clear();
  }

  /** The longest time between two acknowledgements since `fromMs`, the one before it and the present included. ms. */
  longestGapMs(fromMs: number): number {
    return Math.round(this.#acks.longestGap(fromMs).gapMs);
  }

  /** When the longest gap since `fromMs` ended. ms, `performance.now()`. */
  longestGapEndMs(fromMs: number): number {
    return this.#acks.longestGap(fromMs).endMs;
  }

  /** Acknowledgements since `fromMs`. */
  acknowledgedSince(fromMs: number): number {
    return this.#acks.countSince(fromMs);
  }

  #send(id: string): void {
    const body = JSON.stringify({ items: [{ resourceType: "table", resourceId: id, requestId: id }] });
    this.#connection.publish(this.#subject, body, { reply: `${this.#inbox}.${id}` });
    this.#open.set(
      id,
      setTimeout(() => this.#send(id), RETRY_MS),
    );
  }

  #answered(id: string, text: string): void {
    if (text === "") return;
    const reply = JSON.parse(text) as { results?: { itemId?: string }[] };
    this.#onReply?.(id, reply);
    if (!this.#open.has(id)) return;
    const itemId = reply.results?.[0]?.itemId;
    if (itemId === undefined) return; // refused as retryable: the timer repeats it
    clearTimeout(this.#open.get(id));
    this.#open.delete(id);
    this.acknowledged.set(id, itemId);
    this.#acks.add();
  }
}
