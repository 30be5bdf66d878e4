/** Bodies by reference when the process that hands them over is killed at any step. */
import { afterEach, beforeEach, expect, test } from "vitest";
import { LargeBodies, provisionBodies, sweepBodies } from "../../services/client/mod.ts";
import { connectNats } from "../../services/jetstream/connect.ts";
import { testMesh } from "../support/mesh.ts";
import { failOnLeakedServers, skipWithoutNats } from "../support/nats.ts";
import { startProcess } from "../support/process.ts";
import { bodyOf } from "./body-process.ts";

beforeEach(skipWithoutNats);
afterEach(failOnLeakedServers);

test("kill -9 at any step leaves no body for ever and no unfinished item without its own", {
  timeout: 240_000,
}, async ({ onTestFinished }) => {
  const mesh = await testMesh(onTestFinished);
  await mesh.dispatcher("d1");
  const client = await mesh.client("default", { principal: "alice" });
  const connection = await connectNats({ servers: mesh.server.url, name: "bodies" });
  onTestFinished(() => connection.close());
  await provisionBodies(connection, { replicas: 1 });
  const bodies = await LargeBodies.open(client, { connection });
  onTestFinished(() => bodies.close());
  let kills = 0;
  for (const mode of ["before", "after"])
    for (let step = 1; ; step += 1) {
      const args = [mesh.server.url, `${mode}-${step}`, mode, String(step)];
      const running = startProcess("test/client/body-process.ts", args, onTestFinished);
      const code = await running.ended;
      expect(running.lines.filter((line) => line !== "over")).toEqual([]);
      if (code === 0) break;
      expect(running.child.signalCode).toBe("SIGKILL");
      kills += 1;
    }
  expect(kills).toBeGreaterThan(20);
  const seen: string[] = [];
  const worker = bodies.worker({
    concurrency: 8,
    leaseDurationMs: 5_000,
    handler: async ({ item }) => {
      if (item.body !== bodyOf(item.resourceType === "kept" ? item.resourceId : "cancelled"))
        seen.push(item.resourceId);
    },
  });
  onTestFinished(() => worker.stop());
  worker.start();
  const unfinished = async () => {
    const { pending, active, deadLettered } = await client.stats();
    return { pending, active, deadLettered };
  };
  await expect.poll(unfinished, { timeout: 60_000, interval: 200 }).toEqual({ pending: 0, active: 0, deadLettered: 0 });
  expect(seen).toEqual([]);
  await worker.stop();
  await bodies.close();
  await sweepBodies({ connection, graceMs: 0 });
  const { bodies: left, leftovers } = await sweepBodies({ connection, graceMs: 0 });
  expect({ left, leftovers }).toEqual({ left: 0, leftovers: 0 });
});
