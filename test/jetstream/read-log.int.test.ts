/** The log as an iterable: ranges, holes, trims, live reading, and a reader that is slower than the log. */
import type { NatsConnection } from "@nats-io/transport-node";
import { afterEach, describe, expect, test } from "vitest";
import { logStream, logSubject } from "../../contracts/subjects.ts";
import { connectNats } from "../../services/jetstream/connect.ts";
import { type ReadLogRequest, readLogMessages } from "../../services/jetstream/read-log.ts";
import { failOnLeakedServers, natsAvailability, natsServer, type TestServerOptions } from "../support/nats.ts";
import { skipNote } from "./skip-note.ts";
import { api, createStream } from "./stream-subject.ts";

const nats = await natsAvailability();
const note = skipNote(nats);
afterEach(failOnLeakedServers);

const ADDRESS = { region: "eu", shard: "a" };
const STREAM = logStream(ADDRESS.region, ADDRESS.shard);

async function setup(cleanup: NonNullable<TestServerOptions["cleanup"]>, options: TestServerOptions = {}) {
  const server = await natsServer({ cleanup, ...options });
  const connection = await connectNats({ servers: server.url, name: "read" });
  cleanup(() => connection.close());
  await createStream(connection, ADDRESS, 1, { deny_delete: false });
  return { server, connection };
}

async function publish(connection: NatsConnection, count: number, bytes = 10): Promise<void> {
  const payload = new Uint8Array(bytes).fill(120);
  for (let index = 0; index < count - 1; index += 1) connection.publish(logSubject("eu", "a"), payload);
  await connection.request(logSubject("eu", "a"), payload, { timeout: 30_000 });
}

async function sequences(connection: NatsConnection, over: Partial<ReadLogRequest> = {}): Promise<readonly number[]> {
  const found: number[] = [];
  for await (const message of readLogMessages(connection, { ...ADDRESS, ...over })) found.push(message.streamSequence);
  return found;
}

const range = (from: number, to: number): readonly number[] =>
  Array.from({ length: to - from + 1 }, (_, index) => from + index);

describe.skipIf(!nats.available)(`readLogMessages${note}`, () => {
  test("reads everything, or a range, and ends", async ({ onTestFinished }) => {
    const { connection } = await setup(onTestFinished);
    expect(await sequences(connection)).toEqual([]);
    await publish(connection, 100);
    expect(await sequences(connection)).toEqual(range(1, 100));
    expect(await sequences(connection, { from: 40, to: 60 })).toEqual(range(40, 60));
    expect(await sequences(connection, { from: 99, to: 200 })).toEqual([99, 100]);
    expect(await sequences(connection, { from: 101 })).toEqual([]);
  });

  test("shows holes as jumps, also at the end, and begins where a trimmed log begins", async ({ onTestFinished }) => {
    const { connection } = await setup(onTestFinished);
    await publish(connection, 10);
    for (const seq of [5, 10]) await api(connection, `STREAM.MSG.DELETE.${STREAM}`, { seq });
    await api(connection, `STREAM.PURGE.${STREAM}`, { seq: 3 });
    expect(await sequences(connection)).toEqual([3, 4, 6, 7, 8, 9]);
  });

  test("what is trimmed away before it is read is told from a hole", async ({ onTestFinished }) => {
    const { connection } = await setup(onTestFinished);
    await publish(connection, 500);
    await api(connection, `STREAM.PURGE.${STREAM}`, { seq: 50 });
    await expect(sequences(connection, { from: 49 })).rejects.toMatchObject({
      code: "log_trimmed",
      definite: true,
      details: { first: 50 },
    });
    const found: number[] = [];
    let purged: Promise<unknown> | undefined;
    const reading = async () => {
      for await (const { streamSequence } of readLogMessages(connection, ADDRESS)) {
        found.push(streamSequence);
        purged ??= api(connection, `STREAM.PURGE.${STREAM}`, { seq: 450 });
      }
    };
    await expect(reading()).rejects.toMatchObject({ code: "log_trimmed", details: { first: 450 } });
    await purged;
    expect(found).toEqual(range(50, 49 + found.length));
  });

  test("a live reader that the trim has overtaken is told", async ({ onTestFinished }) => {
    const { connection } = await setup(onTestFinished);
    await publish(connection, 3);
    const reading = readLogMessages(connection, { ...ADDRESS, live: true });
    for (let expected = 1; expected <= 3; expected += 1)
      expect((await reading.next()).value?.streamSequence).toBe(expected);
    // Not listening yet: the live part begins with the next call.
    await publish(connection, 10);
    await api(connection, `STREAM.PURGE.${STREAM}`, { seq: 10 });
    await expect(reading.next()).rejects.toMatchObject({ code: "log_trimmed", details: { first: 10 } });
  });

  test("goes on with what comes, until the last one asked for", async ({ onTestFinished }) => {
    const { connection } = await setup(onTestFinished);
    await publish(connection, 3);
    const found: number[] = [];
    for await (const message of readLogMessages(connection, { ...ADDRESS, from: 2, to: 6, live: true })) {
      found.push(message.streamSequence);
      if (message.streamSequence === 3) await publish(connection, 5);
    }
    expect(found).toEqual([2, 3, 4, 5, 6]);
  });

  test("ends when the reader stops, and by its signal, in history and while it waits", async ({ onTestFinished }) => {
    const { connection } = await setup(onTestFinished);
    await publish(connection, 3);
    for await (const { streamSequence } of readLogMessages(connection, { ...ADDRESS, live: true })) {
      if (streamSequence === 3) break;
    }
    const waiting = new AbortController();
    const found: number[] = [];
    for await (const { streamSequence } of readLogMessages(connection, {
      ...ADDRESS,
      live: true,
      signal: waiting.signal,
    })) {
      found.push(streamSequence);
      if (streamSequence === 3) setImmediate(() => waiting.abort());
    }
    expect(found).toEqual([1, 2, 3]);
    expect(await sequences(connection, { signal: AbortSignal.abort() })).toEqual([]);
  });

  test("holds the server back while the reader is slow", async ({ onTestFinished }) => {
    const { connection } = await setup(onTestFinished, { syncInterval: "2m" });
    const writer = await connectNats({ servers: connection.getServer(), name: "writer" });
    const total = 2_000;
    const bytes = 64 * 1024;
    const reading = readLogMessages(connection, { ...ADDRESS, live: true, to: total });
    const first = reading.next();
    await publish(writer, total, bytes);
    expect((await first).value?.streamSequence).toBe(1);
    await writer.close();
    // The reader has taken one message. What the socket brings beyond is bounded by the server's window, not by the log: it comes to rest.
    let before = -1;
    await expect
      .poll(
        () => {
          const isAtRest = connection.stats().inBytes - before < bytes;
          before = connection.stats().inBytes;
          return isAtRest;
        },
        { interval: 700, timeout: 20_000 },
      )
      .toBe(true);
    expect(connection.stats().inBytes).toBeLessThan(total * bytes * 0.75);
    const rest: number[] = [];
    for await (const message of reading) rest.push(message.streamSequence);
    expect(rest).toEqual(range(2, total));
  });

  test("fails with a code when there is no such log", async ({ onTestFinished }) => {
    const { connection } = await setup(onTestFinished);
    await expect(sequences(connection, { shard: "none" })).rejects.toMatchObject({ code: "stream_missing" });
  });
});
