/** Two regions configured as home of one shard: the second is refused, of two that start at once one. */
import { afterEach, beforeEach, expect, test } from "vitest";
import { REGISTRY_BUCKET } from "../../contracts/subjects.ts";
import { connectNats } from "../../services/jetstream/connect.ts";
import { provisionShard } from "../../services/jetstream/provision.ts";
import { logHand } from "../support/log-hand.ts";
import { testMesh } from "../support/mesh.ts";
import { failOnLeakedServers, natsServer, skipWithoutNats } from "../support/nats.ts";

beforeEach(skipWithoutNats);
afterEach(failOnLeakedServers);

test("a dispatcher of another region is told where the shard has its home, makes nothing, and may have it when that is given up", async ({
  onTestFinished,
}) => {
  const mesh = await testMesh(onTestFinished);
  const home = await mesh.dispatcher("a", ["--region", "north"], '"msg":"leading"');
  const client = await mesh.client("default");
  await client.enqueue({ resourceType: "t", resourceId: "r" });

  for (const args of [
    ["--region", "south"],
    ["--region", "south", "--no-provision"],
  ]) {
    const other = mesh.start("b", args);
    const line = await other.line("omnirelay dispatcher:");
    expect(line).toContain("shard default has its home in region north");
    expect(line).toContain("start it with --region north");
    expect(line).toContain("nats kv del omnirelay-shards north.default");
    expect(await other.ended).toBe(1);
  }
  const south = await logHand(mesh.server.url, { region: "south", shard: "default" }, onTestFinished);
  await expect(south.bounds()).rejects.toThrow("stream not found");
  expect(await client.stats({ consistent: true })).toMatchObject({ leader: "a", region: "north", pending: 1 });

  await home.signal("SIGTERM");
  await south.put(REGISTRY_BUCKET, "north.default", "", { "KV-Operation": "DEL" });
  await mesh.dispatcher("c", ["--region", "south"], '"msg":"leading"');
  expect(await client.stats({ consistent: true })).toMatchObject({ leader: "c", region: "south", pending: 0 });
});

test("of two regions that create a shard at once exactly one becomes its home, whoever is first", async ({
  onTestFinished,
}) => {
  const server = await natsServer({ cleanup: onTestFinished });
  const regions = ["north", "south"];
  const connections = await Promise.all(regions.map((name) => connectNats({ servers: server.url, name })));
  onTestFinished(async () => {
    await Promise.all(connections.map((connection) => connection.close()));
  });
  const create = (shard: string) => (region: string, index: number) => {
    const connection = connections[index];
    if (connection === undefined) throw new Error("no connection");
    const request = { region, shard, replicas: 1, maxBytes: -1, options: {}, writer: region };
    return provisionShard(connection, { ...request, newLogId: () => `log-${region}-${shard}` });
  };
  for (let round = 0; round < 20; round += 1) {
    const outcomes = await Promise.allSettled(regions.map(create(`s${round}`)));
    const refused = outcomes.filter(({ status }) => status === "rejected");
    expect(refused).toMatchObject([{ reason: { code: "shard_home_taken", definite: true } }]);
    // The one that lost is refused again, the home is found again.
    const again = await Promise.allSettled(regions.map(create(`s${round}`)));
    expect(again.map(({ status }) => status)).toEqual(outcomes.map(({ status }) => status));
  }
});
