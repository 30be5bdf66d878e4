/** What workers and callers of the SDK feel when a shard changes hands: real dispatchers, one request under way and nothing else. */
import { afterEach, beforeEach, expect, test } from "vitest";
import { LeaseClient, LeaseWorker } from "../../services/client/mod.ts";
import { testMesh } from "../support/mesh.ts";
import { failOnLeakedServers, skipWithoutNats } from "../support/nats.ts";
import type { Cleanup } from "../support/process.ts";

/** The worker's question waits so long: without a hint it would find out only then. ms. */
const POLL_MS = 20_000;
/** Far below that, far above what it takes. ms. */
const SOON_MS = 3_000;

beforeEach(skipWithoutNats);
afterEach(failOnLeakedServers);

async function idleWorker(url: string, cleanup: Cleanup) {
  const connect = async (principal: string): Promise<LeaseClient> => {
    const client = await LeaseClient.connect({ servers: url, shard: "default", principal });
    cleanup(() => client.close());
    return client;
  };
  const own = await connect("worker");
  const worker = new LeaseWorker(own, { waitMs: POLL_MS, drainTimeoutMs: 500, handler: async () => {} });
  const errors: unknown[] = [];
  const waiting: ((resourceId: string) => void)[] = [];
  worker.on("error", ({ error }) => errors.push(error));
  worker.on("completed", ({ lease }) => waiting.shift()?.(lease.item.resourceId));
  cleanup(() => worker.stop());
  worker.start();
  const caller = await connect("caller");
  /** How long it takes until the worker has done a new item. ms. */
  const timeOfItem = async (resourceId: string): Promise<number> => {
    const done = new Promise<string>((resolve) => waiting.push(resolve));
    await caller.enqueue({ resourceType: "table", resourceId });
    const from = performance.now();
    expect(await done).toBe(resourceId);
    return performance.now() - from;
  };
  return { caller, errors, timeOfItem };
}

test("a worker that waits for items gets the first one behind a kill, a handover and a stop of the leader at once", async ({
  onTestFinished,
}) => {
  const mesh = await testMesh(onTestFinished);
  const a = await mesh.dispatcher("a", [], '"msg":"leading"');
  const b = await mesh.dispatcher("b");
  const { caller, errors, timeOfItem } = await idleWorker(mesh.server.url, onTestFinished);
  await timeOfItem("first");
  await a.signal("SIGKILL");
  await b.line('"msg":"leading"');
  const times = [await timeOfItem("behind a kill")];
  const again = await mesh.dispatcher("a");
  await caller.handover({ to: "a" });
  times.push(await timeOfItem("behind a handover"));
  await again.signal("SIGTERM");
  times.push(await timeOfItem("behind a stop"));
  console.log(`first items behind a kill, a handover, a stop: ${times.map(Math.round).join(", ")} ms`);
  expect(Math.max(...times)).toBeLessThan(SOON_MS);
  expect(errors).toEqual([]);
});
