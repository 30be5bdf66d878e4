/** The peer to beat: a plain JetStream work queue, published 1,000 in flight, consumed 2,000 at a time, acked without waiting. */
import { AckPolicy, jetstream, jetstreamManager, RetentionPolicy, StorageType } from "@nats-io/jetstream";
import { connect } from "@nats-io/transport-node";

const PUBLISHES_IN_FLIGHT = 1_000;
const STREAM = "BENCH_WORK_QUEUE";

/** Life of an item (published, delivered, acked) in items/s. It does less than a lease does: no durable lease, no fencing, no confirmed settlement. */
export async function runRawQueue(url: string, items: number, body: (index: number) => string): Promise<number> {
  const connection = await connect({ servers: url, noAsyncTraces: true });
  const manager = await jetstreamManager(connection);
  await manager.streams.add({
    name: STREAM,
    subjects: ["bench.queue"],
    retention: RetentionPolicy.Workqueue,
    storage: StorageType.File,
    num_replicas: 1,
  });
  await manager.consumers.add(STREAM, {
    durable_name: "worker",
    ack_policy: AckPolicy.Explicit,
    max_ack_pending: 10_000,
  });
  const stream = jetstream(connection);
  const encoder = new TextEncoder();
  const start = performance.now();
  for (let from = 0; from < items; from += PUBLISHES_IN_FLIGHT) {
    const count = Math.min(PUBLISHES_IN_FLIGHT, items - from);
    await Promise.all(
      Array.from({ length: count }, (_, index) => stream.publish("bench.queue", encoder.encode(body(from + index)))),
    );
  }
  const consumer = await stream.consumers.get(STREAM, "worker");
  const seen = new Set<number>();
  for await (const message of await consumer.consume({ max_messages: 2_000 })) {
    seen.add(message.seq);
    message.ack();
    if (seen.size === items) break;
  }
  await connection.flush();
  const elapsedMs = performance.now() - start;
  await manager.streams.delete(STREAM);
  await connection.close();
  return (items / elapsedMs) * 1_000;
}
