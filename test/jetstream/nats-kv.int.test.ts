/** The KV port on a real bucket: compare-and-set, tombstones, and the bucket's creation by several at once. */
import type { NatsConnection } from "@nats-io/transport-node";
import { afterEach, describe, expect, test } from "vitest";
import type { KvEntry, KvOutcome } from "../../contracts/ports.ts";
import { connectNats } from "../../services/jetstream/connect.ts";
import { Inbox } from "../../services/jetstream/inbox.ts";
import { ensureBucket, NatsKv } from "../../services/jetstream/nats-kv.ts";
import { failOnLeakedServers, natsAvailability, natsServer } from "../support/nats.ts";
import { skipNote } from "./skip-note.ts";
import { api } from "./stream-subject.ts";

const nats = await natsAvailability();
const note = skipNote(nats);
afterEach(failOnLeakedServers);

const BUCKET = "omnirelay-test";
const KEY = "eu.shard";
const encoder = new TextEncoder();
const value = (text: string): Uint8Array => encoder.encode(text);

const get = (kv: NatsKv): Promise<KvOutcome<KvEntry | undefined>> => new Promise((resolve) => kv.get(KEY, resolve));
const put = (kv: NatsKv, text: string, revision: number): Promise<KvOutcome<number>> =>
  new Promise((resolve) => kv.put(KEY, value(text), revision, resolve));

async function setup(cleanup: (dispose: () => Promise<void>) => void) {
  const server = await natsServer({ cleanup });
  const connection = await connectNats({ servers: server.url, name: "kv" });
  const inbox = new Inbox(connection);
  const kv = new NatsKv(connection, BUCKET);
  cleanup(async () => {
    kv.close();
    inbox.close();
    await connection.close();
  });
  const ensure = (): Promise<void> => ensureBucket(inbox, { bucket: BUCKET, description: "test", replicas: 1 });
  return { server, connection, kv, ensure };
}

/** Deletes a key as `nats kv del` does. */
async function deleteKey(connection: NatsConnection): Promise<void> {
  const { headers } = await import("@nats-io/transport-node");
  const tombstone = headers();
  tombstone.set("KV-Operation", "DEL");
  await connection.request(`$KV.${BUCKET}.${KEY}`, "", { headers: tombstone, timeout: 5_000 });
}

describe.skipIf(!nats.available)(`NatsKv${note}`, () => {
  test("creates its bucket once, however many try", async ({ onTestFinished }) => {
    const { ensure, kv } = await setup(onTestFinished);
    await Promise.all(Array.from({ length: 8 }, ensure));
    expect(await put(kv, "a", 0)).toEqual({ kind: "ok", value: 1 });
    await ensure();
    expect(await put(kv, "b", 1)).toEqual({ kind: "ok", value: 2 });
  });

  test("writes only over the revision that it is given", async ({ onTestFinished }) => {
    const { kv, ensure } = await setup(onTestFinished);
    await ensure();
    expect(await get(kv)).toEqual({ kind: "ok", value: undefined });
    expect(await put(kv, "a", 0)).toEqual({ kind: "ok", value: 1 });
    expect(await put(kv, "b", 0)).toEqual({ kind: "conflict" });
    expect(await put(kv, "b", 1)).toEqual({ kind: "ok", value: 2 });
    expect(await put(kv, "c", 1)).toEqual({ kind: "conflict" });
    const found = await get(kv);
    expect(
      found.kind === "ok" && found.value && [Buffer.from(found.value.value).toString(), found.value.revision],
    ).toEqual(["b", 2]);
  });

  test("lets exactly one of many writers of a revision win", async ({ onTestFinished }) => {
    const { kv, ensure } = await setup(onTestFinished);
    await ensure();
    const outcomes = await Promise.all(Array.from({ length: 20 }, (_, index) => put(kv, `w${index}`, 0)));
    expect(outcomes.filter(({ kind }) => kind === "ok")).toHaveLength(1);
    expect(outcomes.filter(({ kind }) => kind === "conflict")).toHaveLength(19);
  });

  test("takes a deleted key for one that does not exist", async ({ onTestFinished }) => {
    const { kv, ensure, connection } = await setup(onTestFinished);
    await ensure();
    await put(kv, "a", 0);
    await deleteKey(connection);
    expect(await get(kv)).toEqual({ kind: "ok", value: undefined });
    expect(await put(kv, "b", 1)).toEqual({ kind: "conflict" });
    expect(await put(kv, "b", 0)).toEqual({ kind: "ok", value: 3 });
  });

  test("fails with a code where there is no bucket or no server", async ({ onTestFinished }) => {
    const { kv, server } = await setup(onTestFinished);
    expect(await get(kv)).toMatchObject({ kind: "failed", error: { code: "stream_missing" } });
    await server.kill();
    expect(await put(kv, "a", 0)).toMatchObject({
      kind: "failed",
      error: { code: "nats_disconnected", definite: false },
    });
  });

  test("works on a bucket in the shape that other tools make", async ({ onTestFinished }) => {
    const { kv, ensure, connection } = await setup(onTestFinished);
    await api(connection, `STREAM.CREATE.KV_${BUCKET}`, {
      name: `KV_${BUCKET}`,
      subjects: [`$KV.${BUCKET}.>`],
      max_msgs_per_subject: 5,
      discard: "new",
      allow_direct: true,
      allow_rollup_hdrs: true,
    });
    await ensure();
    expect(await put(kv, "a", 0)).toEqual({ kind: "ok", value: 1 });
  });
});
