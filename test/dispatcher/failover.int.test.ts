/** What the mesh promises when processes die or stop: real dispatchers, real workers, SIGKILL and SIGSTOP. */
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { LeaseClient, LeaseWorker } from "../../services/client/mod.ts";
import { applyFrame } from "../../services/core/apply.ts";
import { stateHash } from "../../services/core/hash.ts";
import { LogReader } from "../../services/core/log-reader.ts";
import { createState } from "../../services/core/state.ts";
import { connectNats } from "../../services/jetstream/connect.ts";
import { readLogMessages } from "../../services/jetstream/read-log.ts";
import { FencedStore } from "../../services/persistence/mod.ts";
import { chainOf } from "../../services/runtime/frame-codec.ts";
import { testMesh } from "../support/mesh.ts";
import { failOnLeakedServers, skipWithoutNats } from "../support/nats.ts";
import { startProcess } from "../support/process.ts";

beforeEach(skipWithoutNats);
afterEach(failOnLeakedServers);

/** Reads the whole log strictly; fails at anything that should not be there. */
async function auditedState(url: string) {
  const connection = await connectNats({ servers: url, name: "audit" });
  const reader = new LogReader({ region: "local", shard: "default", logId: "", hashOf: chainOf, strict: true });
  const state = createState();
  let terms = 0;
  for await (const message of readLogMessages(connection, { region: "local", shard: "default" })) {
    const verdict = reader.classify(message);
    expect(verdict.kind).toBe("frame");
    if (verdict.kind !== "frame") continue;
    applyFrame(state, verdict.frame);
    reader.advance(verdict.frame, verdict.chain);
    terms += verdict.frame.events.filter(({ type }) => type === "termStarted").length;
  }
  await connection.close();
  return { state, terms };
}

describe("two dispatchers", () => {
  test("survive kill -9 of the leader under load: served again within 3 s, nothing acknowledged lost, nothing applied twice", async ({
    onTestFinished,
  }) => {
    const mesh = await testMesh(onTestFinished);
    const leader = await mesh.dispatcher("a", [], '"msg":"leading"');
    const standby = await mesh.dispatcher("b");
    const client = await LeaseClient.connect({ servers: mesh.server.url, shard: "default", principal: "load" });
    const store = FencedStore.open(join(mesh.folder, "fenced.sqlite"));
    const applied = new Map<string, number>();
    const worker = new LeaseWorker(client, {
      concurrency: 16,
      prefetch: 32,
      handler: async (lease) => {
        store.write({ fenceKey: lease.fenceKey, token: lease.token, effectId: lease.itemId }, () => {
          applied.set(lease.itemId, (applied.get(lease.itemId) ?? 0) + 1);
        });
      },
    });
    worker.start();
    const acknowledged = new Set<string>();
    let longestGapMs = 0;
    let lastMs = performance.now();
    const enqueueUntil = async (count: number): Promise<void> => {
      while (acknowledged.size < count) {
        const { itemId } = await client.enqueue({ resourceType: "table", resourceId: `t-${acknowledged.size}` });
        acknowledged.add(itemId);
        longestGapMs = Math.max(longestGapMs, performance.now() - lastMs);
        lastMs = performance.now();
      }
    };
    await enqueueUntil(200);
    await leader.signal("SIGKILL");
    await enqueueUntil(600);
    await standby.line('"msg":"leading"');
    const again = await mesh.dispatcher("a");
    await standby.signal("SIGKILL");
    await enqueueUntil(900);
    await again.line('"msg":"leading"');
    console.log(`longest gap between two acknowledged enqueues: ${Math.round(longestGapMs)} ms`);
    expect(longestGapMs).toBeLessThan(3_000);
    for (let stats = await client.stats(); stats.pending + stats.active > 0; stats = await client.stats())
      await new Promise((resolve) => worker.on("completed", resolve));
    await worker.stop();
    const { state, terms } = await auditedState(mesh.server.url);
    const stats = await client.stats({ consistent: true });
    expect(terms).toBe(3);
    expect(stats.stateHash).toBe(stateHash(state));
    expect(state.completedTotal).toBeGreaterThanOrEqual(acknowledged.size);
    expect([...acknowledged].filter((itemId) => applied.get(itemId) !== 1)).toEqual([]);
    expect([...applied.values()].filter((count) => count !== 1)).toEqual([]);
    await client.close();
    store.close();
  });

  test("hand over without a silence when the leader is told to stop", async ({ onTestFinished }) => {
    const mesh = await testMesh(onTestFinished);
    const leader = await mesh.dispatcher("a", [], '"msg":"leading"');
    const standby = await mesh.dispatcher("b");
    const client = await LeaseClient.connect({ servers: mesh.server.url, shard: "default", principal: "load" });
    await client.enqueue({ resourceType: "table", resourceId: "t" });
    const from = performance.now();
    const stopped = leader.signal("SIGTERM");
    await standby.line('"msg":"leading"');
    expect(performance.now() - from).toBeLessThan(2_000);
    await stopped;
    expect(leader.child.exitCode).toBe(0);
    expect(await client.stats()).toMatchObject({ leader: "b", pending: 1 });
    await client.close();
  });

  test("refuse to share a peer id", async ({ onTestFinished }) => {
    const mesh = await testMesh(onTestFinished);
    await mesh.dispatcher("a");
    const second = startProcess(
      "services/dispatcher/main.ts",
      ["--nats-url", mesh.server.url, "--peer-id", "a", "--data-dir", join(mesh.folder, "second")],
      onTestFinished,
    );
    expect(await second.line("another dispatcher runs as a")).toContain("--peer-id");
  });
});

test("a worker that was stopped past its lease gets stale_token, and its write is refused by the fenced store", async ({
  onTestFinished,
}) => {
  const mesh = await testMesh(onTestFinished);
  await mesh.dispatcher("a", [], '"msg":"leading"');
  const client = await LeaseClient.connect({ servers: mesh.server.url, shard: "default", principal: "other" });
  const file = join(mesh.folder, "fenced.sqlite");
  const { itemId } = await client.enqueue({ resourceType: "table", resourceId: "t" });
  const zombie = startProcess("test/dispatcher/zombie-worker.ts", [mesh.server.url, "zombie", file], onTestFinished);
  const { token } = JSON.parse(await zombie.line('"leased"')) as { token: number };
  await zombie.signal("SIGSTOP");
  const { leases } = await client.lease({ maxItems: 1, waitMs: 10_000 });
  const [lease] = leases;
  if (lease === undefined) throw new Error("the lease of a stopped worker never ran out");
  expect(lease).toMatchObject({ itemId, attempt: 2 });
  expect(lease.token).toBeGreaterThan(token);
  const store = FencedStore.open(file);
  expect(store.write({ fenceKey: lease.fenceKey, token: lease.token, effectId: "other" }, () => "written").kind).toBe(
    "applied",
  );
  zombie.write("go");
  await zombie.signal("SIGCONT");
  expect(JSON.parse(await zombie.line('"wrote"'))).toMatchObject({
    outcome: { kind: "rejected", code: "stale_token" },
  });
  expect(JSON.parse(await zombie.line('"settled"'))).toMatchObject({ code: "stale_token" });
  expect(await client.complete(lease)).toMatchObject({ duplicate: false });
  store.close();
  await client.close();
});
