/** Snapshots in the object store of a real server: the suite, its bucket, and what a server refuses. */
import { createHash } from "node:crypto";
import type { NatsConnection } from "@nats-io/transport-node";
import { afterEach, describe, expect, test } from "vitest";
import { askApiAsync, asRecord } from "../../services/jetstream/api.ts";
import { connectNats } from "../../services/jetstream/connect.ts";
import { Inbox } from "../../services/jetstream/inbox.ts";
import {
  SNAPSHOT_BUCKET,
  SnapshotBucket,
  type SnapshotBucketOptions,
} from "../../services/jetstream/object-snapshots.ts";
import {
  copySnapshot,
  ObjectSnapshotStore,
  type SnapshotInfo,
  SnapshotThread,
} from "../../services/persistence/mod.ts";
import { temporaryFolder } from "../persistence/snapshot-subjects.ts";
import {
  type Cleanup,
  codeOf,
  type Damage,
  label,
  lines,
  list,
  MIB,
  put,
  type SnapshotSubject,
  snapshotSuite,
  textOf,
  writeAll,
} from "../persistence/snapshot-suite.ts";
import { cluster, failOnLeakedServers, natsAvailability, natsServer } from "../support/nats.ts";
import { startProcess } from "../support/process.ts";
import { skipNote } from "./skip-note.ts";
import { api } from "./stream-subject.ts";

const nats = await natsAvailability();
const note = skipNote(nats);
afterEach(failOnLeakedServers);

const STREAM = `OBJ_${SNAPSHOT_BUCKET}`;
const PIECES = `$O.${SNAPSHOT_BUCKET}.C`;
const META = `$O.${SNAPSHOT_BUCKET}.M`;
const HEAD_BYTES = 40;

async function connected(cleanup: Cleanup, url: string, more: object = {}): Promise<NatsConnection> {
  const connection = await connectNats({ servers: url, name: "snapshots", ...more });
  cleanup(() => connection.close());
  return connection;
}

async function open(cleanup: Cleanup, connection: NatsConnection, options: Partial<SnapshotBucketOptions> = {}) {
  const bucket = await SnapshotBucket.open(connection, { replicas: 1, ...options });
  const store = new ObjectSnapshotStore(bucket);
  cleanup(() => store.close());
  return { store, bucket };
}

/** Subjects of the stream under a filter, with how many messages each has. */
async function subjects(connection: NatsConnection, filter: string): Promise<[string, number][]> {
  const info = await api(connection, `STREAM.INFO.${STREAM}`, { subjects_filter: filter });
  return Object.entries(asRecord(asRecord(info["state"])["subjects"])) as [string, number][];
}

/** The object's bytes, taken apart into chunks with their heads. */
async function framesOf(bucket: SnapshotBucket, id: string): Promise<Buffer[]> {
  const pieces: Uint8Array[] = [];
  for await (const piece of bucket.read({ id })) pieces.push(piece);
  const bytes = Buffer.concat(pieces);
  const frames: Buffer[] = [];
  for (let at = 0; at < bytes.length; ) {
    const end = at + HEAD_BYTES + bytes.readUInt32BE(at);
    frames.push(bytes.subarray(at, end));
    at = end;
  }
  return frames;
}

const BREAK: Readonly<Record<Damage, (frames: Buffer[]) => Buffer[]>> = {
  "truncated chunk": (frames) => frames.map((frame, index) => (index === 1 ? frame.subarray(0, -9) : frame)),
  "flipped byte": (frames) => {
    const frame = frames[1];
    if (frame !== undefined) frame[frame.length >> 1] = (frame[frame.length >> 1] ?? 0) ^ 1;
    return frames;
  },
  "missing chunk": (frames) => frames.filter((_, index) => index !== 1),
  "missing last chunk": (frames) => frames.slice(0, -1),
  "swapped chunks": ([first, second, third, ...rest]) => [first, third, second, ...rest].filter((f) => f !== undefined),
};

async function subject(cleanup: Cleanup): Promise<SnapshotSubject> {
  const server = await natsServer({ cleanup });
  const connection = await connected(cleanup, server.url);
  const { store, bucket } = await open(cleanup, connection);
  return {
    store,
    damage: async (info, damage) => {
      const frames = BREAK[damage](await framesOf(bucket, info.id));
      await api(connection, `STREAM.PURGE.${STREAM}`, { filter: `${PIECES}.${info.id}` });
      for (const frame of frames) await connection.request(`${PIECES}.${info.id}`, frame);
    },
    relabel: async (info: SnapshotInfo, text: string) => {
      const name = `eu/main/${String(info.label.sequence).padStart(20, "0")}`;
      const [one] = (await bucket.list(name)).filter((object) => object.id === info.id);
      const metadata = { ...one?.metadata, "omnirelay-label": text };
      const object = { name, id: info.id, bytes: info.bytes, metadata };
      await connection.request(bucket.metaSubject(name), bucket.meta(object, 1, ""));
    },
    storedChunks: async () => (await subjects(connection, `${PIECES}.>`)).reduce((sum, [, count]) => sum + count, 0),
  };
}

describe.skipIf(!nats.available)(`ObjectSnapshotStore on JetStream${note}`, () => {
  snapshotSuite(subject);

  test("creates its bucket when it opens and when it was deleted meanwhile", async ({ onTestFinished }) => {
    const server = await natsServer({ cleanup: onTestFinished });
    const connection = await connected(onTestFinished, server.url);
    const [{ store }] = await Promise.all([open(onTestFinished, connection), open(onTestFinished, connection)]);
    await api(connection, `STREAM.DELETE.${STREAM}`, undefined);
    expect(await list(store)).toEqual([]);
    const info = await put(store, lines(2 * MIB), label(1));
    await api(connection, `STREAM.DELETE.${STREAM}`, undefined);
    expect(await codeOf(store.verify(info))).toBe("snapshot_missing");
    await store.remove(info);
    expect(await codeOf(put(store, ["again"], label(1)))).toBe("ok");
  });

  test("writes what the object store of NATS calls an object", async ({ onTestFinished }) => {
    const server = await natsServer({ cleanup: onTestFinished });
    const connection = await connected(onTestFinished, server.url);
    const { store, bucket } = await open(onTestFinished, connection);
    const info = await put(store, lines(6 * MIB), label(77));
    const name = "eu/main/00000000000000000077";
    const [[metaSubject = "", count] = []] = await subjects(connection, `${META}.>`);
    expect([metaSubject, count]).toEqual([`${META}.${Buffer.from(name).toString("base64url")}==`, 1]);
    const answer = await api(connection, `STREAM.MSG.GET.${STREAM}`, { last_by_subj: metaSubject });
    const meta = JSON.parse(Buffer.from(String(asRecord(answer["message"])["data"]), "base64").toString());
    const bytes = Buffer.concat(await framesOf(bucket, info.id));
    const digest = createHash("sha256").update(bytes).digest("base64url");
    expect(meta).toMatchObject({ name, bucket: SNAPSHOT_BUCKET, nuid: info.id, size: bytes.length });
    expect(meta.digest).toBe(`SHA-256=${digest}=`);
    expect(await subjects(connection, `${PIECES}.>`)).toEqual([[`${PIECES}.${info.id}`, meta.chunks]]);
    expect(JSON.parse(meta.metadata["omnirelay-label"])).toEqual(label(77));
  });

  test("passes over tombstones and objects of others, and takes a name back", async ({ onTestFinished }) => {
    const server = await natsServer({ cleanup: onTestFinished });
    const connection = await connected(onTestFinished, server.url);
    const { store, bucket } = await open(onTestFinished, connection);
    const info = await put(store, ["state"], label(5));
    const name = "eu/main/00000000000000000005";
    const tombstone = JSON.stringify({
      name,
      bucket: SNAPSHOT_BUCKET,
      nuid: info.id,
      size: 0,
      chunks: 0,
      deleted: true,
    });
    await connection.request(bucket.metaSubject(name), tombstone);
    await connection.request(bucket.metaSubject("eu/main/notes.txt"), JSON.stringify({ nuid: "x" }));
    await connection.request(bucket.metaSubject("eu/main/00000000000000000006"), "no JSON");
    expect(await list(store)).toEqual([]);
    expect(await codeOf(put(store, ["state"], label(5)))).toBe("ok");
    expect(await codeOf(put(store, ["state"], label(6)))).toBe("ok");
  });

  test("sweeps what nobody named, once it is old, and not before", async ({ onTestFinished }) => {
    const server = await natsServer({ cleanup: onTestFinished });
    const connection = await connected(onTestFinished, server.url);
    const { store } = await open(onTestFinished, connection);
    const info = await put(store, lines(3 * MIB), label(1));
    await connection.request(`${PIECES}.left`, "behind");
    await open(onTestFinished, connection);
    expect(await subjects(connection, `${PIECES}.left`)).toHaveLength(1);
    await open(onTestFinished, connection, { leftoverAgeMs: 0 });
    expect(await subjects(connection, `${PIECES}.left`)).toHaveLength(0);
    await store.verify(info);
  });

  test("a full bucket and a full account are told by name, and nothing half-written stays", async ({
    onTestFinished,
  }) => {
    const server = await natsServer({
      cleanup: onTestFinished,
      extraConfig:
        "accounts { A: { jetstream: { max_file: 1500000 }, users: [{ user: a, password: a }] }, B: { jetstream: enabled, users: [{ user: b, password: b }] } }",
    });
    for (const [user, maxBytes] of [
      ["b", 1_500_000],
      ["a", -1],
    ] as const) {
      const connection = await connected(onTestFinished, server.url, { user, pass: user });
      const { store } = await open(onTestFinished, connection, { maxBytes });
      const info = await put(store, ["state"], label(1));
      expect(await codeOf(put(store, lines(12 * MIB), label(2)))).toBe("store_full");
      expect(await list(store)).toEqual([info]);
      expect(await subjects(connection, `${PIECES}.>`)).toHaveLength(1);
      expect(await codeOf(put(store, lines(MIB), label(2)))).toBe("ok");
    }
  });

  test("no permission is told by name, at opening, writing and listing", async ({ onTestFinished }) => {
    const server = await natsServer({
      cleanup: onTestFinished,
      extraConfig: `accounts { A: { jetstream: enabled, users: [
        { user: all, password: p }
        { user: none, password: p, permissions: { publish: { deny: ["$JS.API.>"] } } }
        { user: reader, password: p, permissions: { publish: { deny: ["$O.>"] } } } ] } }`,
    });
    const login = (user: string) => connected(onTestFinished, server.url, { user, pass: "p" });
    expect(await codeOf(open(onTestFinished, await login("none")))).toBe("nats_denied");
    const { store } = await open(onTestFinished, await login("all"));
    const info = await put(store, lines(2 * MIB), label(1));
    const { store: reader } = await open(onTestFinished, await login("reader"));
    expect(await list(reader)).toEqual([info]);
    await reader.verify(info);
    expect(await codeOf(put(reader, lines(2 * MIB), label(2)))).toBe("nats_denied");
    expect(await list(store)).toEqual([info]);
  });

  test("a server that goes away in the middle is an error, and nothing is listed afterwards", async ({
    onTestFinished,
  }) => {
    const server = await natsServer({ cleanup: onTestFinished });
    const connection = await connected(onTestFinished, server.url);
    const { store } = await open(onTestFinished, connection, { patienceMs: 0 });
    const writer = store.begin();
    await writeAll(writer, lines(9 * MIB));
    await server.kill();
    expect(await codeOf(writeAll(writer, lines(9 * MIB)))).toBe("nats_disconnected");
    expect(await codeOf(writer.publish(label(1)))).toBe("nats_disconnected");
    await server.restart();
    await expect.poll(() => codeOf(list(store)), { timeout: 10_000 }).toBe("ok");
    expect(await list(store)).toEqual([]);
    await put(store, lines(3 * MIB), label(1));
  });

  test("a process killed in the middle of an upload leaves nothing listed, and its pieces are swept", async ({
    onTestFinished,
  }) => {
    const server = await natsServer({ cleanup: onTestFinished });
    const connection = await connected(onTestFinished, server.url);
    const writing = startProcess("test/persistence/snapshot-process.ts", ["hold", server.url], onTestFinished);
    await writing.line("written 12 MiB");
    await writing.signal("SIGKILL");
    expect((await subjects(connection, `${PIECES}.>`)).length).toBe(2);
    const { store } = await open(onTestFinished, connection, { leftoverAgeMs: 0 });
    const [info, ...others] = await list(store);
    expect([info?.label.sequence, others]).toEqual([1, []]);
    expect((await subjects(connection, `${PIECES}.>`)).length).toBe(1);
    if (info !== undefined) await store.verify(info);
  });

  test("takes copies from a snapshot thread, and a store of three replicas survives one of them", async ({
    onTestFinished,
  }) => {
    const servers = await cluster(3, { cleanup: onTestFinished });
    const connection = await connectNats({ servers: servers.urls, name: "snapshots" });
    onTestFinished(() => connection.close());
    const { store } = await open(onTestFinished, connection, { replicas: 3, patienceMs: 30_000 });
    const thread = await SnapshotThread.open(temporaryFolder(onTestFinished));
    onTestFinished(() => thread.close());
    const local = await put(thread, lines(9 * MIB), label(3));
    const copy = await copySnapshot(thread, local, store);
    expect(copy.root).toBe(local.root);
    const inbox = new Inbox(connection);
    const info = await askApiAsync(inbox, `STREAM.INFO.${STREAM}`, undefined);
    inbox.close();
    const state = info.kind === "ok" ? info.value : {};
    expect(asRecord(state["config"])["num_replicas"]).toBe(3);
    await servers.nodes.find((node) => node.serverName === asRecord(state["cluster"])["leader"])?.kill();
    expect(await codeOf(store.verify(copy))).toBe("ok");
    expect((await textOf(store, copy)) === [...lines(9 * MIB)].join("")).toBe(true);
  });
});
