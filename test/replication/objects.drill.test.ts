/** Objects and death: of the process that writes them, and of what keeps them, twenty times each at random; and what a disk does to them. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, type TestContext, test } from "vitest";
import { missingRight } from "../../chaos/disk/rights.ts";
import { Volume } from "../../chaos/disk/volume.ts";
import { OperatingError } from "../../contracts/errors.ts";
import { connectNats } from "../../services/jetstream/connect.ts";
import { FilePlace } from "../../services/replication/sinks/objects-files.ts";
import { BucketPlace } from "../../services/replication/sinks/objects-jetstream.ts";
import { NO_SIGNAL, type ObjectPlace } from "../../services/replication/sinks/objects-place.ts";
import { S3Place } from "../../services/replication/sinks/objects-s3.ts";
import { seededNumbers } from "../../services/runtime/seeded-numbers.ts";
import { EventFeed } from "../../services/testing/mod.ts";
import { failOnLeakedServers, natsAvailability, natsServer } from "../support/nats.ts";
import { type Cleanup, startProcess } from "../support/process.ts";
import { s3Gateway, s3GatewayNote } from "../support/s3-gateway.ts";
import { FOLDER, readAll, SCOPE, sinkAt, temporaryFolder } from "./objects-subject.ts";

afterEach(failOnLeakedServers);

const KILLS = 20;
/** What one life writes at most: the feed is longer than all lives that are killed. Events. */
const SHARE = 400;
const SCRIPT = "test/replication/objects-process.ts";

test("a writer of files killed at random leaves no gap and no torn object, and loses nothing", async ({
  onTestFinished,
}) => {
  const seed = Math.floor(Math.random() * 1_000_000);
  console.log(`seed ${seed}`);
  const draw = seededNumbers(seed);
  const count = (KILLS + 1) * SHARE;
  const feed = new EventFeed({ seed, count, logId: SCOPE.logId });
  const folder = temporaryFolder(onTestFinished);
  const reached: number[] = [0];
  const live = (share: number): ReturnType<typeof startProcess> => {
    // The checkpoint is what the last life told, or older, or lost.
    const checkpoint = draw() % 4 === 0 ? -1 : (reached.at(-1 - (draw() % Math.min(reached.length, 4))) ?? 0);
    const args = [folder, seed, count, draw(), checkpoint, share].map(String);
    return startProcess(SCRIPT, args, onTestFinished);
  };
  for (let kill = 0; kill < KILLS; kill += 1) {
    const writer = live(SHARE);
    await writer.line("open ");
    const wanted = 1 + (draw() % 6);
    const isAtShare = (): boolean => writer.lines.at(-1) === `at ${Number(writer.lines[0]?.slice(5)) + SHARE}`;
    await expect.poll(() => writer.lines.length > wanted || isAtShare(), { interval: 1, timeout: 30_000 }).toBe(true);
    await writer.signal("SIGKILL");
    await writer.ended;
    for (const line of writer.lines) if (line.startsWith("at ")) reached.push(Number(line.slice(3)));
    expect(writer.lines.filter((line) => !/^(open|at) \d+$/.test(line))).toEqual([]);
  }
  const objects = await readAll(new FilePlace(folder));
  const covered = objects.at(-1)?.upTo.sequence ?? 0;
  expect(covered).toBeGreaterThanOrEqual(Math.max(...reached));
  expect(covered, "the kills came while there was something to write").toBeLessThan(feed.lastSequence);
  const last = live(count);
  expect(await last.ended).toBe(0);
  expect(last.lines.at(-1)).toBe("done");
  expect((await readAll(new FilePlace(folder))).flatMap(({ events }) => events)).toEqual(feed.events);
  const strangers = readdirSync(join(folder, FOLDER)).filter(
    (name) => !/^(\d{20}\.json|manifest\.json|\..*\.partial)$/.test(name),
  );
  expect(strangers).toEqual([]);
  console.log(`${KILLS} kills, ${reached.length} batches told, ${covered} events by the last kill`);
});

interface Service {
  readonly place: () => ObjectPlace;
  kill(): Promise<void>;
  restart(): Promise<void>;
}

/** Services that keep objects, each real; `note`: why there is none here. */
const SERVICES = [
  {
    name: "a gateway of S3",
    failures: /^s3_(unavailable|timeout)$/,
    note: () => s3GatewayNote(),
    start: async (cleanup: Cleanup): Promise<Service> => {
      const gateway = await s3Gateway(cleanup);
      gateway.bucket("archive");
      const { endpoint, kill, restart } = gateway;
      const options = { bucket: "archive", region: "us-east-1", endpoint, forcePathStyle: true, credentials: gateway };
      return { kill, restart, place: () => new S3Place({ ...options, timeoutMs: 5_000 }) };
    },
  },
  {
    name: "a nats-server",
    failures: /^(nats_disconnected|jetstream_(timeout|unavailable|error))$/,
    note: async () => {
      const nats = await natsAvailability();
      return nats.available ? undefined : nats.reason;
    },
    start: async (cleanup: Cleanup): Promise<Service> => {
      const server = await natsServer({ cleanup });
      const connection = await connectNats({ servers: server.url, name: "objects" });
      cleanup(() => connection.close());
      const options = { bucket: "archive", replicas: 1, maxBytes: undefined };
      return {
        kill: () => server.kill(),
        restart: () => server.restart(),
        place: () => new BucketPlace(connection, options),
      };
    },
  },
];

/** As a pump does: again, until it succeeds. */
async function untilDone<T>(step: () => Promise<T>, isExpected: (code: string) => boolean): Promise<T> {
  const endMs = performance.now() + 30_000;
  for (;;) {
    try {
      return await step();
    } catch (error) {
      if (!(error instanceof OperatingError) || error.definite || !isExpected(error.code)) throw error;
      if (performance.now() > endMs) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

test.for(SERVICES)(
  "$name killed at random under a writer leaves no gap and no torn object, and loses nothing",
  async ({ note, start, failures }, { skip, onTestFinished }) => {
    const reason = await note();
    if (reason !== undefined) skip(reason);
    const seed = Math.floor(Math.random() * 1_000_000);
    console.log(`seed ${seed}`);
    const draw = seededNumbers(seed);
    const feed = new EventFeed({ seed, count: 3_000, logId: SCOPE.logId });
    const service = await start(onTestFinished);
    const isExpected = (code: string): boolean => failures.test(code);
    let puts = 0;
    const watched = (): ObjectPlace => {
      const place = service.place();
      const put = place.put.bind(place);
      place.put = (name, bytes, signal) => {
        puts += 1;
        return put(name, bytes, signal);
      };
      return place;
    };
    let kills = 0;
    let failed = 0;
    let sink = sinkAt(watched(), { eventsPerObject: 7 });
    let sequence = (await sink.open(SCOPE, feed.place(0)))?.sequence ?? 0;
    while (sequence < feed.lastSequence) {
      const upTo = Math.min(feed.lastSequence, sequence + 1 + (draw() % 60));
      const apply = (): Promise<void> => sink.apply(feed.batch(SCOPE, sequence, upTo), NO_SIGNAL);
      if (kills < KILLS && draw() % 2 === 0) {
        kills += 1;
        const wanted = puts + 1 + (draw() % 6);
        const applying = apply().then(
          () => true,
          (error: unknown) => error,
        );
        let isOver = false;
        void applying.then(() => {
          isOver = true;
        });
        await expect.poll(() => isOver || puts >= wanted, { interval: 1 }).toBe(true);
        await service.kill();
        const outcome = await applying;
        if (outcome !== true) {
          failed += 1;
          expect(outcome).toMatchObject({ code: expect.stringMatching(failures), definite: false });
        }
        await service.restart();
      }
      await untilDone(apply, isExpected);
      sequence = upTo;
      if (draw() % 10 !== 0) continue;
      // A new life, with the checkpoint that the old one would have left.
      await sink.close();
      sink = sinkAt(watched(), { eventsPerObject: 1 + (draw() % 30) });
      const known = draw() % 4 === 0 ? undefined : feed.place(sequence);
      const own = await untilDone(() => sink.open(SCOPE, known), isExpected);
      expect(own?.sequence).toBe(sequence);
    }
    expect(kills).toBe(KILLS);
    await sink.close();
    const reading = service.place();
    await reading.prepare(FOLDER);
    expect((await readAll(reading)).flatMap(({ events }) => events)).toEqual(feed.events);
    await reading.close();
    console.log(`${kills} kills, of which ${failed} failed a batch`);
  },
);

test("a name whose acknowledgement is lost finds its pieces when it comes after all", async ({
  skip,
  onTestFinished,
}) => {
  const nats = await natsAvailability();
  if (!nats.available) skip(nats.reason);
  const server = await natsServer({ cleanup: onTestFinished });
  const connection = await connectNats({ servers: server.url, name: "objects" });
  onTestFinished(() => connection.close());
  const place = new BucketPlace(connection, { bucket: "archive", replicas: 1, maxBytes: undefined });
  await place.prepare();
  const publish = connection.publish.bind(connection);
  let isPaused = false;
  connection.publish = (subject, payload, options) => {
    if (isPaused || !subject.startsWith("$O.archive.M.")) return publish(subject, payload, options);
    isPaused = true;
    // It waits at the server's socket until that goes on.
    void server.pause().then(() => publish(subject, payload, options));
  };
  const bytes = Buffer.alloc(1_300_000, "x");
  await expect(place.put("a/b", bytes, NO_SIGNAL)).rejects.toMatchObject({
    code: "jetstream_timeout",
    definite: false,
  });
  server.resume();
  await expect.poll(async () => (await place.get("a/b", NO_SIGNAL))?.length, { timeout: 20_000 }).toBe(bytes.length);
  expect(await place.put("a/b", bytes, NO_SIGNAL)).toBe("taken");
  await place.close();
});

describe("a volume", () => {
  async function volumeOf(context: TestContext): Promise<Volume> {
    const reason = await missingRight("volume");
    if (reason !== undefined) context.skip(reason);
    const parent = mkdtempSync(join(tmpdir(), "omnirelay-objects-"));
    const volume = await Volume.create(parent, "objects", 24 * 1024 * 1024);
    context.onTestFinished(() => {
      volume.close();
      rmSync(parent, { recursive: true, force: true });
    });
    return volume;
  }
  const feed = new EventFeed({ seed: 12, count: 1_200, logId: SCOPE.logId, bodyLength: 4_000 });
  const codeOf = (attempt: Promise<unknown>): Promise<string> =>
    attempt.then(
      () => "",
      (error: OperatingError) => `${error.code} ${error.definite}`,
    );

  test.for([7, 60, 333])("whose power is cut after %i events holds all of them, whole", async (upTo, context) => {
    const volume = await volumeOf(context);
    const sink = sinkAt(new FilePlace(volume.folder), { eventsPerObject: 10 });
    await sink.open(SCOPE, feed.place(0));
    for (const [after, to] of [
      [0, upTo - 5],
      [upTo - 5, upTo],
    ] as const)
      await sink.apply(feed.batch(SCOPE, after, to), NO_SIGNAL);
    await volume.cut();
    // What comes behind the cut is lost with it.
    await sink.apply(feed.batch(SCOPE, upTo, upTo + 5), NO_SIGNAL);
    await sink.close();
    await volume.restore();
    const again = sinkAt(new FilePlace(volume.folder), { eventsPerObject: 10 });
    expect((await again.open(SCOPE, feed.place(upTo)))?.sequence).toBe(upTo);
    await again.apply(feed.batch(SCOPE, upTo, upTo + 9), NO_SIGNAL);
    const events = (await readAll(new FilePlace(volume.folder))).flatMap((object) => object.events);
    expect(events).toEqual(feed.events.slice(0, upTo + 9));
  });

  test("that is full, or read-only, is told, and the sink goes on when it is mended", async (context) => {
    const volume = await volumeOf(context);
    const sink = sinkAt(new FilePlace(volume.folder), { eventsPerObject: 10 });
    await sink.open(SCOPE, feed.place(0));
    volume.fill(300_000);
    const all = (from: number): Promise<void> => sink.apply(feed.batch(SCOPE, from, 600), NO_SIGNAL);
    expect(await codeOf(all(0))).toBe("sink_full false");
    const partial = await readAll(new FilePlace(volume.folder));
    expect(partial.length).toBeGreaterThan(0);
    expect(readdirSync(join(volume.folder, FOLDER)).filter((name) => name.startsWith("."))).toEqual([]);
    volume.makeRoom();
    await all(0);
    execFileSync("mount", ["-o", "remount,ro", volume.folder]);
    const rest = (): Promise<void> => sink.apply(feed.batch(SCOPE, 600, feed.lastSequence), NO_SIGNAL);
    expect(await codeOf(rest())).toBe("sink_unusable true");
    execFileSync("mount", ["-o", "remount,rw", volume.folder]);
    await rest();
    const events = (await readAll(new FilePlace(volume.folder))).flatMap((object) => object.events);
    expect(events).toEqual(feed.events);
  });
});
