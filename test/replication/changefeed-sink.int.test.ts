/** What stands in a changefeed's stream, what a sink refuses, and that two instances of one write it as one would. */
import type { NatsConnection } from "@nats-io/transport-node";
import { afterAll, afterEach, describe, expect, test } from "vitest";
import { OperatingError } from "../../contracts/errors.ts";
import { changesStream, changesSubject } from "../../contracts/subjects.ts";
import type { NatsServer } from "../../infra/nats-server/embedded.ts";
import { connectNats } from "../../services/jetstream/connect.ts";
import { changefeedKind } from "../../services/replication/sinks/changefeed-sink.ts";
import { EventFeed } from "../../services/testing/mod.ts";
import { skipNote } from "../jetstream/skip-note.ts";
import { api, freshShard } from "../jetstream/stream-subject.ts";
import {
  failOnLeakedServers,
  failOnLeakedSuiteServers,
  natsAvailability,
  natsServer,
  type TestServerOptions,
} from "../support/nats.ts";
import { changefeedSink, readAll } from "./changefeed-bed.ts";

const nats = await natsAvailability();
const note = skipNote(nats);
afterAll(failOnLeakedSuiteServers);
afterEach(failOnLeakedServers);

type Cleanup = NonNullable<TestServerOptions["cleanup"]>;
const never = new AbortController().signal;

/** For all tests that want nothing special of it: a shard of its own is enough. */
let shared: Promise<NatsServer> | undefined;
afterAll(async () => (await shared)?.[Symbol.asyncDispose]());
function sharedServer(): Promise<NatsServer> {
  shared ??= natsServer({ scope: "suite" });
  return shared;
}

async function setup(cleanup: Cleanup, options?: TestServerOptions, login = {}) {
  const server = await (options === undefined ? sharedServer() : natsServer({ cleanup, ...options }));
  const feed = new EventFeed({ count: 60, shard: options === undefined ? freshShard() : "orders" });
  const scope = feed.scope("changefeed");
  const stream = changesStream(scope.region, scope.shard);
  const connect = async (): Promise<NatsConnection> => {
    const connection = await connectNats({ servers: server.url, name: "changefeed", ...login });
    cleanup(() => connection.close());
    return connection;
  };
  const connection = await connect();
  const sequences = async (filter?: string): Promise<readonly number[]> =>
    (await readAll(connection, scope, filter)).map(({ event }) => event.sequenceNumber);
  return { server, connect, connection, feed, scope, stream, sequences };
}

const codeOf = async (attempt: Promise<unknown>): Promise<string> =>
  attempt.then(
    () => "",
    (error: unknown) => (error instanceof OperatingError ? error.code : String(error)),
  );
const upTo = (last: number): readonly number[] => Array.from({ length: last }, (_, index) => index + 1);

describe.skipIf(!nats.available)(`a changefeed${note}`, () => {
  test("holds each event as a message of its own, under a subject to filter by", async ({ onTestFinished }) => {
    const { connection, feed, scope, sequences } = await setup(onTestFinished);
    const sink = changefeedSink(connection);
    expect(await sink.open(scope, undefined)).toBeUndefined();
    await sink.apply(feed.batch(scope, 0, feed.lastSequence), never);
    const read = await readAll(connection, scope);
    expect(read.map(({ event }) => event)).toEqual(feed.events);
    for (const { subject, headers, event } of read) {
      const token = event.resourceType === undefined ? "_" : "table";
      expect(subject).toBe(`omnirelay.changes.eu.${scope.shard}.${event.eventType}.${token}`);
      expect(headers).toMatchObject({
        "Omnirelay-Sequence": String(event.sequenceNumber),
        "Omnirelay-Chain": event.metadata["log.chain"],
        "Omnirelay-Schema": "1",
      });
    }
    expect(JSON.parse(read.at(-1)?.headers["Omnirelay-Place"] ?? "")).toMatchObject({
      sequence: feed.lastSequence,
      checkpoint: feed.place(feed.lastSequence),
    });
    const wanted = feed.events.filter(({ eventType }) => eventType === "Enqueue");
    expect(await sequences(changesSubject("eu", scope.shard, "Enqueue", "*"))).toEqual(
      wanted.map(({ sequenceNumber }) => sequenceNumber),
    );
    await sink.close();
  });

  test("takes a batch larger than the server's in several, and goes on where one was cut off", async ({
    onTestFinished,
  }) => {
    const { connection, server, scope, sequences } = await setup(onTestFinished);
    const large = new EventFeed({ count: 2_100, bodyLength: 50, shard: scope.shard });
    const sink = changefeedSink(connection);
    await sink.open(scope, undefined);
    const stopped = new AbortController();
    const applying = codeOf(sink.apply({ ...large.batch(scope, 0, large.lastSequence), scope }, stopped.signal));
    stopped.abort(new OperatingError("shutting_down", "enough", { definite: true }));
    expect(await applying).toBe("shutting_down");
    const next = changefeedSink(connection);
    const place = await next.open(scope, large.place(0));
    expect(place).toMatchObject({ ...large.place(0), sequence: 1_000 });
    await server.pause();
    server.resume();
    await next.apply(large.batch(scope, 0, large.lastSequence), never);
    expect(await sequences()).toEqual(upTo(large.lastSequence));
    await sink.close();
    await next.close();
  });

  test("steps over what a stranger publishes", async ({ onTestFinished }) => {
    const { connection, feed, scope, sequences } = await setup(onTestFinished);
    const sink = changefeedSink(connection);
    await sink.open(scope, undefined);
    const stranger = async (): Promise<void> =>
      void (await connection.request(changesSubject("eu", scope.shard, "Enqueue", "x"), "{}"));
    await stranger();
    await sink.apply(feed.batch(scope, 0, 20), never);
    await stranger();
    await stranger();
    const next = changefeedSink(connection);
    expect(await next.open(scope, undefined)).toEqual(feed.place(20));
    await next.apply(feed.batch(scope, 20, 30), never);
    const found = (await sequences()).filter((sequence) => sequence !== undefined);
    expect(found).toEqual(upTo(30));
    await sink.close();
    await next.close();
  });

  test("is filled anew from the beginning when it was emptied and the sink is sent there", async ({
    onTestFinished,
  }) => {
    const { connection, feed, scope, stream } = await setup(onTestFinished);
    const sink = changefeedSink(connection);
    await sink.open(scope, undefined);
    await sink.apply(feed.batch(scope, 0, 20), never);
    await api(connection, `STREAM.PURGE.${stream}`, {});
    await sink.seek?.(feed.place(0));
    await sink.apply(feed.batch(scope, 0, 30), never);
    const read = (await readAll(connection, scope)).filter(({ subject }) => !subject.includes("._moved."));
    expect(read.map(({ event }) => event.sequenceNumber)).toEqual(upTo(30));
    await sink.close();
  });
});

describe.skipIf(!nats.available)(`a changefeed sink refuses${note}`, () => {
  test("a stream that cannot hold a changefeed, with all that is wrong", async ({ onTestFinished }) => {
    const { connection, scope, stream } = await setup(onTestFinished);
    const config = {
      name: stream,
      subjects: [changesSubject("eu", scope.shard, "Enqueue", "*")],
      storage: "memory",
      allow_rollup_hdrs: true,
    };
    await api(connection, `STREAM.CREATE.${stream}`, config);
    const error = await changefeedSink(connection)
      .open(scope, undefined)
      .catch((reason: unknown) => reason);
    expect(error).toMatchObject({ code: "sink_stream_config", definite: true });
    const { problems } = (error as OperatingError).details as { problems: string[] };
    expect(problems.map((problem) => problem.split(" ")[0])).toEqual([
      ...["allow_atomic", "storage", "allow_rollup_hdrs", "subjects"],
    ]);
  });

  test("a stream that is missing when it may not make it, and one of another log", async ({ onTestFinished }) => {
    const { connection, feed, scope, stream, sequences } = await setup(onTestFinished);
    const bound = changefeedSink(connection, { provision: false });
    expect(await codeOf(bound.open(scope, undefined))).toBe("stream_missing");
    const maker = changefeedSink(connection);
    await maker.open(scope, undefined);
    await bound.open(scope, undefined);
    await bound.apply(feed.batch(scope, 0, 5), never);
    expect(await codeOf(maker.open({ ...scope, logId: "another" }, undefined))).toBe("sink_foreign_log");
    await api(connection, `STREAM.DELETE.${stream}`, undefined);
    expect(await codeOf(bound.apply(feed.batch(scope, 5, 9), never))).toBe("jetstream_unavailable");
    expect(await codeOf(bound.apply(feed.batch(scope, 5, 9), never))).toBe("stream_missing");
    await maker.open(scope, undefined);
    await bound.apply(feed.batch(scope, 5, 9), never);
    await api(connection, `STREAM.DELETE.${stream}`, undefined);
    expect(await codeOf(maker.apply(feed.batch(scope, 5, 9), never))).toBe("jetstream_unavailable");
    // The one that may makes it anew, with what it has at hand.
    await maker.apply(feed.batch(scope, 5, 9), never);
    expect(await sequences()).toEqual([6, 7, 8, 9]);
    await maker.seek?.(feed.place(0));
    await maker.apply(feed.batch(scope, 0, 12), never);
    expect((await sequences()).filter((sequence) => sequence !== undefined)).toEqual([6, 7, 8, 9, 10, 11, 12]);
    await maker.close();
    await bound.close();
  });

  test("an event above max_payload, by its sequence, and nothing else of the batch is stored", async ({
    onTestFinished,
  }) => {
    const { connection, feed, scope, sequences } = await setup(onTestFinished, { maxPayloadBytes: 8_192 });
    const sink = changefeedSink(connection);
    await sink.open(scope, undefined);
    const batch = feed.batch(scope, 0, 9);
    const events = batch.events.map((event) =>
      event.sequenceNumber === 5 ? { ...event, note: "x".repeat(9_000) } : event,
    );
    await expect(sink.apply({ ...batch, events }, never)).rejects.toMatchObject({
      code: "event_refused",
      details: { sequence: 5 },
    });
    expect(await sequences()).toEqual([]);
    await sink.apply({ ...batch, events: events.filter(({ sequenceNumber }) => sequenceNumber !== 5) }, never);
    expect(await sequences()).toEqual([1, 2, 3, 4, 6, 7, 8, 9]);
    await sink.close();
  });

  test("to go on without the right to publish", async ({ onTestFinished }) => {
    const rights = `{ publish: { deny: ["omnirelay.changes.eu.orders.LeaseGranted.*"] } }`;
    const extraConfig = `accounts { A { jetstream: enabled, users: [{ user: a, password: a, permissions: ${rights} }] } }`;
    const { connection, feed, scope, sequences } = await setup(
      onTestFinished,
      { extraConfig },
      { user: "a", pass: "a" },
    );
    const sink = changefeedSink(connection);
    await sink.open(scope, undefined);
    const first = feed.events.findIndex(({ eventType }) => eventType === "LeaseGranted");
    await sink.apply(feed.batch(scope, 0, first), never);
    await expect(sink.apply(feed.batch(scope, first, 50), never)).rejects.toMatchObject({ code: "nats_denied" });
    expect(await sequences()).toEqual(upTo(first));
    await sink.close();
  });

  test("options that it does not know or that contradict the server's limits", () => {
    const { options } = changefeedKind;
    for (const wrong of [{ replica: 1 }, { replicas: 0 }, { maxAgeMs: 5 }, { maxBytes: 100 }, { provision: "yes" }])
      expect(options.safeParse(wrong).success).toBe(false);
    expect(options.parse({})).toEqual({ provision: true, replicas: 1, maxAgeMs: 604_800_000, maxBytes: 1_073_741_824 });
  });
});

describe.skipIf(!nats.available)(`events are in the stream exactly once${note}`, () => {
  test("when two instances write at once, on connections of their own", async ({ onTestFinished }) => {
    const { connect, feed, scope, sequences } = await setup(onTestFinished);
    const instance = async (): Promise<number> => {
      const sink = changefeedSink(await connect());
      let taken = 0;
      let done = (await sink.open(scope, undefined))?.sequence ?? 0;
      while (done < feed.lastSequence) {
        const to = Math.min(feed.lastSequence, done + 3);
        const code = await codeOf(sink.apply(feed.batch(scope, done, to), never));
        if (code === "") done = to;
        else {
          expect(code).toBe("sink_taken");
          taken += 1;
          done = (await sink.open(scope, undefined))?.sequence ?? 0;
        }
      }
      await sink.close();
      return taken;
    };
    const taken = await Promise.all([instance(), instance()]);
    expect(Math.max(...taken)).toBeGreaterThan(0);
    expect(await sequences()).toEqual(upTo(feed.lastSequence));
  });
});
