/** A plain JetStream work queue. It does less for an item than a lease does, so it is a mark to compare with and no queue of the same kind. */
import {
  AckPolicy,
  DiscardPolicy,
  type JsMsg,
  jetstream,
  jetstreamManager,
  RetentionPolicy,
  StorageType,
} from "@nats-io/jetstream";
import { connect, type NatsConnection, nanos } from "@nats-io/transport-node";
import { natsMissing, serveNats } from "../servers/nats.ts";
import type { Peer, PeerClient, PeerSettings, Working, WorkOptions } from "./peer.ts";

const CONSUMER = "worker";
const ACK_WAIT_MS = 30_000;
/** A stream for each ack wait, which belongs to its consumer: clients that ask for another one share nothing. */
const streamOf = ({ leaseMs = ACK_WAIT_MS }: PeerSettings): string => `BENCH_${leaseMs}`;
const subjectOf = ({ leaseMs = ACK_WAIT_MS }: PeerSettings): string => `bench.${leaseMs}`;
const PENDING_MAX = 10_000;
/** How long an answer is waited for: what is given up counts as failed, although it may be done. 5 s as shipped, which many at once exceed. */
const ANSWER_MS = 60_000;
/** Messages that are on their way to the worker at once, at least. */
const AHEAD_MIN = 500;

const base = {
  docs: [
    "https://docs.nats.io/nats-concepts/jetstream/streams",
    "https://docs.nats.io/nats-concepts/jetstream/consumers",
  ],
  drive: { batch: 1_000, inFlight: 1, concurrency: 2_000 },
  abilities: { delay: false, beat: true, recovery: true, queue: true },
  ahead: AHEAD_MIN,
  missing: natsMissing,
  serve: serveNats,
} as const;
const enqueueWorth = "one message in the stream, synced by itself";
const leaseWorth = "the consumer's state, flushed a few times a second; no fencing token";

export const jetstreamQueue: Peer = {
  ...base,
  name: "jetstream",
  summary: "JetStream work queue, acknowledged without waiting",
  worth: { enqueue: enqueueWorth, lease: leaseWorth, complete: "nothing: the acknowledgement is not confirmed" },
  connect: (url, _durability, settings) => open(url, settings, false),
};

export const jetstreamConfirmed: Peer = {
  ...base,
  name: "jetstream-confirmed",
  summary: "JetStream work queue, each acknowledgement confirmed",
  worth: { enqueue: enqueueWorth, lease: leaseWorth, complete: "the message is deleted, confirmed" },
  connect: (url, _durability, settings) => open(url, settings, true),
};

async function open(url: string, settings: PeerSettings, isConfirmed: boolean): Promise<PeerClient> {
  const connection = await connect({
    servers: url,
    noAsyncTraces: true,
    maxReconnectAttempts: -1,
    reconnectTimeWait: 50,
  });
  const manager = await jetstreamManager(connection);
  const [name, subject] = [streamOf(settings), subjectOf(settings)];
  await manager.streams.add({
    ...{ name, subjects: [subject], retention: RetentionPolicy.Workqueue, storage: StorageType.File },
    ...{ num_replicas: 1, discard: DiscardPolicy.New, duplicate_window: nanos(120_000) },
  });
  await manager.consumers.add(name, {
    ...{ durable_name: CONSUMER, ack_policy: AckPolicy.Explicit, ack_wait: nanos(settings.leaseMs ?? ACK_WAIT_MS) },
    ...{ max_ack_pending: PENDING_MAX, max_deliver: -1 },
  });
  const stream = jetstream(connection, { timeout: settings.answerMs ?? ANSWER_MS });
  return {
    enqueue: async (bodies) => {
      await Promise.all(bodies.map((body) => stream.publish(subject, body)));
    },
    work: (options) => work(connection, settings, isConfirmed, options),
    close: () => connection.close(),
  };
}

async function work(
  connection: NatsConnection,
  settings: PeerSettings,
  isConfirmed: boolean,
  { concurrency, handler, settled, failed }: WorkOptions,
): Promise<Working> {
  const consumer = await jetstream(connection).consumers.get(streamOf(settings), CONSUMER);
  const { beatMs } = settings;
  /** Delivered, and no handler is free. Bounded by what the consumer lets be pending. */
  const ahead: JsMsg[] = [];
  const held = new Set<JsMsg>();
  let idle: (() => void) | undefined;
  const one = async (message: JsMsg): Promise<void> => {
    held.add(message);
    try {
      const body = message.string();
      const running = handler(body);
      if (running !== undefined) await running;
      if (!isConfirmed) message.ack();
      else if (!(await message.ackAck({ timeout: ANSWER_MS })))
        throw new Error("the acknowledgement was not confirmed");
      settled(body);
    } catch (error) {
      failed(error as Error);
    }
    held.delete(message);
    const next = ahead.shift();
    if (next !== undefined) void one(next);
    else if (held.size === 0) idle?.();
  };
  const messages = await consumer.consume({
    max_messages: Math.max(concurrency, AHEAD_MIN),
    callback: (message) => {
      if (held.size < concurrency) void one(message);
      else ahead.push(message);
    },
  });
  const beat = (): void => {
    for (const message of held) message.working();
  };
  const beats = beatMs === undefined ? undefined : setInterval(beat, beatMs);
  return {
    stop: async () => {
      messages.stop();
      // What has not begun goes back at once instead of after its time.
      for (const message of ahead.splice(0)) message.nak();
      if (held.size > 0)
        await new Promise<void>((resolve) => {
          idle = resolve;
        });
      clearInterval(beats);
      await connection.flush();
    },
  };
}
