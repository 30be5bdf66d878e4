/** `omnirelay bodies`: what it prints, and what it refuses. */
import { afterEach, beforeEach, expect, test } from "vitest";
import { LargeBodies } from "../../services/client/mod.ts";
import { connectNats } from "../../services/jetstream/connect.ts";
import { testMesh } from "../support/mesh.ts";
import { failOnLeakedServers, skipWithoutNats } from "../support/nats.ts";
import { cli } from "./fake-terminal.ts";

beforeEach(skipWithoutNats);
afterEach(failOnLeakedServers);

test("bodies are counted before and after their bucket exists", async ({ onTestFinished }) => {
  const mesh = await testMesh(onTestFinished);
  await mesh.dispatcher("d1");
  const at = ["--nats-url", mesh.server.url];
  const missing = await cli("bodies", "sweep", ...at);
  expect([missing.code, missing.notes]).toEqual([1, expect.stringContaining("omnirelay bodies create")]);
  for (let time = 0; time < 2; time += 1) {
    const created = await cli("bodies", "create", "--max-bytes", "10000000", ...at);
    expect([created.code, created.out]).toEqual([0, "the bucket omnirelay-bodies is there"]);
  }
  const connection = await connectNats({ servers: mesh.server.url, name: "bodies" });
  onTestFinished(() => connection.close());
  const bodies = await LargeBodies.open(await mesh.client("default"), { connection });
  await bodies.enqueue({ resourceType: "a", resourceId: "b", body: "x".repeat(100_000) });
  await bodies.close();
  const swept = await cli("bodies", "sweep", ...at);
  expect(swept.out).toBe("1 bodies: 0 in use, 1 too young, 0 orphans removed (0 bytes), 0 leftovers removed");
  const json = await cli("bodies", "sweep", "--dry-run", "--json", ...at);
  expect(JSON.parse(json.out)).toEqual({ bodies: 1, young: 1, inUse: 0, orphans: 0, orphanBytes: 0, leftovers: 0 });
});

test.each([
  ["--grace-ms", "1000", "must be a whole number from 600000"],
  ["--replicas", "2", "unknown option"],
])("sweep %s %s is refused", async (option, value, why) => {
  const { code, notes } = await cli("bodies", "sweep", option, value);
  expect([code, notes]).toEqual([2, expect.stringContaining(why)]);
});
