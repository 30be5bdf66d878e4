/** OmniRelay by one raw request per item with nothing coalesced: a plain NATS client with one inbox, as an SDK of another language would be. */
import { connect, createInbox, type NatsConnection } from "@nats-io/transport-node";
import { rpcSubject, type Verb } from "../../../contracts/subjects.ts";
import type { PeerClient, PeerSettings, Working, WorkOptions } from "./peer.ts";

const PRINCIPAL = "bench";
/** How long a lease request waits at the leader; a worker that stops waits as long. ms. */
const WAIT_MS = 250;

type Refusal = { readonly code: string };
type Reply = {
  readonly error?: Refusal;
  readonly leases?: readonly { itemId: string; token: number; item: { body: string } }[];
  readonly results?: readonly { itemId?: string; error?: Refusal }[];
};

/** Requests and their replies over one inbox. An answer that never comes is waited for: the scenario has a bound. */
export class RawRequester {
  readonly #connection: NatsConnection;
  readonly #inbox = createInbox();
  readonly #pending = new Map<string, (data: Uint8Array) => void>();
  #count = 0;

  static async open(url: string): Promise<RawRequester> {
    return new RawRequester(await connect({ servers: url, noAsyncTraces: true }));
  }

  private constructor(connection: NatsConnection) {
    this.#connection = connection;
    connection.subscribe(`${this.#inbox}.*`, {
      callback: (_error, message) => {
        const id = message.subject.slice(this.#inbox.length + 1);
        const resolve = this.#pending.get(id);
        this.#pending.delete(id);
        resolve?.(message.data);
      },
    });
  }

  request(subject: string, data: string): Promise<Uint8Array> {
    this.#count += 1;
    const id = String(this.#count);
    return new Promise((resolve) => {
      this.#pending.set(id, resolve);
      this.#connection.publish(subject, data, { reply: `${this.#inbox}.${id}` });
    });
  }

  close(): Promise<void> {
    return this.#connection.close();
  }
}

/** The request that enqueues one item. */
export const enqueueText = (body: string): string =>
  JSON.stringify({ items: [{ resourceType: "bench", resourceId: body.slice(0, 12), body }] });

const decoder = new TextDecoder();

export async function openRawClient(
  url: string,
  shards: readonly string[],
  { leaseMs }: PeerSettings,
): Promise<PeerClient> {
  const requester = await RawRequester.open(url);
  let turn = 0;
  const nextShard = (): string => {
    turn += 1;
    return shards[turn % shards.length] ?? "";
  };
  const ask = async (shard: string, verb: Verb, text: string): Promise<Reply> => {
    const reply: Reply = JSON.parse(decoder.decode(await requester.request(rpcSubject(shard, verb, PRINCIPAL), text)));
    const error = reply.error ?? reply.results?.[0]?.error;
    if (error !== undefined) throw new Error(`${verb}: ${error.code}`);
    return reply;
  };
  const work = async ({ concurrency, handler, settled, failed }: WorkOptions): Promise<Working> => {
    let isStopped = false;
    const request = JSON.stringify({ maxItems: 1, waitMs: WAIT_MS, leaseDurationMs: leaseMs });
    const loop = async (shard: string): Promise<void> => {
      while (!isStopped)
        try {
          const lease = (await ask(shard, "lease", request)).leases?.[0];
          if (lease === undefined) continue;
          const { itemId, token, item } = lease;
          await handler(item.body);
          await ask(shard, "complete", JSON.stringify({ leases: [{ itemId, token }] }));
          settled(item.body);
        } catch (error) {
          failed(error as Error);
        }
    };
    const loops = Array.from({ length: concurrency }, (_, index) => loop(shards[index % shards.length] ?? ""));
    return {
      stop: async () => {
        isStopped = true;
        await Promise.all(loops);
      },
    };
  };
  return {
    enqueue: async (bodies) => {
      await Promise.all(bodies.map((body) => ask(nextShard(), "enqueue", enqueueText(body))));
    },
    work,
    close: () => requester.close(),
  };
}
