/** `changes()` over a real changefeed: where it begins, what it leaves out, how it goes on, and what it refuses. */
import type { NatsConnection } from "@nats-io/transport-node";
import { afterAll, afterEach, describe, expect, test } from "vitest";
import { OperatingError } from "../../contracts/errors.ts";
import { CHECKPOINT_BUCKET, changesStream, changesSubject, positionKey } from "../../contracts/subjects.ts";
import type { NatsServer } from "../../infra/nats-server/embedded.ts";
import {
  type Changes,
  type ChangesOptions,
  changes,
  LeaseClient,
  type ReplicationEvent,
} from "../../services/client/mod.ts";
import { connectNats } from "../../services/jetstream/connect.ts";
import { headerBlock } from "../../services/jetstream/header-block.ts";
import { Inbox } from "../../services/jetstream/inbox.ts";
import { ensureBucket, NatsKv } from "../../services/jetstream/nats-kv.ts";
import type { Sink, SinkScope } from "../../services/replication/sink.ts";
import { EventFeed } from "../../services/testing/mod.ts";
import { skipNote } from "../jetstream/skip-note.ts";
import { api, freshShard } from "../jetstream/stream-subject.ts";
import { changefeedSink } from "../replication/changefeed-bed.ts";
import {
  failOnLeakedServers,
  failOnLeakedSuiteServers,
  natsAvailability,
  natsServer,
  type TestServerOptions,
} from "../support/nats.ts";

const nats = await natsAvailability();
const note = skipNote(nats);
afterAll(failOnLeakedSuiteServers);
afterEach(failOnLeakedServers);

type Cleanup = NonNullable<TestServerOptions["cleanup"]>;
const SEED = 7;
const LAST = new EventFeed({ seed: SEED, count: 60 }).lastSequence;
const never = new AbortController().signal;

/** For all tests that leave it running: a shard of its own is enough. */
let shared: Promise<NatsServer> | undefined;
afterAll(async () => (await shared)?.[Symbol.asyncDispose]());
function sharedServer(): Promise<NatsServer> {
  shared ??= natsServer({ scope: "suite" });
  return shared;
}

interface World {
  readonly feed: EventFeed;
  readonly scope: SinkScope;
  readonly stream: string;
  readonly server: NatsServer;
  readonly connection: NatsConnection;
  readonly sink: Sink;
  /** Brings the events behind one sequence up to another. */
  write(after: number, upTo: number): Promise<void>;
  subscribe(options?: Partial<ChangesOptions>): Changes;
}

async function setup(cleanup: Cleanup, own?: Promise<NatsServer>): Promise<World> {
  const server = await (own ?? sharedServer());
  const feed = new EventFeed({ seed: SEED, count: 60, shard: freshShard() });
  const scope = feed.scope("changefeed");
  const connection = await connectNats({ servers: server.url, name: "changes" });
  cleanup(() => connection.close());
  const inbox = new Inbox(connection);
  await ensureBucket(inbox, { bucket: CHECKPOINT_BUCKET, description: "", replicas: 1 });
  inbox.close();
  const sink = changefeedSink(connection);
  await sink.open(scope, undefined);
  return {
    ...{ feed, scope, stream: changesStream(scope.region, scope.shard) },
    server,
    connection,
    sink,
    write: (after, upTo) => sink.apply(feed.batch(scope, after, upTo), never),
    subscribe: (options = {}) => {
      const subscribed = changes(connection, { shard: scope.shard, ...options });
      cleanup(() => subscribed.close());
      return subscribed;
    },
  };
}

/** The next events, without leaving the iteration. */
async function take(from: Changes, count: number): Promise<ReplicationEvent[]> {
  const iterator = from[Symbol.asyncIterator]();
  const taken: ReplicationEvent[] = [];
  while (taken.length < count) {
    const { done, value } = await iterator.next();
    if (done === true) break;
    taken.push(value);
  }
  return taken;
}
const sequencesOf = (events: readonly ReplicationEvent[]): readonly number[] =>
  events.map(({ sequenceNumber }) => sequenceNumber);
const range = (first: number, last: number): readonly number[] =>
  Array.from({ length: last - first + 1 }, (_, index) => first + index);
const errorOf = async (attempt: Promise<unknown>): Promise<OperatingError> => {
  const error: unknown = await attempt.then(
    () => new Error("it succeeded"),
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(OperatingError);
  return error as OperatingError;
};

describe.skipIf(!nats.available)(`changes() begins${note}`, () => {
  test("at the beginning, now, at a sequence or at a time, and goes on with what comes", async ({ onTestFinished }) => {
    const { write, subscribe, feed } = await setup(onTestFinished);
    await write(0, 30);
    const all = subscribe();
    expect((await take(all, 30)) as unknown[]).toEqual(feed.events.slice(0, 30));
    const now = subscribe({ from: "now" });
    await now.ready();
    const time = feed.events[20]?.timestamp ?? "";
    const first = feed.events.findIndex(({ timestamp }) => timestamp === time) + 1;
    for (const from of [{ time }, { time: new Date(time) }, { time: Date.parse(time) }, { sequence: first }])
      expect(sequencesOf(await take(subscribe({ from }), 31 - first))).toEqual(range(first, 30));
    const ahead = subscribe({ from: { sequence: 45 } });
    await ahead.ready();
    await write(30, 50);
    expect(sequencesOf(await take(all, 20))).toEqual(range(31, 50));
    expect(sequencesOf(await take(now, 20))).toEqual(range(31, 50));
    expect(sequencesOf(await take(ahead, 6))).toEqual(range(45, 50));
  });

  test("behind the position of its name, which moves when the next event is asked for", async ({ onTestFinished }) => {
    const { write, subscribe, connection, feed, scope } = await setup(onTestFinished);
    await write(0, 30);
    const first = subscribe({ name: "audit", from: { sequence: 5 } });
    expect(sequencesOf(await take(first, 6))).toEqual(range(5, 10));
    await first.close();
    // The last was handed out and never acknowledged.
    const second = subscribe({ name: "audit" });
    expect(sequencesOf(await take(second, 3))).toEqual(range(10, 12));
    await second.commit();
    await second.close();
    expect(await errorOf(second.commit())).toMatchObject({ code: "closed" });
    const third = subscribe({ name: "audit", from: "now" });
    expect(sequencesOf(await take(third, 1))).toEqual([13]);
    const kv = new NatsKv(connection, CHECKPOINT_BUCKET);
    const entry = await new Promise((resolve) => kv.get(positionKey("audit", scope.region, scope.shard), resolve));
    expect(JSON.parse(Buffer.from((entry as { value: { value: Uint8Array } }).value.value).toString())).toMatchObject({
      ...{ logId: feed.logId, sequence: 12, streamSequence: 12 },
    });
    kv.close();
  });

  test("at its position by sequence, where the stream was made anew", async ({ onTestFinished }) => {
    const { write, subscribe, connection, sink, scope, stream } = await setup(onTestFinished);
    await write(0, 30);
    const first = subscribe({ name: "audit" });
    await take(first, 20);
    await first.commit();
    await first.close();
    await api(connection, `STREAM.DELETE.${stream}`, undefined);
    await sink.open(scope, undefined);
    await write(10, LAST);
    expect(sequencesOf(await take(subscribe({ name: "audit" }), LAST - 20))).toEqual(range(21, LAST));
  });

  test("where it was first asked for, be it that nothing came before it ended", async ({ onTestFinished }) => {
    const { write, subscribe } = await setup(onTestFinished);
    await write(0, 10);
    const first = subscribe({ name: "audit", from: "now" });
    await first.ready();
    await first.close();
    await write(10, 20);
    expect(sequencesOf(await take(subscribe({ name: "audit", from: "now" }), 10))).toEqual(range(11, 20));
  });
});

describe.skipIf(!nats.available)(`changes() leaves out${note}`, () => {
  test("what its filter does not name, and compares what shares a token", async ({ onTestFinished }) => {
    const { subscribe, sink, feed, scope } = await setup(onTestFinished);
    const renamed = feed.events.map((event) =>
      event.resourceType === undefined || event.sequenceNumber % 2 === 0
        ? event
        : { ...event, resourceType: "table one" },
    );
    const others = renamed.map((event) =>
      event.resourceType === undefined || event.sequenceNumber % 3 !== 0
        ? event
        : { ...event, resourceType: "table.one" },
    );
    await sink.apply({ ...feed.batch(scope, 0, LAST), events: others }, never);
    const wanted = others.filter(
      ({ eventType, resourceType }) =>
        (eventType === "Enqueue" || eventType === "Completed") &&
        (resourceType === "table one" || resourceType === "table"),
    );
    const filter = { eventTypes: ["Enqueue", "Completed"], resourceTypes: ["table one", "table"] } as const;
    expect(wanted.length).toBeGreaterThan(5);
    expect((await take(subscribe({ filter }), wanted.length)) as unknown[]).toEqual(wanted);
    const rest = others.filter(({ resourceType }) => resourceType === "table.one");
    expect((await take(subscribe({ filter: { resourceTypes: ["table.one"] } }), rest.length)) as unknown[]).toEqual(
      rest,
    );
  });

  test("messages of strangers, and what it has handed out before", async ({ onTestFinished }) => {
    const { write, subscribe, connection, feed, scope } = await setup(onTestFinished);
    const publish = (text: string): Promise<unknown> =>
      connection.request(changesSubject("eu", scope.shard, "Enqueue", "x"), text);
    await publish("no event");
    await write(0, 10);
    await publish("{}");
    const subscribed = subscribe();
    expect(sequencesOf(await take(subscribed, 10))).toEqual(range(1, 10));
    // A copy of the past, with the headers of an event.
    const headers = headerBlock([{ name: "Omnirelay-Chain", value: "x" }]);
    await connection.request(changesSubject("eu", scope.shard, "Enqueue", "x"), JSON.stringify(feed.events[3]), {
      headers,
      timeout: 1_000,
    });
    await write(10, 12);
    expect(sequencesOf(await take(subscribed, 2))).toEqual([11, 12]);
  });
});

describe.skipIf(!nats.available)(`changes() ends${note}`, () => {
  test("with what is wrong when there is no changefeed, or its beginning is kept no more", async ({
    onTestFinished,
  }) => {
    const { write, subscribe, connection, feed, stream } = await setup(onTestFinished);
    const lost = await errorOf(take(subscribe({ shard: "other" }), 1));
    expect(lost).toMatchObject({ code: "stream_missing", definite: true });
    await write(0, 30);
    const held = subscribe({ name: "late" });
    await take(held, 5);
    await held.close();
    await api(connection, `STREAM.PURGE.${stream}`, { seq: 11 });
    const details = { firstAvailable: 11 };
    for (const from of [{ sequence: 10 }, { time: feed.events[3]?.timestamp ?? "" }])
      expect(await errorOf(take(subscribe({ from }), 1))).toMatchObject({ code: "changes_trimmed", details });
    expect(await errorOf(subscribe({ name: "late" }).ready())).toMatchObject({ code: "changes_trimmed", details });
    expect(sequencesOf(await take(subscribe({ from: { sequence: 11 } }), 1))).toEqual([11]);
    expect(sequencesOf(await take(subscribe(), 1))).toEqual([11]);
  });

  test.each([undefined, { eventTypes: ["Enqueue" as const] }])(
    "when what comes next is removed while it waits, with the filter %j",
    async (filter) => {
      const cleanups: (() => Promise<void>)[] = [];
      try {
        const { write, subscribe, connection, stream } = await setup((dispose) => void cleanups.unshift(dispose));
        await write(0, 10);
        const subscribed = subscribe({ from: "now", ...(filter === undefined ? {} : { filter }) });
        await subscribed.ready();
        await write(10, 30);
        await api(connection, `STREAM.PURGE.${stream}`, { seq: 21 });
        expect(await errorOf(take(subscribed, 30))).toMatchObject({
          code: "changes_trimmed",
          details: { firstAvailable: 21 },
        });
      } finally {
        for (const dispose of cleanups) await dispose();
      }
    },
  );

  test("at an event of a newer release, and names the upgrade", async ({ onTestFinished }) => {
    const { write, subscribe, sink, feed, scope } = await setup(onTestFinished);
    await write(0, 3);
    const batch = feed.batch(scope, 3, 4);
    const events = batch.events.map((event) => ({ ...event, schemaVersion: 9 }) as unknown as ReplicationEvent);
    await sink.apply({ ...batch, events }, never);
    const subscribed = subscribe();
    expect(sequencesOf(await take(subscribed, 3))).toEqual([1, 2, 3]);
    const error = await errorOf(take(subscribed, 1));
    expect(error).toMatchObject({ code: "version_unknown", details: { schemaVersion: 9, newest: 1 } });
    expect(error.message).toContain("upgrade omnirelay");
  });

  test("for the older of two subscriptions of one name", async ({ onTestFinished }) => {
    const { write, subscribe } = await setup(onTestFinished);
    await write(0, 20);
    const older = subscribe({ name: "audit", commitIntervalMs: 1 });
    await take(older, 2);
    const newer = subscribe({ name: "audit" });
    expect((await take(newer, 1)).length).toBe(1);
    expect(await errorOf(take(older, 100))).toMatchObject({ code: "changes_taken" });
    expect(await errorOf(older.commit())).toMatchObject({ code: "changes_taken" });
    expect(sequencesOf(await take(newer, 3))).toHaveLength(3);
  });

  test("by its signal, by close and with a loop that is left", async ({ onTestFinished }) => {
    const { write, subscribe } = await setup(onTestFinished);
    await write(0, 5);
    const controller = new AbortController();
    const aborted = subscribe({ signal: controller.signal });
    await take(aborted, 5);
    const waiting = take(aborted, 1);
    controller.abort(new Error("enough"));
    await expect(waiting).rejects.toThrow("enough");
    expect(aborted.isClosed).toBe(true);
    const closed = subscribe();
    await take(closed, 5);
    const last = take(closed, 1);
    await closed.close();
    expect(await last).toEqual([]);
    const left = subscribe();
    for await (const event of left) if (event.sequenceNumber === 2) break;
    expect(left.isClosed).toBe(true);
    expect(() => subscribe({ from: { sequence: 0 } })).toThrow(OperatingError);
    expect(() => subscribe({ filter: { eventTypes: [] } })).toThrow(OperatingError);
  });
});

describe.skipIf(!nats.available)(`a client${note}`, () => {
  test("has the changes of its shard, and ends them when it is closed", async ({ onTestFinished }) => {
    const { write, connection, scope } = await setup(onTestFinished);
    await write(0, 5);
    const client = await LeaseClient.connect({ connection, shard: scope.shard });
    const left = client.changes();
    for await (const event of left) if (event.sequenceNumber === 3) break;
    const subscribed = client.changes({ from: { sequence: 2 }, region: "eu" });
    expect(sequencesOf(await take(subscribed, 4))).toEqual(range(2, 5));
    const waiting = take(subscribed, 1);
    await client.close();
    expect(await waiting).toEqual([]);
    expect(() => client.changes()).toThrow(OperatingError);
  });
});

describe.skipIf(!nats.available)(`changes() outlives${note}`, () => {
  test("restarts of the server, without loss and without a repeat", async ({ onTestFinished }) => {
    const { write, subscribe, server, feed } = await setup(onTestFinished, natsServer({ cleanup: onTestFinished }));
    const subscribed = subscribe({ name: "audit", commitIntervalMs: 1 });
    const filtered = subscribe({ filter: { eventTypes: ["Enqueue", "Completed"] } });
    const insist = async (step: () => Promise<void>): Promise<void> => {
      for (let isDone = false; !isDone; )
        isDone = await step().then(
          () => true,
          async () => new Promise((resolve) => setImmediate(() => resolve(false))),
        );
    };
    let done = 0;
    for (const upTo of [25, LAST]) {
      await insist(() => write(done, upTo));
      const half = Math.ceil((upTo - done) / 2);
      expect(sequencesOf(await take(subscribed, half))).toEqual(range(done + 1, done + half));
      await server.kill();
      await server.restart();
      expect(sequencesOf(await take(subscribed, upTo - done - half))).toEqual(range(done + half + 1, upTo));
      done = upTo;
    }
    const wanted = feed.events.filter(({ eventType }) => eventType === "Enqueue" || eventType === "Completed");
    expect((await take(filtered, wanted.length)) as unknown[]).toEqual(wanted);
    await subscribed.commit();
  });
});
