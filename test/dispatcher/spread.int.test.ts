/** Eight shards on three dispatchers: spread, moved only where they must, moved back one by one. */
import { afterEach, beforeEach, expect, test } from "vitest";
import { LeaseClient } from "../../services/client/mod.ts";
import { testMesh } from "../support/mesh.ts";
import { failOnLeakedServers, skipWithoutNats } from "../support/nats.ts";

beforeEach(skipWithoutNats);
afterEach(failOnLeakedServers);

const SHARDS = Array.from({ length: 8 }, (_, index) => `s${index}`);
const PEERS = ["a", "b", "c"];

test("leaders spread evenly, only the dead dispatcher's shards move, and they come back", async ({
  onTestFinished,
}) => {
  const mesh = await testMesh(onTestFinished);
  const start = (peer: string) => mesh.dispatcher(peer, ["--shards", SHARDS.join(",")]);
  const [a, b, c] = await Promise.all(PEERS.map(start));
  const clients = await Promise.all(
    SHARDS.map((shard) => LeaseClient.connect({ servers: mesh.server.url, shard, principal: "probe" })),
  );
  onTestFinished(async () => {
    await Promise.all(clients.map((client) => client.close()));
  });
  const leaders = async (): Promise<string[]> =>
    (await Promise.all(clients.map((client) => client.stats({ consistent: true })))).map(({ leader }) => leader);
  const most = (now: readonly string[]): number =>
    Math.max(...PEERS.map((peer) => now.filter((leader) => leader === peer).length));
  /** Asks again and again: each answer waits for a frame of the log, so this is no busy loop. */
  const until = async (claim: (now: readonly string[]) => boolean): Promise<string[]> => {
    for (;;) {
      const now = await leaders();
      if (claim(now)) return now;
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
  const spread = await until((now) => most(now) <= 3);
  await b?.signal("SIGKILL");
  const orphaned = await until((now) => !now.includes("b"));
  for (const [index, leader] of spread.entries()) if (leader !== "b") expect(orphaned[index]).toBe(leader);
  // Where one is late to campaign the other takes more than its part; that is mended once nobody has come or gone for a while.
  const afterKill = await until((now) => !now.includes("b") && most(now) === 4);
  await start("b");
  const back = await until((now) => most(now) <= 3);
  expect(back.filter((leader, index) => leader !== afterKill[index])).toEqual(["b", "b"]);
  expect([a, c].map((dispatcher) => dispatcher?.child.exitCode)).toEqual([null, null]);
});
