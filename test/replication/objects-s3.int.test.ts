/** Objects in S3: the suites against a real gateway, and what it refuses. */
import { once } from "node:events";
import { readdirSync, rmSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { join } from "node:path";
import { inspect } from "node:util";
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test, vi } from "vitest";
import type { OperatingError } from "../../contracts/errors.ts";
import { objectsKind } from "../../services/replication/sinks/objects-kind.ts";
import { NO_SIGNAL } from "../../services/replication/sinks/objects-place.ts";
import { S3Place, type S3PlaceOptions } from "../../services/replication/sinks/objects-s3.ts";
import { createClock } from "../../services/runtime/clock.ts";
import { EventFeed, sinkConformance } from "../../services/testing/mod.ts";
import { type S3Gateway, s3Gateway, s3GatewayNote } from "../support/s3-gateway.ts";
import { placeSuite } from "./objects-place-suite.ts";
import { FOLDER, listener, objectsSubject, readAll, SCOPE, sinkAt } from "./objects-subject.ts";

const note = await s3GatewayNote();
const closers: (() => Promise<void>)[] = [];
let gateway: S3Gateway;
let buckets = 0;
/** Batches of the suite are cut, but not into many. */
const EVENTS_PER_OBJECT = 10;

beforeAll(async () => {
  if (note === undefined) gateway = await s3Gateway((close) => closers.push(close));
});
afterAll(async () => {
  for (const close of closers) await close();
});

function freshBucket(): string {
  buckets += 1;
  gateway.bucket(`bucket-${buckets}`);
  return `bucket-${buckets}`;
}

function placeIn(bucket: string, more: Partial<S3PlaceOptions> = {}): S3Place {
  const { endpoint, accessKeyId, secretAccessKey } = gateway;
  const credentials = { accessKeyId, secretAccessKey };
  return new S3Place({
    bucket,
    region: "us-east-1",
    endpoint,
    forcePathStyle: true,
    credentials,
    timeoutMs: 10_000,
    ...more,
  });
}

describe("a gateway", () => {
  beforeEach(({ skip }) => {
    if (note !== undefined) skip(note);
  });

  placeSuite({ describe, test }, "a bucket of S3", async () => {
    const bucket = freshBucket();
    return {
      make: () => placeIn(bucket),
      close: async () => rmSync(join(gateway.root, bucket), { recursive: true }),
    };
  });

  test("a gateway killed in the middle of a batch, again and again, loses nothing and leaves no torn object", async () => {
    const bucket = freshBucket();
    const feed = new EventFeed({ seed: 8, count: 60, logId: SCOPE.logId });
    const sink = sinkAt(placeIn(bucket), { eventsPerObject: 2 });
    await sink.open(SCOPE, feed.place(0));
    const written = (): number => readdirSync(join(gateway.root, bucket, FOLDER)).length;
    for (const [after, upTo] of [
      [0, 20],
      [20, 41],
      [41, 60],
    ] as const) {
      const before = await sinkAt(placeIn(bucket)).open(SCOPE, feed.place(after));
      expect(before?.sequence).toBe(after);
      const objects = written();
      const applying = sink.apply(feed.batch(SCOPE, after, upTo), NO_SIGNAL).catch((error: unknown) => error);
      await vi.waitUntil(() => written() >= objects + 3, { interval: 1 });
      await gateway.kill();
      expect((await applying) as OperatingError).toMatchObject({ code: "s3_unavailable", definite: false });
      await gateway.restart();
      // The same instance goes on, with other batches.
      await sink.apply(feed.batch(SCOPE, after, after + 7), NO_SIGNAL);
      await sink.apply(feed.batch(SCOPE, after + 7, upTo), NO_SIGNAL);
    }
    await sink.close();
    const reading = placeIn(bucket);
    expect((await readAll(reading)).flatMap(({ events }) => events)).toEqual(feed.events.slice(0, 60));
    await reading.close();
  });

  test("what the gateway refuses is told by a code, and no secret is told", async () => {
    const bucket = freshBucket();
    const { secretAccessKey, accessKeyId } = gateway;
    const stranger = { accessKeyId: "AKIASTRANGER", secretAccessKey: "stranger-secret" };
    const forger = { accessKeyId, secretAccessKey: "forged-secret" };
    const cases: readonly (readonly [string, boolean, string, Partial<S3PlaceOptions>])[] = [
      ["s3_bucket_missing", true, "no-such-bucket", {}],
      ["s3_denied", true, bucket, { credentials: stranger }],
      ["s3_denied", true, bucket, { credentials: forger }],
      ["s3_unavailable", false, bucket, { endpoint: "http://127.0.0.1:1" }],
    ];
    for (const [code, definite, name, options] of cases) {
      const sink = sinkAt(placeIn(name, options));
      const error: unknown = await sink.open(SCOPE, undefined).catch((thrown: unknown) => thrown);
      expect(error).toMatchObject({ code, definite });
      const told = inspect(error, { depth: 10, showHidden: true });
      for (const secret of [secretAccessKey, "secret", accessKeyId, "STRANGER", "Signature=", "AWS4"])
        expect([told.includes(secret), secret]).toEqual([false, secret]);
      await sink.close();
    }
  });

  test("a service that accepts and never answers is told as late, and `apply` ends with its signal", async () => {
    const silent = createServer().listen(0, "127.0.0.1");
    await once(silent, "listening");
    const { port } = silent.address() as AddressInfo;
    const endpoint = `http://127.0.0.1:${port}`;
    const place = placeIn("bbb", { endpoint, timeoutMs: 100 });
    await expect(place.put("a/b", Buffer.from("x"), NO_SIGNAL)).rejects.toMatchObject({
      ...{ code: "s3_timeout", definite: false },
    });
    const stopping = new AbortController();
    const patient = placeIn("bbb", { endpoint, timeoutMs: 60_000 });
    const putting = patient.put("a/b", Buffer.from("x"), stopping.signal);
    stopping.abort();
    await expect(putting).rejects.toMatchObject({ code: "objects_cut_short", definite: false });
    for (const one of [place, patient]) await one.close();
    silent.close();
  });

  test("keys come from the variables that the options name", async () => {
    const bucket = freshBucket();
    const credentials = { accessKeyId: { env: "ARCHIVE_KEY_ID" }, secretAccessKey: { env: "ARCHIVE_SECRET" } };
    const options = objectsKind.options.parse({ store: "s3", bucket, endpoint: gateway.endpoint, credentials });
    const deps = { reporter: listener(), clock: createClock(), dataDir: "", connection: undefined as never };
    const without = objectsKind.create(options, deps).open(SCOPE, undefined);
    await expect(without).rejects.toThrow("the variable ARCHIVE_KEY_ID holds no secret; set it");
    vi.stubEnv("ARCHIVE_KEY_ID", gateway.accessKeyId);
    vi.stubEnv("ARCHIVE_SECRET", gateway.secretAccessKey);
    onTestFinished(() => void vi.unstubAllEnvs());
    const sink = objectsKind.create(options, deps);
    expect(await sink.open(SCOPE, undefined)).toMatchObject({ sequence: 0 });
    await sink.close();
    expect(readdirSync(join(gateway.root, bucket, FOLDER))).toEqual(["manifest.json"]);
  });

  sinkConformance({ describe, test }, "ObjectsSink of S3", async () => {
    const bucket = freshBucket();
    return objectsSubject(
      () => placeIn(bucket),
      {
        interrupt: () => gateway.kill(),
        restore: () => gateway.restart(),
        close: async () => rmSync(join(gateway.root, bucket), { recursive: true }),
      },
      EVENTS_PER_OBJECT,
    );
  });
});
