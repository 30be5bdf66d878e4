/** One item per raw request with nothing coalesced: a plain NATS client with one inbox, as an SDK of another language would be. */
import { connect, createInbox, type NatsConnection } from "@nats-io/transport-node";
import { rpcSubject, type Verb } from "../../contracts/subjects.ts";

const IN_FLIGHT = 256;
const PRINCIPAL = "bench";

type Reply = {
  readonly leases?: readonly { itemId: string; token: number }[];
  readonly results?: readonly { itemId?: string }[];
};

class RawClient {
  readonly #connection: NatsConnection;
  readonly #shard: string;
  readonly #inbox = createInbox();
  readonly #pending = new Map<string, (reply: Reply) => void>();
  readonly #encoder = new TextEncoder();
  #count = 0;

  constructor(connection: NatsConnection, shard: string) {
    this.#connection = connection;
    this.#shard = shard;
    connection.subscribe(`${this.#inbox}.*`, {
      callback: (_error, message) => {
        const id = message.subject.slice(this.#inbox.length + 1);
        const resolve = this.#pending.get(id);
        this.#pending.delete(id);
        resolve?.(message.json<Reply>());
      },
    });
  }

  request(verb: Verb, body: object): Promise<Reply> {
    this.#count += 1;
    const id = String(this.#count);
    return new Promise((resolve) => {
      this.#pending.set(id, resolve);
      this.#connection.publish(rpcSubject(this.#shard, verb, PRINCIPAL), this.#encoder.encode(JSON.stringify(body)), {
        reply: `${this.#inbox}.${id}`,
      });
    });
  }
}

/** Life of an item in items/s: enqueue one, lease one, complete one, 256 requests in flight. */
export async function runRawRequests(
  url: string,
  shard: string,
  items: number,
  body: (index: number) => string,
): Promise<number> {
  const connection = await connect({ servers: url, noAsyncTraces: true });
  const client = new RawClient(connection, shard);
  const start = performance.now();
  const enqueued = new Set<string>();
  let next = 0;
  await together(async () => {
    while (next < items) {
      const index = next;
      next += 1;
      const { results } = await client.request("enqueue", {
        items: [{ resourceType: "table", resourceId: `db.orders.${index}`, body: body(index) }],
      });
      enqueued.add(results?.[0]?.itemId ?? "");
    }
  });
  const completed = new Set<string>();
  await together(async () => {
    for (;;) {
      const { leases } = await client.request("lease", { maxItems: 1 });
      const lease = leases?.[0];
      if (lease === undefined) return;
      await client.request("complete", { leases: [{ itemId: lease.itemId, token: lease.token }] });
      completed.add(lease.itemId);
    }
  });
  const elapsedMs = performance.now() - start;
  await connection.close();
  assertSame(enqueued, completed, items);
  return (items / elapsedMs) * 1_000;
}

const together = (loop: () => Promise<void>): Promise<unknown> => Promise.all(Array.from({ length: IN_FLIGHT }, loop));

/** A figure counts only when every item that was enqueued was completed, and nothing else. */
export function assertSame(enqueued: ReadonlySet<string>, completed: ReadonlySet<string>, items: number): void {
  const missing = [...enqueued].filter((itemId) => !completed.has(itemId));
  if (enqueued.size !== items || completed.size !== items || missing.length > 0)
    throw new Error(
      `the run is not valid: ${enqueued.size} of ${items} enqueued, ${completed.size} completed, ${missing.length} missing`,
    );
}
