/** What dispatchers, clients and workers do when NATS goes away and comes back: killed, moved, cut off. */
import { setTimeout } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { TcpProxy } from "../../chaos/tcp-proxy.ts";
import { pickFreePort } from "../../infra/nats-server/free-port.ts";
import { startLoad } from "../support/load.ts";
import { logHand } from "../support/log-hand.ts";
import { witnessLog } from "../support/log-witness.ts";
import { testMesh } from "../support/mesh.ts";
import { failOnLeakedServers, natsServer, skipWithoutNats } from "../support/nats.ts";
import type { Cleanup } from "../support/process.ts";
import { sharedSnapshots } from "../support/shared-snapshots.ts";

beforeEach(skipWithoutNats);
afterEach(failOnLeakedServers);

/** Longer than a dispatcher waits for anything: the longest is the 10 s between two sightings of a log that seems wrong. ms. */
const CUT_MS = 11_000;
/** How long a dispatcher that can be reached again may take until it could lead. ms. */
const FOLLOWS_MS = 10_000;
/** How long the work may rest after the server is back. ms. */
const BACK_MS = 4_000;

/** Two dispatchers under load that know these servers. */
async function meshUnderLoad(cleanup: Cleanup, more: readonly string[] = []) {
  const mesh = await testMesh(cleanup);
  const servers = [mesh.server.url, ...more];
  const started = ["a", "b"].map((peer) => mesh.start(peer, [], { servers: servers.join(",") }));
  await Promise.all(started.map((process) => process.line('"msg":"ready"')));
  const client = await mesh.client("default", { servers });
  const worker = await mesh.client("default", { servers, principal: "worker" });
  const witness = await witnessLog(servers, "default", cleanup);
  const load = startLoad(client, worker, cleanup);
  await load.more(50);
  return { mesh, client, witness, load };
}

async function expectNothingLost({ client, witness, load }: Omit<Awaited<ReturnType<typeof meshUnderLoad>>, "mesh">) {
  await load.finish();
  expect(load.errors).toEqual([]);
  const stats = await client.stats({ consistent: true });
  expect(stats.stateHash).toBe(await witness.hashAt(stats.sequence));
  expect(stats.completed).toBe(load.applied.size);
}

describe.concurrent("dispatchers, clients and workers go on by themselves when", () => {
  test("their NATS server is killed and started again under load, within seconds", async ({ onTestFinished }) => {
    const { mesh, ...parts } = await meshUnderLoad(onTestFinished);
    for (let round = 0; round < 2; round += 1) {
      await mesh.server.kill();
      await mesh.server.restart();
      const waitedMs = await parts.load.more(50);
      console.log(`worked again ${Math.round(waitedMs)} ms after the server was back`);
      expect(waitedMs).toBeLessThan(BACK_MS);
    }
    await expectNothingLost(parts);
  });

  test("their NATS server moves to another address that they were given too", async ({ onTestFinished }) => {
    const port = await pickFreePort("127.0.0.1");
    const { mesh, ...parts } = await meshUnderLoad(onTestFinished, [`nats://127.0.0.1:${port}`]);
    const { storeDir } = mesh.server;
    await mesh.server.stop();
    await natsServer({ storeDir, port, cleanup: onTestFinished });
    const waitedMs = await parts.load.more(50);
    console.log(`worked again ${Math.round(waitedMs)} ms after the server had moved`);
    expect(waitedMs).toBeLessThan(BACK_MS);
    await expectNothingLost(parts);
  });

  test("one dispatcher was cut off for longer than any patience in it, past a part of the log that was trimmed", async ({
    onTestFinished,
  }) => {
    const mesh = await testMesh(onTestFinished);
    const proxy = await TcpProxy.listen(mesh.server.port);
    onTestFinished(() => proxy.close());
    const often = ["--snapshot-events", "50", "--snapshot-ms", "0"];
    const a = mesh.start("a", often, { servers: `nats://127.0.0.1:${proxy.port}` });
    await a.line('"msg":"leading"');
    const b = await mesh.dispatcher("b", often);
    const client = await mesh.client("default");
    const witness = await witnessLog(mesh.server.url, "default", onTestFinished);
    await client.enqueue({ resourceType: "t", resourceId: "r" });
    const before = witness.streamSequence;
    proxy.cut();
    const cutMs = performance.now();
    const enqueue = () => client.enqueue({ resourceType: "t", resourceId: "r" });
    // What is asked of the new leader passes the time.
    while (performance.now() - cutMs < CUT_MS) await Promise.all([enqueue(), setTimeout(10)]);
    await b.line('"msg":"leading"');
    const hand = await logHand(mesh.server.url, { shard: "default" }, onTestFinished);
    const { list } = await sharedSnapshots(mesh.server.url, onTestFinished);
    const keepFrom = (await list("default"))[1]?.label.streamSequence ?? 0;
    expect(keepFrom).toBeGreaterThan(before);
    await hand.purge(keepFrom);
    proxy.heal();
    const healedMs = performance.now();
    while ((await enqueue().then(() => client.stats({ consistent: true }))).leader !== "a")
      await client.handover({ to: "a", timeoutMs: 1_000 }).catch((error: unknown) => {
        if (performance.now() - healedMs > FOLLOWS_MS) throw error;
      });
    console.log(`followed and led again ${Math.round(performance.now() - healedMs)} ms after it could be reached`);
    const stats = await client.stats({ consistent: true });
    expect(stats.leader).toBe("a");
    expect(stats.stateHash).toBe(await witness.hashAt(stats.sequence));
  });
});
