/** A listener on a real connection, as a producer has it. */
import { afterEach, beforeEach, expect, test } from "vitest";
import { backpressureSubject } from "../../contracts/subjects.ts";
import { type Backpressure, BackpressureListener } from "../../services/health/mod.ts";
import { connectNats } from "../../services/jetstream/connect.ts";
import { failOnLeakedServers, natsServer, skipWithoutNats } from "../support/nats.ts";

beforeEach(skipWithoutNats);
afterEach(failOnLeakedServers);

const WORD = {
  ...{ shard: "default", region: "local", leader: "a", term: 1, at: 1_000, active: true, since: 1_000, pending: 3 },
  ...{ pendingHigh: 3, pendingLow: 1, bodyBytes: 0, bodyBytesHigh: 10, bodyBytesLow: 5 },
};

test("hears the words of its shard in order, and none once it is closed", async ({ onTestFinished }) => {
  const server = await natsServer({ cleanup: onTestFinished });
  const connection = await connectNats({ servers: [server.url], name: "producer" });
  onTestFinished(() => connection.close());
  const heard: number[] = [];
  const onSignal = ({ sequence }: Backpressure): void => void heard.push(sequence);
  const listener = BackpressureListener.on(connection, { region: "local", shard: "default", onSignal });
  const tell = (shard: string, sequence: number): void =>
    connection.publish(backpressureSubject("local", shard), JSON.stringify({ ...WORD, shard, sequence }));
  tell("default", 1);
  tell("other", 2);
  tell("default", 3);
  await connection.flush();
  expect(heard).toEqual([1, 3]);
  listener.close();
  tell("default", 4);
  await connection.flush();
  expect(heard).toEqual([1, 3]);
});
