/** Objects in the JetStream object store: the suites against a real server, and what others do to the bucket. */
import type { NatsConnection } from "@nats-io/transport-node";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { OperatingError } from "../../contracts/errors.ts";
import type { NatsServer } from "../../infra/nats-server/embedded.ts";
import { asRecord, publishAsync } from "../../services/jetstream/api.ts";
import { connectNats } from "../../services/jetstream/connect.ts";
import { headerBlock } from "../../services/jetstream/header-block.ts";
import { Inbox } from "../../services/jetstream/inbox.ts";
import { BucketPlace } from "../../services/replication/sinks/objects-jetstream.ts";
import { NO_SIGNAL, objectName } from "../../services/replication/sinks/objects-place.ts";
import { EventFeed, sinkConformance } from "../../services/testing/mod.ts";
import { api } from "../jetstream/stream-subject.ts";
import { failOnLeakedSuiteServers, natsAvailability, natsServer, skipWithoutNats } from "../support/nats.ts";
import { placeSuite } from "./objects-place-suite.ts";
import { FOLDER, objectsSubject, readAll, SCOPE, sinkAt } from "./objects-subject.ts";

const nats = await natsAvailability();
let server: NatsServer;
let connection: NatsConnection;
let buckets = 0;
/** Batches of the suite are cut, but not into many. */
const EVENTS_PER_OBJECT = 10;
const feed = new EventFeed({ seed: 11, count: 200, logId: SCOPE.logId });

beforeAll(async () => {
  if (!nats.available) return;
  // A kill loses nothing that was written, and to sync each object is slow.
  server = await natsServer({ scope: "suite", syncInterval: "2m" });
  connection = await connectNats({ servers: server.url, name: "objects" });
});
afterAll(failOnLeakedSuiteServers);
afterAll(async () => {
  await connection?.close();
  await server?.[Symbol.asyncDispose]();
});

/** Places in a bucket of their own, and its name. */
function namedBucket(maxBytes?: number): readonly [string, () => BucketPlace] {
  buckets += 1;
  const options = { bucket: `objects-${buckets}`, replicas: 1, maxBytes };
  return [options.bucket, () => new BucketPlace(connection, options)];
}

/** As `nats object rm` does: a mark in place of the object, and its pieces are gone. */
async function removeObject(bucket: string, name: string): Promise<void> {
  const code = Buffer.from(name).toString("base64").replaceAll("+", "-").replaceAll("/", "_");
  const subject = `$O.${bucket}.M.${code}`;
  const stored = await api(connection, `STREAM.MSG.GET.OBJ_${bucket}`, { last_by_subj: subject });
  const meta = JSON.parse(Buffer.from(String(asRecord(stored["message"])["data"]), "base64").toString());
  await api(connection, `STREAM.PURGE.OBJ_${bucket}`, { filter: `$O.${bucket}.C.${meta.nuid}` });
  const mark = JSON.stringify({ ...meta, size: 0, chunks: 0, digest: "", deleted: true });
  const inbox = new Inbox(connection);
  const outcome = await publishAsync(
    inbox,
    subject,
    Buffer.from(mark),
    headerBlock([{ name: "Nats-Rollup", value: "sub" }]),
  );
  inbox.close();
  expect(outcome.kind).toBe("ok");
}

describe("one server", () => {
  beforeEach(skipWithoutNats);

  placeSuite({ describe, test }, "a bucket of JetStream", async () => ({
    make: namedBucket()[1],
    close: async () => undefined,
  }));

  test("an object that was removed is none any more: a gap in the middle is told, and so is a missing end", async () => {
    const [name, make] = namedBucket();
    const sink = sinkAt(make());
    await sink.open(SCOPE, feed.place(0));
    await sink.apply(feed.batch(SCOPE, 0, 20), NO_SIGNAL);
    await sink.close();
    const opening = async (checkpoint: number): Promise<string> => {
      const again = sinkAt(make());
      const outcome = await again.open(SCOPE, feed.place(checkpoint)).then(
        (place) => `goes on at ${place?.sequence}`,
        (error: OperatingError) => error.code,
      );
      await again.close();
      return outcome;
    };
    expect(await opening(4)).toBe("goes on at 20");
    await removeObject(name, objectName(FOLDER, 9));
    expect(await opening(4)).toBe("object_missing");
    expect(await opening(12)).toBe("object_missing");
    expect(await opening(16)).toBe("goes on at 20");
    await removeObject(name, objectName(FOLDER, 17));
    expect(await opening(20)).toBe("object_missing");
    const place = make();
    await place.prepare();
    expect(await place.list(FOLDER, 0, 10)).toEqual([1, 5, 13]);
    expect([await place.last(FOLDER, 12), await place.last(FOLDER, 100)]).toEqual([5, 13]);
    await place.close();
  });

  test("a bucket that is gone is told, not made anew: it took the objects with it", async () => {
    const [name, make] = namedBucket();
    const sink = sinkAt(make());
    await sink.open(SCOPE, feed.place(0));
    await sink.apply(feed.batch(SCOPE, 0, 5), NO_SIGNAL);
    await api(connection, `STREAM.DELETE.OBJ_${name}`, undefined);
    const error: unknown = await sink.apply(feed.batch(SCOPE, 5, 9), NO_SIGNAL).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: "stream_missing", definite: true });
    await expect(api(connection, `STREAM.INFO.OBJ_${name}`, undefined)).rejects.toMatchObject({
      code: "stream_missing",
    });
    await sink.close();
  });

  test("a bucket that is full is told, keeps whole objects only, and goes on when there is room", async () => {
    const [name, make] = namedBucket(64 * 1024);
    const sink = sinkAt(make());
    await sink.open(SCOPE, feed.place(0));
    let sequence = 0;
    let error: unknown;
    while (error === undefined) {
      const { upTo } = feed.batch(SCOPE, sequence, sequence + 8);
      error = await sink
        .apply(feed.batch(SCOPE, sequence, upTo.sequence), NO_SIGNAL)
        .catch((thrown: unknown) => thrown);
      if (error === undefined) sequence = upTo.sequence;
    }
    expect(error).toMatchObject({ code: "store_full" });
    const reading = make();
    await reading.prepare();
    const covered = (await readAll(reading)).at(-1)?.upTo.sequence ?? 0;
    expect(covered).toBeGreaterThanOrEqual(sequence);
    const { config } = await api(connection, `STREAM.INFO.OBJ_${name}`, undefined);
    await api(connection, `STREAM.UPDATE.OBJ_${name}`, { ...asRecord(config), max_bytes: -1 });
    await sink.apply(feed.batch(SCOPE, sequence, feed.lastSequence), NO_SIGNAL);
    expect((await readAll(reading)).flatMap(({ events }) => events)).toEqual(feed.events);
    for (const one of [sink, reading]) await one.close();
  });

  sinkConformance({ describe, test }, "ObjectsSink of JetStream", async () =>
    objectsSubject(
      namedBucket()[1],
      {
        interrupt: () => server.kill(),
        restore: () => server.restart(),
        close: async () => undefined,
      },
      EVENTS_PER_OBJECT,
    ),
  );
});
