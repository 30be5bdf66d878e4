/** A queue that is said to hold so many items holds so many, whichever side is the faster one. */
import { expect, test } from "vitest";
import { driveAtDepth, lifeAtDepth, SLACK } from "./depth.ts";
import { Items } from "./items.ts";
import { fill, supplyOf } from "./loads.ts";
import type { PeerClient } from "./peers/peer.ts";

const DRIVE = { batch: 100, inFlight: 5, concurrency: 300 };
const TICK = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** A queue in memory, of which each side takes so many turns of the event loop. */
function memoryQueue(enqueueTicks: number, workTicks: number) {
  const waiting: string[] = [];
  const seen = { least: Number.POSITIVE_INFINITY, most: 0 };
  const client: PeerClient = {
    enqueue: async (bodies) => {
      for (let tick = 0; tick < enqueueTicks; tick += 1) await TICK();
      waiting.push(...bodies);
      seen.most = Math.max(seen.most, waiting.length);
    },
    work: async ({ concurrency, handler, settled }) => {
      let isStopped = false;
      const loop = async (): Promise<void> => {
        while (!isStopped) {
          for (let tick = 0; tick < workTicks; tick += 1) await TICK();
          const [body] = waiting.splice(0, 1);
          seen.least = Math.min(seen.least, waiting.length);
          if (body === undefined) continue;
          await handler(body);
          settled(body);
        }
      };
      const all = Array.from({ length: concurrency }, loop);
      return {
        stop: async () => {
          isStopped = true;
          await Promise.all(all);
        },
      };
    },
    close: async () => {},
  };
  return { client, seen };
}

test.for([
  ["workers are faster", 10_000, 40, 1],
  ["producers are faster", 10_000, 1, 3],
  ["a shallow queue has faster workers", 1_000, 5, 1],
] as const)("the depth is held when %s", async ([, depth, enqueueTicks, workTicks]) => {
  const { client, seen } = memoryQueue(enqueueTicks, workTicks);
  const items = new Items();
  await fill(client, items, supplyOf(depth), DRIVE);
  const { count, stop, least, most } = await lifeAtDepth(client, items, supplyOf(10_000), DRIVE, depth);
  expect(count).toBe(10_000);
  expect(seen.most).toBeLessThanOrEqual(depth);
  // What handlers had in their hands when it became too low has left the queue already, and so have those that ran out at the end.
  const hands = DRIVE.concurrency + DRIVE.batch * DRIVE.inFlight;
  expect(seen.least).toBeGreaterThanOrEqual(depth - SLACK - hands);
  expect(most).toBeLessThanOrEqual(depth);
  expect(least).toBeGreaterThanOrEqual(depth - SLACK - hands);
  await stop();
});

test("no more is asked of a peer at once than the smallest depth allows", () => {
  expect(driveAtDepth({ batch: 1_000, inFlight: 4, concurrency: 2_000 })).toEqual({
    ...{ batch: 100, inFlight: 10, concurrency: 1_000 },
  });
  expect(driveAtDepth({ batch: 1, inFlight: 512, concurrency: 24 })).toEqual({
    ...{ batch: 1, inFlight: 512, concurrency: 24 },
  });
});
