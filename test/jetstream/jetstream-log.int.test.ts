/** What the log on JetStream does beyond the conformance suite: servers that stop, refuse and come back, and followers that lose their consumer. */
import type { NatsConnection } from "@nats-io/transport-node";
import { afterEach, describe, expect, test } from "vitest";
import type { AppendOutcome, LogMessage, ReadOutcome } from "../../contracts/ports.ts";
import { logStream, logSubject } from "../../contracts/subjects.ts";
import { connectNats } from "../../services/jetstream/connect.ts";
import { JetStreamLog } from "../../services/jetstream/jetstream-log.ts";
import { failOnLeakedServers, natsAvailability, natsServer, type TestServerOptions } from "../support/nats.ts";
import { skipNote } from "./skip-note.ts";
import { api, createStream } from "./stream-subject.ts";

const nats = await natsAvailability();
const note = skipNote(nats);
afterEach(failOnLeakedServers);

type Cleanup = NonNullable<TestServerOptions["cleanup"]>;

const ADDRESS = { region: "eu", shard: "a" };
const STREAM = logStream(ADDRESS.region, ADDRESS.shard);
const SUBJECT = logSubject(ADDRESS.region, ADDRESS.shard);
const TIMEOUT_MS = 10_000;
const payload = new TextEncoder().encode("frame");

async function setup(cleanup: Cleanup, options: TestServerOptions = {}, login = {}, config: object = {}) {
  const server = await natsServer({ cleanup, ...options });
  const connect = async (): Promise<NatsConnection> => {
    const connection = await connectNats({ servers: server.url, name: "log", ...login });
    cleanup(() => connection.close());
    return connection;
  };
  const admin = await connect();
  const connection = await connect();
  await createStream(admin, ADDRESS, 1, config);
  const log = new JetStreamLog(connection, ADDRESS);
  cleanup(async () => log.close());
  return { server, admin, connection, log };
}

const append = (log: JetStreamLog, expectedLast: number, timeoutMs = TIMEOUT_MS): Promise<AppendOutcome> =>
  new Promise((resolve) => log.append(payload, "chain", expectedLast, timeoutMs, resolve));
const read = (log: JetStreamLog, sequence: number): Promise<ReadOutcome> =>
  new Promise((resolve) => log.read(sequence, TIMEOUT_MS, resolve));

/** Sequences as they come, and who waits for how many. */
function collect(log: JetStreamLog, from: number) {
  const sequences: number[] = [];
  const failures: string[] = [];
  let wake: () => void = () => undefined;
  const subscription = log.follow(from, {
    message: ({ streamSequence }: LogMessage) => {
      sequences.push(streamSequence);
      wake();
    },
    failed: ({ code }) => {
      failures.push(code);
      wake();
    },
  });
  const until = async (condition: () => boolean): Promise<void> => {
    while (!condition()) {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  };
  return { sequences, failures, until, close: () => subscription.close() };
}

const upTo = (last: number): readonly number[] => Array.from({ length: last }, (_, index) => index + 1);

describe.skipIf(!nats.available)(`appends${note}`, () => {
  test("end in a timeout at a frozen server, and its late acknowledgement is counted, not believed", async ({
    onTestFinished,
  }) => {
    const { server, log } = await setup(onTestFinished);
    await server.pause();
    expect(await append(log, 0, 200)).toEqual({ kind: "timeout" });
    const second = append(log, 0, TIMEOUT_MS);
    server.resume();
    expect(await second).toEqual({ kind: "wrong_last", lastSequence: 1 });
    await expect.poll(() => log.counters().lateReplies).toBe(1);
    expect(await read(log, 1)).toMatchObject({ kind: "found", message: { chainHeader: "chain" } });
  });

  test("are unavailable without a stream, with a full one, and above max_payload", async ({ onTestFinished }) => {
    const { admin, log } = await setup(onTestFinished, {}, {}, { max_bytes: 10 });
    expect(await append(log, 0)).toMatchObject({ kind: "unavailable", code: 10_077 });
    const large = new Uint8Array(2 * 1024 * 1024);
    expect(await new Promise((resolve) => log.append(large, "chain", 0, TIMEOUT_MS, resolve))).toMatchObject({
      kind: "unavailable",
      code: 10_054,
    });
    await api(admin, `STREAM.DELETE.${STREAM}`, undefined);
    expect(await append(log, 0)).toMatchObject({ kind: "unavailable", code: 503 });
    expect(await new Promise((resolve) => log.info(TIMEOUT_MS, resolve))).toEqual({ kind: "missing" });
    expect(await read(log, 1)).toMatchObject({ kind: "failed", error: { code: "stream_missing" } });
  });

  test("are unavailable at once without the right to publish", async ({ onTestFinished }) => {
    const rights = `{ publish: { deny: ["${SUBJECT}"] } }`;
    const extraConfig = `accounts { A { jetstream: enabled, users: [{ user: a, password: a, permissions: ${rights} }] } }`;
    const { log } = await setup(onTestFinished, { extraConfig }, { user: "a", pass: "a" });
    expect(await append(log, 0)).toMatchObject({ kind: "unavailable", code: 403 });
  });

  test("are answered when the log is closed under them, and a closed log answers", async ({ onTestFinished }) => {
    const { server, log } = await setup(onTestFinished);
    await server.pause();
    const underWay = append(log, 0);
    log.close();
    expect(await underWay).toEqual({ kind: "disconnected" });
    expect(await append(log, 0)).toEqual({ kind: "disconnected" });
    server.resume();
  });

  test("go on after many restarts, each stored once", async ({ onTestFinished }) => {
    const { server, log } = await setup(onTestFinished);
    const followed = collect(log, 1);
    let last = 0;
    for (let round = 0; round < 4; round += 1) {
      const doomed = append(log, last, 2_000);
      await server.kill();
      const outcome = await doomed;
      await server.restart();
      // The rule of the leader: the same bytes again, until they are there.
      for (let settled = outcome.kind === "acked"; !settled; ) {
        const again = await append(log, last, 2_000);
        settled = again.kind === "acked" || (await read(log, last + 1)).kind === "found";
      }
      last += 1;
    }
    await followed.until(() => followed.sequences.length >= last);
    expect(followed.sequences).toEqual(upTo(last));
    expect(followed.failures).toEqual([]);
  });
});

describe.skipIf(!nats.available)(`followers${note}`, () => {
  test("replace a consumer that was deleted, without a repeat or a hole", async ({ onTestFinished }) => {
    const { admin, log } = await setup(onTestFinished);
    const followed = collect(log, 1);
    await append(log, 0);
    await followed.until(() => followed.sequences.length === 1);
    const { consumers } = await api(admin, `CONSUMER.NAMES.${STREAM}`, undefined);
    for (const name of consumers as readonly string[]) await api(admin, `CONSUMER.DELETE.${STREAM}.${name}`, undefined);
    await append(log, 1);
    await append(log, 2);
    await followed.until(() => followed.sequences.length === 3);
    expect(followed.sequences).toEqual([1, 2, 3]);
    expect(followed.failures).toEqual([]);
  });

  test("are read from the stream's leader while no consumer can be made, holes as jumps", async ({
    onTestFinished,
  }) => {
    const { admin, connection, log } = await setup(onTestFinished, {}, {}, { deny_delete: false });
    let isElecting = true;
    // Without a meta leader nobody answers the question for a consumer; the stream itself goes on.
    const publish: NatsConnection["publish"] = (subject, data, options) => {
      if (!isElecting || !subject.startsWith("$JS.API.CONSUMER.CREATE")) connection.publish(subject, data, options);
    };
    const electing = new Proxy(connection, {
      get: (target, property) => {
        if (property === "publish") return publish;
        const value: unknown = Reflect.get(target, property);
        return typeof value === "function" ? value.bind(target) : value;
      },
    });
    for (const last of [0, 1, 2]) await append(log, last);
    await api(admin, `STREAM.MSG.DELETE.${STREAM}`, { seq: 2 });
    const other = new JetStreamLog(electing, ADDRESS);
    const followed = collect(other, 1);
    await followed.until(() => followed.sequences.length === 2);
    await append(log, 3);
    await followed.until(() => followed.sequences.length === 3);
    isElecting = false;
    for (let consumers = 0; consumers === 0; ) {
      const { total } = await api(admin, `CONSUMER.NAMES.${STREAM}`, undefined);
      consumers = Number(total);
    }
    await append(log, 4);
    await followed.until(() => followed.sequences.length === 4);
    expect(followed.sequences).toEqual([1, 3, 4, 5]);
    expect(followed.failures).toEqual([]);
    other.close();
  });

  test("live through a frozen server", async ({ onTestFinished }) => {
    const { server, log, connection } = await setup(onTestFinished);
    const followed = collect(log, 1);
    await append(log, 0);
    await server.pause();
    // Until the client itself has found the link dead: pings, two of them unanswered.
    for await (const { type } of connection.status()) if (type === "disconnect") break;
    server.resume();
    for (let settled = false; !settled; ) settled = (await append(log, 1, 2_000)).kind === "acked";
    await followed.until(() => followed.sequences.length === 2);
    expect(followed.sequences).toEqual([1, 2]);
  });

  test("fail when the stream is missing or goes, and when the connection is closed", async ({ onTestFinished }) => {
    const { admin, connection, log } = await setup(onTestFinished);
    const live = collect(log, 1);
    await append(log, 0);
    await live.until(() => live.sequences.length === 1);
    await api(admin, `STREAM.DELETE.${STREAM}`, undefined);
    const late = collect(log, 1);
    await late.until(() => late.failures.length > 0);
    await live.until(() => live.failures.length > 0);
    expect([live.failures, late.failures]).toEqual([["stream_missing"], ["stream_missing"]]);
    await createStream(admin, ADDRESS);
    const cut = collect(log, 1);
    await append(log, 0);
    await cut.until(() => cut.sequences.length === 1);
    await connection.close();
    await cut.until(() => cut.failures.length > 0);
    const after = collect(log, 1);
    await after.until(() => after.failures.length > 0);
    expect([cut.failures, after.failures]).toEqual([["nats_closed"], ["nats_closed"]]);
  });

  test("leave no consumer behind when they are closed", async ({ onTestFinished }) => {
    const { admin, connection, log } = await setup(onTestFinished);
    await append(log, 0);
    for (let round = 0; round < 5; round += 1) {
      const followed = collect(log, 1);
      await followed.until(() => followed.sequences.length === 1);
      followed.close();
    }
    await connection.flush();
    await expect.poll(async () => (await api(admin, `CONSUMER.NAMES.${STREAM}`, undefined))["total"]).toBe(0);
  });

  test("catch up with a large history in order while it grows", async ({ onTestFinished }) => {
    const { admin, log } = await setup(onTestFinished, { syncInterval: "2m" });
    const count = 50_000;
    for (let index = 0; index < count / 2; index += 1) admin.publish(SUBJECT, payload);
    await admin.flush();
    const followed = collect(log, 1);
    for (let index = 0; index < count / 2; index += 1) admin.publish(SUBJECT, payload);
    await admin.flush();
    await followed.until(() => followed.sequences.length >= count);
    expect(followed.sequences).toEqual(upTo(count));
  });
});
