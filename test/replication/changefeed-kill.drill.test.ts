/** Batches of a changefeed are stored whole and once although their server is killed in the middle of them, again and again. */
import { randomInt } from "node:crypto";
import { afterEach, beforeEach, expect, test } from "vitest";
import { OperatingError } from "../../contracts/errors.ts";
import { connectNats } from "../../services/jetstream/connect.ts";
import { seededNumbers } from "../../services/runtime/seeded-numbers.ts";
import { EventFeed } from "../../services/testing/mod.ts";
import { failOnLeakedServers, natsServer, skipWithoutNats } from "../support/nats.ts";
import { changefeedSink, readAll } from "./changefeed-bed.ts";

beforeEach(skipWithoutNats);
afterEach(failOnLeakedServers);

const ROUNDS = 12;
const EVENTS = 12_000;
/** What a server that is away or has just come back is told as. */
const PASSING = ["nats_disconnected", "jetstream_timeout", "jetstream_unavailable", "jetstream_error"];

test("no event is lost or doubled when the server is killed in mid-batch", async ({ onTestFinished }) => {
  const seed = randomInt(2 ** 31);
  console.log(`changefeed-kill: seed ${seed}`);
  const draw = seededNumbers(seed);
  const server = await natsServer({ cleanup: onTestFinished });
  const connection = await connectNats({ servers: server.url, name: "changefeed" });
  onTestFinished(() => connection.close());
  const feed = new EventFeed({ count: EVENTS, bodyLength: 100 });
  const scope = feed.scope("changefeed");
  const sink = changefeedSink(connection);
  onTestFinished(() => sink.close());
  await sink.open(scope, undefined);
  const attempt = async (after: number, upTo: number): Promise<string> => {
    try {
      await sink.apply(feed.batch(scope, after, upTo), new AbortController().signal);
      return "";
    } catch (error) {
      if (!(error instanceof OperatingError)) throw error;
      expect(PASSING).toContain(error.code);
      return error.code;
    }
  };
  const insist = async (after: number, upTo: number): Promise<void> => {
    while ((await attempt(after, upTo)) !== "") await new Promise((resolve) => setImmediate(resolve));
  };
  const outcomes: string[] = [];
  let done = 0;
  for (let round = 0; round < ROUNDS; round += 1) {
    const upTo = Math.min(feed.lastSequence, done + 200 + (draw() % 800));
    const doomed = attempt(done, upTo);
    await new Promise((resolve) => setTimeout(resolve, draw() % 25));
    await server.kill();
    outcomes.push(await doomed);
    await server.restart();
    // Cut elsewhere than before: what is stored of the first attempt must be recognised in any batch.
    await insist(done, done + 1 + (draw() % (upTo - done)));
    await insist(done, upTo);
    done = upTo;
  }
  console.log(`outcomes of the batches that were interrupted: ${outcomes.map((code) => code || "stored").join(", ")}`);
  const read = await readAll(connection, scope);
  expect(read.map(({ event }) => event.sequenceNumber)).toEqual(Array.from({ length: done }, (_, index) => index + 1));
});
