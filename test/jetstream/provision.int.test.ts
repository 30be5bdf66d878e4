/** Provisioning against a real server: races, deaths in between, and every way in which a log can be the wrong one. */
import type { NatsConnection } from "@nats-io/transport-node";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { OperatingError } from "../../contracts/errors.ts";
import type { KvOutcome } from "../../contracts/ports.ts";
import { logStream, logSubject, REGISTRY_BUCKET, registryKey } from "../../contracts/subjects.ts";
import type { NatsServer } from "../../infra/nats-server/embedded.ts";
import { connectNats } from "../../services/jetstream/connect.ts";
import { Inbox } from "../../services/jetstream/inbox.ts";
import { ensureBucket, NatsKv } from "../../services/jetstream/nats-kv.ts";
import { type ProvisionRequest, provisionShard, verifyShard } from "../../services/jetstream/provision.ts";
import { encodeEntry, type RegistryEntry, readEntry } from "../../services/jetstream/registry.ts";
import { decodeFrame } from "../../services/runtime/frame-codec.ts";
import { failOnLeakedSuiteServers, natsAvailability, natsServer } from "../support/nats.ts";
import { skipNote } from "./skip-note.ts";
import { api, createStream, freshShard } from "./stream-subject.ts";

const nats = await natsAvailability();
const note = skipNote(nats);
const REGION = "eu";

/** Writes an entry over the given revision, as whoever has the right may. */
function writeEntry(bucket: NatsKv, entry: RegistryEntry, revision: number): Promise<KvOutcome<number>> {
  const key = registryKey(entry.region, entry.shard);
  return new Promise((resolve) => bucket.put(key, encodeEntry(entry), revision, resolve));
}

let server: NatsServer;
let connection: NatsConnection;
let kv: NatsKv;
let logIds = 0;
const others: NatsConnection[] = [];

const requestFor = (shard: string, over: Partial<ProvisionRequest> = {}): ProvisionRequest => ({
  region: REGION,
  shard,
  replicas: 1,
  maxBytes: 1_000_000,
  options: {},
  writer: "dispatcher--a",
  newLogId: () => {
    logIds += 1;
    return `log-${logIds}`;
  },
  patienceMs: 0,
  ...over,
});

async function another(): Promise<NatsConnection> {
  const opened = await connectNats({ servers: server.url, name: "other" });
  others.push(opened);
  return opened;
}

/** More than the messages that one provisioning sends. */
const STEPS = 12;

/** A connection that closes at its n-th publish, which is still sent or not. */
function dyingAt(target: NatsConnection, step: number, last: "sent" | "unsent"): NatsConnection {
  let count = 0;
  const publish: NatsConnection["publish"] = (subject, payload, options) => {
    count += 1;
    if (count < step || (count === step && last === "sent")) target.publish(subject, payload, options);
    if (count === step) void (last === "sent" ? target.drain() : target.close());
  };
  return new Proxy(target, {
    get: (_, property) => {
      if (property === "publish") return publish;
      const value: unknown = Reflect.get(target, property);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

async function failureOf(promise: Promise<unknown>): Promise<OperatingError> {
  const error: unknown = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (error instanceof OperatingError) return error;
  throw new Error(`expected an operating error, got ${String(error)}`);
}

async function firstMessage(shard: string): Promise<ReturnType<typeof decodeFrame>> {
  const answer = await api(connection, `STREAM.MSG.GET.${logStream(REGION, shard)}`, { seq: 1 });
  const { data } = answer["message"] as { data: string };
  return decodeFrame(Buffer.from(data, "base64"));
}

describe.skipIf(!nats.available)(`provisioning${note}`, () => {
  beforeAll(async () => {
    server = await natsServer({ scope: "suite" });
    connection = await connectNats({ servers: server.url, name: "provision" });
    kv = new NatsKv(connection, REGISTRY_BUCKET);
  });
  afterEach(async () => {
    await Promise.all(others.splice(0).map((each) => each.close()));
  });
  afterAll(failOnLeakedSuiteServers);
  afterAll(async () => {
    kv.close();
    await connection.close();
    await server[Symbol.asyncDispose]();
  });

  test("refuses a shard that nobody provisioned, also before there is a registry", async () => {
    const error = await failureOf(verifyShard(connection, { region: REGION, shard: freshShard() }));
    expect(error.code).toBe("log_not_provisioned");
    expect(error.definite).toBe(true);
    expect(error.message).toContain("--provision");
  });

  test("creates stream, first frame and registry entry, once", async () => {
    const shard = freshShard();
    const created = await provisionShard(connection, requestFor(shard, { options: { maxAttempts: 9 }, at: 1_234 }));
    expect(created.created).toBe(true);
    expect(created.differences).toEqual([]);
    expect(created.findings).toEqual([]);
    expect(created.info).toMatchObject({ firstSequence: 1, lastSequence: 1, messages: 1, bytesMax: 1_000_000 });
    const first = await firstMessage(shard);
    expect(first).toMatchObject({
      kind: "frame",
      frame: { logId: created.logId, term: 0, first: 1, count: 1, at: 1_234, prev: "", writer: "dispatcher--a" },
    });
    expect(first.kind === "frame" && first.frame.events[0]).toMatchObject({
      type: "logCreated",
      logId: created.logId,
      options: { maxAttempts: 9, exclusivity: "none" },
    });
    expect((await readEntry(kv, REGION, shard))?.entry).toEqual({
      logId: created.logId,
      region: REGION,
      shard,
      createdAt: 1_234,
    });
    const again = await provisionShard(connection, requestFor(shard));
    expect(again).toMatchObject({ created: false, logId: created.logId, info: { messages: 1 } });
    expect(await verifyShard(connection, { region: REGION, shard })).toMatchObject({
      created: false,
      logId: created.logId,
      differences: [],
      entry: { logId: created.logId },
    });
  });

  test("ends with one log when many provision at once", async () => {
    const shard = freshShard();
    const connections = await Promise.all(Array.from({ length: 8 }, another));
    const results = await Promise.all(connections.map((each) => provisionShard(each, requestFor(shard))));
    expect(results.filter(({ created }) => created)).toHaveLength(1);
    expect(new Set(results.map(({ logId }) => logId)).size).toBe(1);
    expect(results[0]?.info.messages).toBe(1);
  });

  test.each(["unsent", "sent"] as const)(
    "ends with one log when a provisioner dies at any step, its last message %s",
    async (last) => {
      const stepsWithoutLog: number[] = [];
      for (let step = 1; step <= STEPS; step += 1) {
        const shard = freshShard();
        const dying = dyingAt(await another(), step, last);
        const first = await provisionShard(dying, requestFor(shard)).catch(() => undefined);
        const settled = await provisionShard(connection, requestFor(shard));
        if (first !== undefined) expect(settled).toMatchObject({ created: false, logId: first.logId });
        if (settled.created) stepsWithoutLog.push(step);
        const verified = await verifyShard(connection, { region: REGION, shard });
        expect(verified).toMatchObject({
          logId: settled.logId,
          info: { messages: 1 },
          entry: { logId: settled.logId },
        });
      }
      // Both kinds of steps were met: before the first frame and behind it.
      expect(stepsWithoutLog.length).toBeGreaterThan(2);
      expect(stepsWithoutLog.length).toBeLessThan(STEPS - 2);
    },
  );

  test("finishes what another one began: an empty stream, and a log without a registry entry", async () => {
    const empty = freshShard();
    await createStream(connection, { region: REGION, shard: empty });
    expect((await failureOf(verifyShard(connection, { region: REGION, shard: empty }))).code).toBe(
      "log_not_provisioned",
    );
    expect((await provisionShard(connection, requestFor(empty, { maxBytes: -1 }))).created).toBe(true);

    const unregistered = freshShard();
    const { logId } = await provisionShard(connection, requestFor(unregistered));
    await api(connection, `STREAM.PURGE.KV_${REGISTRY_BUCKET}`, {
      filter: `$KV.${REGISTRY_BUCKET}.${registryKey(REGION, unregistered)}`,
    });
    expect(await verifyShard(connection, { region: REGION, shard: unregistered })).toMatchObject({
      logId,
      entry: undefined,
      differences: [{ where: "registry", name: "entry" }],
    });
    expect(await provisionShard(connection, requestFor(unregistered))).toMatchObject({
      created: false,
      logId,
      entry: { logId },
    });
  });

  test("steps over a stranger's messages before the first frame", async () => {
    const shard = freshShard();
    await createStream(connection, { region: REGION, shard });
    await connection.request(logSubject(REGION, shard), "noise");
    const result = await provisionShard(connection, requestFor(shard));
    expect(result).toMatchObject({ created: true, origin: { streamSequence: 2 } });
    expect(await verifyShard(connection, { region: REGION, shard })).toMatchObject({ origin: { streamSequence: 2 } });
  });

  test("halts when the registry knows a log whose stream is missing, empty or another one", async () => {
    const shard = freshShard();
    await provisionShard(connection, requestFor(shard));
    const both = async (): Promise<readonly OperatingError[]> => [
      await failureOf(provisionShard(connection, requestFor(shard))),
      await failureOf(verifyShard(connection, { region: REGION, shard })),
    ];
    await api(connection, `STREAM.DELETE.${logStream(REGION, shard)}`, undefined);
    for (const error of await both()) {
      expect([error.code, error.definite]).toEqual(["log_identity", true]);
      expect(error.message).toContain("the stream is missing");
      expect(error.message).toContain("restore the stream from a backup");
    }
    await createStream(connection, { region: REGION, shard });
    for (const error of await both()) expect(error.message).toContain("holds no frame");
    await connection.request(logSubject(REGION, shard), "noise");
    for (const error of await both()) expect(error.message).toContain("holds no frame");
    await api(connection, `STREAM.DELETE.${logStream(REGION, shard)}`, undefined);
    const record = await readEntry(kv, REGION, shard);
    const entry: RegistryEntry = { logId: "forgotten", region: REGION, shard, createdAt: 1 };
    const other = freshShard();
    await provisionShard(connection, requestFor(other));
    await writeEntry(kv, { ...entry, shard: other }, (await readEntry(kv, REGION, other))?.revision ?? 0);
    const error = await failureOf(provisionShard(connection, requestFor(other)));
    expect(error.code).toBe("log_identity");
    expect(error.message).toContain("the registry knows log forgotten");
    expect(record?.entry.shard).toBe(shard);
  });

  test("creates nothing in the place of a log that the caller remembers, and registers the one that comes back", async () => {
    const shard = freshShard();
    const { origin } = await provisionShard(connection, requestFor(shard));
    await api(connection, `STREAM.PURGE.KV_${REGISTRY_BUCKET}`, {
      filter: `$KV.${REGISTRY_BUCKET}.${registryKey(REGION, shard)}`,
    });
    const again = { ...requestFor(shard), remembered: origin.logId };
    expect(await provisionShard(connection, again)).toMatchObject({ created: false, entry: { logId: origin.logId } });
    const lost = freshShard();
    const error = await failureOf(provisionShard(connection, { ...requestFor(lost), remembered: "log-old" }));
    expect([error.code, error.definite]).toEqual(["log_identity", true]);
    expect(error.message).toContain("the stream is missing, but the data folder knows log log-old");
    expect(await failureOf(verifyShard(connection, { region: REGION, shard: lost }))).toMatchObject({
      code: "log_not_provisioned",
    });
  });

  test("halts at a stream that was emptied or does not begin with a creation", async () => {
    const emptied = freshShard();
    await createStream(connection, { region: REGION, shard: emptied });
    await connection.request(logSubject(REGION, emptied), "x");
    await api(connection, `STREAM.PURGE.${logStream(REGION, emptied)}`, undefined);
    expect((await failureOf(provisionShard(connection, requestFor(emptied)))).message).toContain("has been emptied");

    const source = freshShard();
    await provisionShard(connection, requestFor(source));
    const first = await firstMessage(source);
    if (first.kind !== "frame") throw new Error("the first message must be a frame");
    const odd = freshShard();
    await createStream(connection, { region: REGION, shard: odd });
    const frame = { ...first.frame, shard: odd, term: 1, count: 0, events: [] };
    await connection.request(logSubject(REGION, odd), JSON.stringify(frame));
    const error = await failureOf(provisionShard(connection, requestFor(odd)));
    expect(error.code).toBe("log_identity");
    expect(error.message).toContain("does not create a log");
  });

  test("reports what differs and leaves it as it is", async () => {
    const shard = freshShard();
    await provisionShard(connection, requestFor(shard, { options: { maxAttempts: 3 } }));
    const { differences } = await provisionShard(
      connection,
      requestFor(shard, { maxBytes: 5, options: { maxAttempts: 4, exclusivity: "none" } }),
    );
    expect(differences).toEqual([
      { where: "stream", name: "max_bytes", wanted: 5, found: 1_000_000 },
      { where: "options", name: "maxAttempts", wanted: 4, found: 3 },
    ]);
    expect((await verifyShard(connection, { region: REGION, shard })).info.bytesMax).toBe(1_000_000);
  });

  test("finds a stream whose configuration would break the log", async () => {
    const shard = freshShard();
    await createStream(connection, { region: REGION, shard }, 1, {
      discard: "old",
      max_age: 3_600_000_000_000,
      allow_rollup_hdrs: true,
      deny_delete: false,
      subjects: [logSubject(REGION, shard), `more.${shard}`],
    });
    const { findings } = await provisionShard(connection, requestFor(shard));
    expect(findings.map(({ code, severity }) => [code, severity])).toEqual([
      ["stream_discard", "refuse"],
      ["stream_expiry", "refuse"],
      ["stream_rewrites", "refuse"],
      ["stream_deletes", "warn"],
      ["stream_subjects", "refuse"],
    ]);
  });

  test("refuses options that contradict each other before it touches anything", async () => {
    const shard = freshShard();
    const request = requestFor(shard, { options: { leaseDurationMsDefault: 2_000, leaseDurationMsMax: 1_000 } });
    const error = await failureOf(provisionShard(connection, request));
    expect(error.code).toBe("invalid_options");
    expect((await failureOf(verifyShard(connection, { region: REGION, shard }))).code).toBe("log_not_provisioned");
  });

  test("refuses a registry entry that cannot be read instead of guessing", async () => {
    const shard = freshShard();
    const inbox = new Inbox(connection);
    await ensureBucket(inbox, { bucket: REGISTRY_BUCKET, description: "", replicas: 1 });
    inbox.close();
    await connection.request(`$KV.${REGISTRY_BUCKET}.${registryKey(REGION, shard)}`, "{}");
    expect((await failureOf(provisionShard(connection, requestFor(shard)))).code).toBe("registry_entry");
  });

  test("keeps fields of the registry entry that it does not know", async () => {
    const shard = freshShard();
    const { entry } = await provisionShard(connection, requestFor(shard));
    if (entry === undefined) throw new Error("provisioning must answer the entry");
    await writeEntry(
      kv,
      { ...entry, term: 3, leader: "d--1", future: true },
      (await readEntry(kv, REGION, shard))?.revision ?? 0,
    );
    expect((await provisionShard(connection, requestFor(shard))).entry).toMatchObject({ term: 3, future: true });
  });

  test("waits for a server that is just restarting", async () => {
    const shard = freshShard();
    await server.kill();
    const provisioning = provisionShard(connection, requestFor(shard, { patienceMs: 20_000 }));
    await server.restart();
    expect((await provisioning).created).toBe(true);
  });
});
