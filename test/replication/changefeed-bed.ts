/** Changefeed sinks on a fresh shard of a real server, and the plain NATS consumer that reads what they wrote. */
import { jetstream } from "@nats-io/jetstream";
import { type NatsConnection, TimeoutError } from "@nats-io/transport-node";
import type { ReplicationEvent } from "../../contracts/envelope.ts";
import type { Reporter } from "../../contracts/ports.ts";
import { changesStream } from "../../contracts/subjects.ts";
import { connectNats } from "../../services/jetstream/connect.ts";
import type { Sink, SinkScope } from "../../services/replication/sink.ts";
import { changefeedKind } from "../../services/replication/sinks/changefeed-sink.ts";
import { createClock } from "../../services/runtime/clock.ts";
import type { SinkUnderTest } from "../../services/testing/mod.ts";
import { freshShard } from "../jetstream/stream-subject.ts";

/** Takes every line and keeps none. */
const silentReporter: Reporter = { info: () => undefined, warn: () => undefined, error: () => undefined };

export function changefeedSink(connection: NatsConnection, options: object = {}, reporter = silentReporter): Sink {
  const deps = { connection, reporter, clock: createClock(), dataDir: "" };
  return changefeedKind.create(changefeedKind.options.parse({ maxBytes: -1, ...options }), deps);
}

interface ReadMessage {
  readonly subject: string;
  readonly streamSequence: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly event: ReplicationEvent;
}

/** Everything in the stream, by a pull consumer as any NATS client has it. `filter`: a subject. */
export async function readAll(
  connection: NatsConnection,
  scope: Pick<SinkScope, "region" | "shard">,
  filter?: string,
): Promise<ReadMessage[]> {
  for (;;)
    try {
      return await readOnce(connection, scope, filter);
    } catch (error) {
      // A server that has just come back may not answer a question: it is asked again. The test's time bounds that.
      if (!(error instanceof TimeoutError)) throw error;
    }
}

async function readOnce(
  connection: NatsConnection,
  { region, shard }: Pick<SinkScope, "region" | "shard">,
  filter: string | undefined,
): Promise<ReadMessage[]> {
  const stream = changesStream(region, shard);
  const js = jetstream(connection);
  const manager = await js.jetstreamManager();
  const { name } = await manager.consumers.add(stream, {
    ack_policy: "none",
    inactive_threshold: 30_000_000_000,
    ...(filter === undefined ? {} : { filter_subject: filter }),
  });
  const consumer = await js.consumers.get(stream, name);
  const read: ReadMessage[] = [];
  for (;;) {
    const { num_pending: pending } = await consumer.info();
    if (pending === 0) return read;
    for await (const message of await consumer.fetch({ max_messages: Math.min(pending, 10_000), expires: 5_000 })) {
      const headers = Object.fromEntries(
        [...(message.headers ?? [])].map(([key, [value = ""]]): [string, string] => [key, value]),
      );
      read.push({ subject: message.subject, streamSequence: message.seq, headers, event: message.json() });
    }
  }
}

export interface ChangefeedSubjectOptions {
  readonly urls: readonly string[];
  readonly replicas: number;
  interrupt(): Promise<void>;
  restore(): Promise<void>;
}

/** The sink as the conformance suite wants it, on a stream of its own. */
export async function changefeedSubject(options: ChangefeedSubjectOptions): Promise<SinkUnderTest> {
  const { urls, replicas, interrupt, restore } = options;
  const connection = await connectNats({ servers: urls, name: "changefeed" });
  const scope = { sink: "changefeed", region: "eu", shard: freshShard(), logId: "the-log" };
  const made: Sink[] = [];
  return {
    make: () => {
      const sink = changefeedSink(connection, { replicas });
      made.push(sink);
      return sink;
    },
    scope,
    guarantee: changefeedKind.guarantee,
    isFenced: true,
    delivered: async () =>
      (await readAll(connection, scope))
        .filter(({ headers }) => headers["Omnirelay-Sequence"] !== undefined)
        .map(({ event: { sequenceNumber, resourceLeaseItemPayload: item } }) => ({
          sequenceNumber,
          ...(item?.body === undefined ? {} : { body: item.body }),
        })),
    interrupt,
    restore,
    close: async () => {
      for (const sink of made) await sink.close();
      await connection.close();
    },
  };
}
