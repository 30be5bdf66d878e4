/** What any queue can reach at most whose log is one synced JetStream stream: nothing is decided, checked or asked for, items only wait for their frames. */

import { jetstreamManager } from "@nats-io/jetstream";
import { connect, type NatsConnection } from "@nats-io/transport-node";
import { natsMissing, serveNats } from "../servers/nats.ts";
import type { Peer, PeerClient, Working, WorkOptions } from "./peer.ts";

const STREAM = "BENCH_FRAMES";
const SUBJECT = "bench.frames";
/** Below the server's largest message of 1 MiB. */
const FRAME_TEXTS = 4_000;
/** As long as what a lease or a completion leaves in a log: ids, a token, times. */
const STEP = "s".repeat(150);

export const natsFrames: Peer = {
  name: "nats-frames",
  summary: "frames of a synced stream, one in flight, written by the client itself: a limit, not a queue",
  docs: ["https://docs.nats.io/nats-concepts/jetstream/streams"],
  worth: {
    enqueue: "its bytes in the stream, in a frame with those beside it",
    lease: "bytes in the stream; nobody decided",
    complete: "bytes in the stream; nobody decided",
  },
  drive: { batch: 1, inFlight: 512, concurrency: 512 },
  only: ["S5", "S6"],
  abilities: { delay: false, beat: false, recovery: false, queue: true },
  missing: natsMissing,
  serve: serveNats,
  connect: async (url) => {
    const connection = await connect({ servers: url, noAsyncTraces: true });
    const manager = await jetstreamManager(connection);
    await manager.streams.add({ name: STREAM, subjects: [SUBJECT] });
    return items(connection);
  },
};

/** Texts that wait for the disk. While a frame is on its way the next one gathers. */
class FrameLog {
  readonly #connection: NatsConnection;
  #texts: string[] = [];
  #waiting: PromiseWithResolvers<void>[] = [];
  #isSending = false;

  constructor(connection: NatsConnection) {
    this.#connection = connection;
  }

  append(text: string): Promise<void> {
    const written = Promise.withResolvers<void>();
    this.#texts.push(text);
    this.#waiting.push(written);
    if (!this.#isSending) {
      this.#isSending = true;
      queueMicrotask(() => void this.#send());
    }
    return written.promise;
  }

  async #send(): Promise<void> {
    while (this.#texts.length > 0) {
      const [texts, waiting] = [this.#texts.splice(0, FRAME_TEXTS), this.#waiting.splice(0, FRAME_TEXTS)];
      try {
        const answer = await this.#connection.request(SUBJECT, texts.join("\n"), { timeout: 60_000 });
        const { error } = answer.json<{ error?: { description: string } }>();
        if (error !== undefined) throw new Error(error.description);
        for (const { resolve } of waiting) resolve();
      } catch (error) {
        for (const { reject } of waiting) reject(error);
      }
    }
    this.#isSending = false;
  }
}

function items(connection: NatsConnection): PeerClient {
  const log = new FrameLog(connection);
  const queue: string[] = [];
  let wake = (): void => {};
  return {
    enqueue: async (bodies) => {
      await Promise.all(bodies.map((body) => log.append(body)));
      queue.push(...bodies);
      wake();
    },
    work: async ({ concurrency, handler, settled, failed }: WorkOptions): Promise<Working> => {
      let [running, isStopped] = [0, false];
      const idle = Promise.withResolvers<void>();
      const one = async (body: string): Promise<void> => {
        try {
          await log.append(STEP);
          await handler(body);
          await log.append(STEP);
          settled(body);
        } catch (error) {
          failed(error as Error);
        }
        running -= 1;
        wake();
      };
      wake = () => {
        for (; !isStopped && running < concurrency && queue.length > 0; running += 1) void one(queue.shift() ?? "");
        if (isStopped && running === 0) idle.resolve();
      };
      wake();
      return {
        stop: () => {
          isStopped = true;
          wake();
          return idle.promise;
        },
      };
    },
    close: () => connection.close(),
  };
}
