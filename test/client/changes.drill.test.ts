/** `changes()` when much comes at once, when its process is killed, and when the server dies again and again under load. */
import assert from "node:assert/strict";
import { randomInt } from "node:crypto";
import type { NatsConnection } from "@nats-io/transport-node";
import { afterEach, beforeEach, expect, test } from "vitest";
import { OperatingError } from "../../contracts/errors.ts";
import { CHECKPOINT_BUCKET, changesStream } from "../../contracts/subjects.ts";
import { changes } from "../../services/client/mod.ts";
import { connectNats } from "../../services/jetstream/connect.ts";
import { Inbox } from "../../services/jetstream/inbox.ts";
import { ensureBucket } from "../../services/jetstream/nats-kv.ts";
import type { Sink } from "../../services/replication/sink.ts";
import { seededNumbers } from "../../services/runtime/seeded-numbers.ts";
import { EventFeed } from "../../services/testing/mod.ts";
import { api } from "../jetstream/stream-subject.ts";
import { changefeedSink } from "../replication/changefeed-bed.ts";
import { failOnLeakedServers, natsServer, skipWithoutNats, type TestServerOptions } from "../support/nats.ts";
import { startProcess } from "../support/process.ts";

beforeEach(skipWithoutNats);
afterEach(failOnLeakedServers);

const MIB = 1024 * 1024;
/** The server's flow-control window for a consumer, and what one turn of the socket may bring. */
const WINDOW_BYTES_MAX = 36 * MIB;

type Cleanup = NonNullable<TestServerOptions["cleanup"]>;

async function setup(cleanup: Cleanup, options: ConstructorParameters<typeof EventFeed>[0]) {
  const server = await natsServer({ cleanup });
  const connect = async (): Promise<NatsConnection> => {
    const connection = await connectNats({ servers: server.url, name: "changes" });
    cleanup(() => connection.close());
    return connection;
  };
  const connection = await connect();
  const inbox = new Inbox(connection);
  await ensureBucket(inbox, { bucket: CHECKPOINT_BUCKET, description: "", replicas: 1 });
  inbox.close();
  const feed = new EventFeed(options);
  const scope = feed.scope("changefeed");
  const sink = changefeedSink(connection);
  cleanup(() => sink.close());
  await sink.open(scope, undefined);
  return { server, connect, connection, feed, scope, sink };
}

/** Again until it succeeds; a batch that is there already is recognised. */
async function insist(sink: Sink, batch: Parameters<Sink["apply"]>[0]): Promise<void> {
  for (;;) {
    try {
      return await sink.apply(batch, new AbortController().signal);
    } catch (error) {
      if (!(error instanceof OperatingError)) throw error;
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
}

test("a caller that asks slowly gets all of 100,000 events while the server is held", async ({ onTestFinished }) => {
  const { connect, feed, scope, sink } = await setup(onTestFinished, { count: 100_000, bodyLength: 1_500 });
  let bytes = 0;
  for (let done = 0; done < feed.lastSequence; done += 1_000) {
    const batch = feed.batch(scope, done, Math.min(feed.lastSequence, done + 1_000));
    bytes += JSON.stringify(batch.events).length;
    await insist(sink, batch);
  }
  const subscribed = changes(await connect(), { shard: scope.shard, bufferBytesMax: MIB });
  let waitingMax = 0;
  let reached = 0;
  for await (const { sequenceNumber } of subscribed) {
    // An `expect` for each of so many takes longer than the reading.
    assert.equal(sequenceNumber, reached + 1);
    reached = sequenceNumber;
    // Every so often the caller stands still, long enough for everything that the server would send.
    if (sequenceNumber % 10_000 === 1) await new Promise((resolve) => setTimeout(resolve, 300));
    waitingMax = Math.max(waitingMax, subscribed.waiting.bytes);
    if (sequenceNumber === feed.lastSequence) break;
  }
  console.log(
    `${reached} events of ${Math.round(bytes / MIB)} MiB; ${(waitingMax / MIB).toFixed(1)} MiB waited at most`,
  );
  expect(reached).toBe(feed.lastSequence);
  expect(bytes).toBeGreaterThan(2 * WINDOW_BYTES_MAX);
  expect(waitingMax).toBeLessThan(MIB + WINDOW_BYTES_MAX);
});

test("a process that is killed goes on behind its position, and nothing is left out", async ({ onTestFinished }) => {
  const seed = randomInt(2 ** 31);
  console.log(`changes: seed ${seed}`);
  const draw = seededNumbers(seed);
  const { server, feed, scope, sink } = await setup(onTestFinished, { count: 600 });
  await insist(sink, feed.batch(scope, 0, feed.lastSequence));
  const seen: number[] = [];
  let repeats = 0;
  let starts = 0;
  while (seen.at(-1) !== feed.lastSequence) {
    starts += 1;
    const running = startProcess("test/client/changes-process.ts", [server.url, scope.shard, "audit"], onTestFinished);
    const target = Math.min(feed.lastSequence, (seen.at(-1) ?? 0) + 50 + (draw() % 150));
    await running.line(`event ${target}`);
    await running.signal("SIGKILL");
    const came = running.lines.map((line) => Number(line.split(" ")[1]));
    // In order and gap-free in itself, and not behind what is next.
    for (const [index, sequence] of came.entries()) expect(sequence).toBe((came[0] ?? 0) + index);
    expect(came[0]).toBeLessThanOrEqual((seen.at(-1) ?? 0) + 1);
    repeats += came.filter((sequence) => sequence <= (seen.at(-1) ?? 0)).length;
    seen.push(...came.filter((sequence) => sequence > (seen.at(-1) ?? 0)));
  }
  console.log(`${starts} starts, ${repeats} events came again`);
  expect(seen).toEqual(Array.from({ length: feed.lastSequence }, (_, index) => index + 1));
  expect(repeats).toBeLessThan(starts * 100);
});

test("a server that dies under load costs neither an event nor a repeat", async ({ onTestFinished }) => {
  const { server, connect, feed, scope, sink } = await setup(onTestFinished, { count: 20_000 });
  const wanted = ["Enqueue", "Completed"] as const;
  const all = changes(await connect(), { shard: scope.shard, bufferBytesMax: 100_000 });
  const some = changes(await connect(), { shard: scope.shard, filter: { eventTypes: wanted } });
  const reading = (async () => {
    let reached = 0;
    for await (const { sequenceNumber } of all) {
      assert.equal(sequenceNumber, reached + 1);
      reached = sequenceNumber;
      if (sequenceNumber === feed.lastSequence) return reached;
    }
    return reached;
  })();
  const expected = feed.events.filter(({ eventType }) => eventType === "Enqueue" || eventType === "Completed");
  const filtered = (async () => {
    let index = 0;
    for await (const { sequenceNumber } of some) {
      assert.equal(sequenceNumber, expected[index]?.sequenceNumber);
      index += 1;
      if (index === expected.length) return index;
    }
    return index;
  })();
  let isWritten = false;
  const writing = (async () => {
    for (let done = 0; done < feed.lastSequence; done += 500)
      await insist(sink, feed.batch(scope, done, Math.min(feed.lastSequence, done + 500)));
    isWritten = true;
  })();
  let kills = 0;
  while (!isWritten) {
    await new Promise((resolve) => setTimeout(resolve, 400));
    await server.kill();
    kills += 1;
    await server.restart();
  }
  await writing;
  expect(await reading).toBe(feed.lastSequence);
  expect(await filtered).toBe(expected.length);
  console.log(`${kills} kills, ${expected.length} of ${feed.lastSequence} events matched the filter`);
});

test("a stream that is deleted is told, and so is one that was made anew", async ({ onTestFinished }) => {
  const { connection, feed, scope, sink } = await setup(onTestFinished, { count: 60 });
  const stream = changesStream(scope.region, scope.shard);
  await insist(sink, feed.batch(scope, 0, 30));
  for (const isMadeAnew of [false, true]) {
    const subscribed = changes(connection, { shard: scope.shard });
    let sought: () => void = () => undefined;
    const isRead = new Promise<void>((resolve) => {
      sought = resolve;
    });
    const reading = (async () => {
      for await (const { sequenceNumber } of subscribed) if (sequenceNumber === 30) sought();
    })();
    await Promise.race([isRead, reading]);
    await api(connection, `STREAM.DELETE.${stream}`, undefined);
    if (isMadeAnew) {
      await sink.open(scope, undefined);
      await insist(sink, feed.batch(scope, 0, 40));
    }
    const code = isMadeAnew ? "changes_stream_replaced" : "stream_missing";
    await expect(reading).rejects.toMatchObject({ code });
    if (!isMadeAnew) {
      await sink.open(scope, undefined);
      await insist(sink, feed.batch(scope, 0, 30));
    }
  }
});
