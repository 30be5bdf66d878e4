/** Objects and death: of the process that writes them, and of the gateway that keeps them, twenty times each at random. */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { OperatingError } from "../../contracts/errors.ts";
import { FilePlace } from "../../services/replication/sinks/objects-files.ts";
import { NO_SIGNAL } from "../../services/replication/sinks/objects-place.ts";
import { S3Place } from "../../services/replication/sinks/objects-s3.ts";
import { seededNumbers } from "../../services/runtime/seeded-numbers.ts";
import { EventFeed } from "../../services/testing/mod.ts";
import { startProcess } from "../support/process.ts";
import { s3Gateway, s3GatewayNote } from "../support/s3-gateway.ts";
import { FOLDER, readAll, SCOPE, sinkAt, temporaryFolder } from "./objects-subject.ts";

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
    const args = [folder, seed, feed.lastSequence, draw(), checkpoint, share].map(String);
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

describe("a gateway", () => {
  let note: string | undefined;
  beforeAll(async () => {
    note = await s3GatewayNote();
  });

  test("killed at random under a writer leaves no gap and no torn object, and loses nothing", async (context) => {
    if (note !== undefined) context.skip(note);
    const seed = Math.floor(Math.random() * 1_000_000);
    console.log(`seed ${seed}`);
    const draw = seededNumbers(seed);
    const gateway = await s3Gateway(context.onTestFinished);
    gateway.bucket("archive");
    const feed = new EventFeed({ seed, count: 3_000, logId: SCOPE.logId });
    const { endpoint } = gateway;
    const options = { bucket: "archive", region: "us-east-1", endpoint, forcePathStyle: true, credentials: gateway };
    const place = (): S3Place => new S3Place({ ...options, timeoutMs: 5_000 });
    const folder = join(gateway.root, "archive", FOLDER);
    let kills = 0;
    let failures = 0;
    let sink = sinkAt(place(), { eventsPerObject: 7 });
    let sequence = (await sink.open(SCOPE, feed.place(0)))?.sequence ?? 0;
    while (sequence < feed.lastSequence) {
      const upTo = Math.min(feed.lastSequence, sequence + 1 + (draw() % 60));
      const applying = sink.apply(feed.batch(SCOPE, sequence, upTo), NO_SIGNAL).then(
        () => undefined,
        (error: unknown) => error,
      );
      if (kills < KILLS && draw() % 3 === 0) {
        kills += 1;
        const wanted = readdirSync(folder).length + (draw() % 8);
        let isOver = false;
        void applying.then(() => {
          isOver = true;
        });
        await expect.poll(() => isOver || readdirSync(folder).length >= wanted, { interval: 1 }).toBe(true);
        await gateway.kill();
        await applying;
        await gateway.restart();
      }
      const error = await applying;
      if (error === undefined) sequence = upTo;
      else {
        if (!(error instanceof OperatingError)) throw error;
        expect([error.code, error.definite]).toEqual([expect.stringMatching(/^s3_(unavailable|timeout)$/), false]);
        failures += 1;
      }
      if (draw() % 10 !== 0) continue;
      // A new life, with the checkpoint that the old one would have left.
      await sink.close();
      sink = sinkAt(place(), { eventsPerObject: 1 + (draw() % 30) });
      const own = await sink.open(SCOPE, draw() % 4 === 0 ? undefined : feed.place(sequence));
      expect(own?.sequence).toBeGreaterThanOrEqual(sequence);
      sequence = own?.sequence ?? 0;
    }
    expect(kills).toBe(KILLS);
    await sink.close();
    const reading = place();
    expect((await readAll(reading)).flatMap(({ events }) => events)).toEqual(feed.events);
    await reading.close();
    console.log(`${kills} kills, of which ${failures} failed a batch`);
  });
});
