/** Bodies by reference against a real mesh: they come whole or not at all, go with their items, and the sweep finds what is left. */
import type { NatsConnection } from "@nats-io/transport-node";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { z } from "zod";
import {
  definePayloads,
  LargeBodies,
  type LargeBodiesOptions,
  type LeaseClient,
  payload,
  provisionBodies,
  sweepBodies,
} from "../../services/client/mod.ts";
import { BodyBucket } from "../../services/jetstream/body-bucket.ts";
import { connectNats } from "../../services/jetstream/connect.ts";
import { FakeClock } from "../../services/testing/fake-clock.ts";
import { type TestMesh, testMesh } from "../support/mesh.ts";
import { failOnLeakedServers, skipWithoutNats } from "../support/nats.ts";
import { bodyOf } from "./body-process.ts";
import { eventually, firstLease, type WorldOptions } from "./client-world.ts";

beforeEach(skipWithoutNats);
afterEach(failOnLeakedServers);

type Cleanup = WorldOptions["cleanup"];
interface World {
  readonly mesh: TestMesh;
  readonly client: LeaseClient;
  readonly connection: NatsConnection;
  readonly bodies: LargeBodies;
  readonly bucket: BodyBucket;
  /** Names of the bodies in the bucket. */
  names(): Promise<readonly string[]>;
}

async function world(cleanup: Cleanup, options: Partial<LargeBodiesOptions> = {}): Promise<World> {
  const mesh = await testMesh(cleanup);
  await mesh.dispatcher("d1");
  const client = await mesh.client("default", { principal: "alice" });
  const connection = await connectNats({ servers: mesh.server.url, name: "bodies" });
  cleanup(() => connection.close());
  await provisionBodies(connection, { replicas: 1 });
  const bodies = await LargeBodies.open(client, { connection, ...options });
  cleanup(() => bodies.close());
  const bucket = await BodyBucket.open(connection);
  cleanup(() => bucket.close());
  const names = async () => (await bucket.aged(0)).bodies.map(({ name }) => name);
  return { mesh, client, connection, bodies, bucket, names };
}

const LARGE = bodyOf("large");
const mail = (resourceId: string, more: object = {}) => ({ resourceType: "mail", resourceId, body: LARGE, ...more });

describe("a body", () => {
  test("above the limit travels by reference and goes with its item; a smaller one stays in it", async ({
    onTestFinished,
  }) => {
    const { client, bodies, names } = await world(onTestFinished);
    const data = new Uint8Array(100_000).fill(7);
    await bodies.enqueue(mail("text", { requestId: "a/b c", attributes: { trace: "t" } }));
    const rest = await bodies.enqueueMany([
      { resourceType: "mail", resourceId: "bytes", body: data },
      { resourceType: "mail", resourceId: "small", body: '"small"' },
    ]);
    expect(rest.map(({ kind }) => kind)).toEqual(["ok", "ok"]);
    const stored = await names();
    expect(stored).toHaveLength(2);
    expect(stored.some((name) => /^local\/default\/alice\/a%2Fb%20c\/[0-9a-f]{64}$/.test(name))).toBe(true);
    expect((await client.stats()).bodyBytes).toBeLessThan(1_000);
    const seen = new Map<string, unknown>();
    const worker = bodies.worker({
      handler: async ({ item }) => void seen.set(item.resourceId, [item.payloadEncoding, item.body, item.attributes]),
    });
    onTestFinished(() => worker.stop());
    worker.start();
    await eventually(() => seen.size).toBe(3);
    expect(seen.get("text")).toMatchObject(["application/json", LARGE, { trace: "t" }]);
    const base64 = Buffer.from(data).toString("base64");
    expect(seen.get("bytes")).toMatchObject(["application/octet-stream;base64", base64, {}]);
    expect(seen.get("small")).toEqual(["application/json", '"small"', {}]);
    await expect.poll(names, { timeout: 15_000 }).toEqual([]);
  });

  test("is one however often its enqueue is repeated, and conflicts with another under the same id", async ({
    onTestFinished,
  }) => {
    const { client, bodies, names } = await world(onTestFinished);
    const first = await bodies.enqueue(mail("a", { requestId: "r" }));
    expect(await bodies.enqueue(mail("a", { requestId: "r" }))).toEqual({ ...first, duplicate: true });
    expect(await names()).toHaveLength(1);
    const other = bodies.enqueue(mail("a", { requestId: "r", body: bodyOf("other") }));
    await expect(other).rejects.toMatchObject({ code: "conflict" });
    const lease = await firstLease(client);
    expect((await bodies.fetch(lease)).item.body).toBe(LARGE);
    await bodies.remove({ ...lease, item: { ...lease.item, body: "{" } });
    await expect(bodies.fetch(lease)).rejects.toMatchObject({ code: "body_missing" });
    const many = [mail("b"), { resourceType: "mail", resourceId: "c" }, mail("d", { requestId: undefined })];
    const results = await bodies.enqueueMany(many, { requestId: "many" });
    const repeated = await bodies.enqueueMany(many, { requestId: "many" });
    expect(repeated.map((result) => result.kind === "ok" && result.value.duplicate)).toEqual([true, true, true]);
    expect(results.map(({ kind }) => kind)).toEqual(["ok", "ok", "ok"]);
  });

  test("of a typed payload is checked as a whole", async ({ onTestFinished }) => {
    const { bodies } = await world(onTestFinished, { aboveBytes: 100 });
    const payloads = definePayloads({ mail: payload(z.object({ text: z.string() }), { version: 2 }) });
    const text = "x".repeat(1_000);
    await payloads.enqueue(bodies, { resourceType: "mail", resourceId: "a", payload: { text } });
    const seen: string[] = [];
    const worker = bodies.worker({ ...payloads.handlers({ mail: async (mail) => void seen.push(mail.text) }) });
    onTestFinished(() => worker.stop());
    worker.start();
    await eventually(() => seen).toEqual([text]);
  });

  test("that is missing or another fails the attempts of its item, and what is no reference ends it", async ({
    onTestFinished,
  }) => {
    const { client, bodies, bucket } = await world(onTestFinished, { bodyBytesMax: 1_000_000 });
    await client.configure({ maxAttempts: 2 });
    for (const name of ["corrupt", "missing"]) await bodies.enqueue(mail(name, { requestId: name }));
    for (const body of (await bucket.aged(0)).bodies) {
      if (body.name.includes("/missing/")) await bucket.remove(body);
      else await bucket.put(body.name, Buffer.from(LARGE.replace("l", "L")));
    }
    const payloadEncoding = "application/vnd.omnirelay.reference+json";
    await client.enqueue({ resourceType: "mail", resourceId: "broken", payloadEncoding, body: "{" });
    const foreign = {
      bucket: "omnirelay-snapshots",
      name: "x",
      bytes: 1,
      sha256: "0".repeat(64),
      payloadEncoding: "text/plain",
    };
    await client.enqueue({
      resourceType: "mail",
      resourceId: "foreign",
      payloadEncoding,
      body: JSON.stringify(foreign),
    });
    const handler = async (): Promise<void> => expect.unreachable();
    const worker = bodies.worker({ handler });
    onTestFinished(() => worker.stop());
    worker.start();
    const dead = async () =>
      Object.fromEntries(
        (await client.list({ status: "deadLettered" })).items.map(({ item, attempt, deadLetter }) => [
          item?.resourceId,
          `${deadLetter?.code} after ${attempt}`,
        ]),
      );
    await expect.poll(dead, { timeout: 15_000 }).toEqual({
      corrupt: "body_corrupt after 2",
      missing: "body_missing after 2",
      broken: "body_invalid after 1",
      foreign: "body_invalid after 1",
    });
    await expect(bodies.enqueue(mail("huge", { body: "x".repeat(1_000_001) }))).rejects.toMatchObject({
      code: "payload_too_large",
    });
  });

  test("is refused where there is no bucket", async ({ onTestFinished }) => {
    const mesh = await testMesh(onTestFinished);
    await mesh.dispatcher("d1");
    const client = await mesh.client("default");
    const connection = await connectNats({ servers: mesh.server.url, name: "bodies" });
    onTestFinished(() => connection.close());
    await expect(LargeBodies.open(client, { connection })).rejects.toMatchObject({ code: "bodies_not_provisioned" });
  });

  test("is put again when the process stood still before or after its enqueue", async ({ onTestFinished }) => {
    const clock = new FakeClock();
    const { mesh, connection, bucket, names } = await world(onTestFinished);
    const client = await mesh.client("default", { principal: "alice", clock });
    const bodies = await LargeBodies.open(client, { connection });
    onTestFinished(() => bodies.close());
    const enqueue = client.enqueue.bind(client);
    client.enqueue = async (...args) => {
      const enqueued = await enqueue(...args);
      // As a sweep would, while the process stands still.
      for (const body of (await bucket.aged(0)).bodies) await bucket.remove(body);
      clock.advance(3_600_000);
      return enqueued;
    };
    await bodies.enqueue(mail("a"));
    expect(await names()).toHaveLength(1);
  });
});

describe("the sweep", () => {
  test("keeps the body of every unfinished item, and removes those of items that are gone", async ({
    onTestFinished,
  }) => {
    const { client, connection, bodies, names } = await world(onTestFinished);
    const ids: Record<string, string> = {};
    for (const name of ["dead", "redriven", "purged", "leased", "pending", "cancelled", "completed"])
      ids[name] = (await bodies.enqueue(mail(name, { requestId: name }))).itemId;
    for (const name of ["dead", "redriven", "purged", "leased"]) {
      const lease = await firstLease(client);
      expect(lease.item.resourceId).toBe(name);
      if (name !== "leased") await client.fail(lease, { reason: "no", requeue: false });
    }
    await client.redrive({ itemIds: [ids["redriven"] ?? ""] });
    await client.purge({ itemIds: [ids["purged"] ?? ""] });
    await client.cancel(ids["cancelled"] ?? "");
    const report = { bodies: 7, young: 0, inUse: 5, orphans: 2, leftovers: 0 };
    expect(await sweepBodies({ connection, graceMs: 3_600_000 })).toMatchObject({ bodies: 7, young: 7, orphans: 0 });
    expect(await sweepBodies({ connection, graceMs: 0, isDryRun: true })).toMatchObject(report);
    const progress: string[] = [];
    const onProgress = ({ step, done, total }: { step: string; done: number; total: number }) =>
      void progress.push(`${step} ${done} of ${total}`);
    expect(await sweepBodies({ connection, graceMs: 0, onProgress })).toMatchObject(report);
    expect(progress).toEqual(["items 0 of 1", "bodies 0 of 2", "bodies 1 of 2"]);
    const left = (await names()).map((name) => name.split("/")[3]).toSorted();
    expect(left).toEqual(["completed", "dead", "leased", "pending", "redriven"]);
    expect(await sweepBodies({ connection, graceMs: 0 })).toMatchObject({ bodies: 5, orphans: 0 });
  });

  test("removes nothing while a shard does not answer", async ({ onTestFinished }) => {
    const { mesh, client, connection, bodies, names } = await world(onTestFinished);
    const { itemId } = await bodies.enqueue(mail("a"));
    await client.cancel(itemId);
    const other = await mesh.dispatcher("d2", ["--shards", "other"]);
    await other.signal("SIGKILL");
    await expect(sweepBodies({ connection, graceMs: 0, timeoutMs: 500 })).rejects.toMatchObject({
      code: "unavailable",
    });
    expect(await names()).toHaveLength(1);
  });
});
