/** What other tests get from `test/support/nats.ts`: a cluster that can take replicated streams, and a check that nothing is left running. */
import { existsSync } from "node:fs";
import { dirname } from "node:path";
import { jetstream, jetstreamManager, StorageType } from "@nats-io/jetstream";
import { connect } from "@nats-io/transport-node";
import { afterAll, afterEach, beforeEach, describe, expect, onTestFinished, test } from "vitest";
import {
  cluster,
  failOnLeakedServers,
  failOnLeakedSuiteServers,
  natsServer,
  skipWithoutNats,
} from "../support/nats.ts";

beforeEach(skipWithoutNats);
afterEach(failOnLeakedServers);
afterAll(failOnLeakedSuiteServers);

describe("a cluster", () => {
  test("takes a stream with three replicas at once, and loses nothing when one node is killed", async () => {
    const { nodes, urls, metaLeader } = await cluster(3, { cleanup: onTestFinished });
    const connection = await connect({ servers: [...urls] });
    onTestFinished(() => connection.close());
    const manager = await jetstreamManager(connection);
    const stream = { name: "LOG", subjects: ["log.>"], storage: StorageType.File, num_replicas: 3 };
    const created = await manager.streams.add(stream);
    expect(created.cluster?.replicas).toHaveLength(2);
    await jetstream(connection).publish("log.a", "one");
    const leader = await metaLeader();
    await leader.kill();
    expect(nodes.filter((node) => node.running)).toHaveLength(2);
    expect(await metaLeader()).not.toBe(leader);
    await leader.restart();
    await metaLeader(nodes);
    // The stream may still be about to elect its leader: until then nobody answers.
    const messages = async (): Promise<number> => (await manager.streams.info("LOG")).state.messages;
    await expect.poll(messages, { timeout: 20_000 }).toBe(1);
  });
});

describe("the leak check", () => {
  test("fails and ends a server that nobody looks after", async () => {
    const server = await natsServer();
    await expect(failOnLeakedServers()).rejects.toThrow(
      new RegExp(`1 nats-server\\(s\\) were left running:\\n  ${server.serverName} .*nats-support\\.int\\.test\\.ts`),
    );
    expect(server.running).toBe(false);
    expect(existsSync(server.storeDir)).toBe(false);
    await failOnLeakedServers();
  });

  test("leaves alone what the test's end or the file's end will stop", async () => {
    const ours = await natsServer({ cleanup: onTestFinished });
    const shared = await natsServer({ scope: "suite" });
    await failOnLeakedServers();
    expect([ours.running, shared.running]).toEqual([true, true]);
    await expect(failOnLeakedSuiteServers()).rejects.toThrow(/^2 nats-server/);
    expect([ours.running, shared.running]).toEqual([false, false]);
  });

  test("has nothing to say when a server went out of scope", async () => {
    let folder = "";
    {
      await using server = await natsServer();
      folder = dirname(server.logFile);
      expect(existsSync(folder)).toBe(true);
    }
    expect(existsSync(folder)).toBe(false);
  });
});
