/** How many leases a worker holds ahead of its handlers. */
import { expect, test } from "vitest";
import { AdaptivePrefetch } from "../../services/client/prefetch.ts";

function prefetchOf(concurrency: number, times: { handling: number; settling: number }): number {
  const prefetch = new AdaptivePrefetch(concurrency);
  for (let item = 0; item < 100; item += 1) {
    prefetch.handled(times.handling);
    prefetch.settled(times.settling);
  }
  return prefetch.size;
}

test("nothing is held ahead before an item has been handled", () => {
  expect(new AdaptivePrefetch(16).size).toBe(0);
});

test("handlers that take long need little ahead, short ones much", () => {
  const trip = { settling: 2.5 };
  expect(prefetchOf(16, { handling: 1_000, ...trip })).toBe(1);
  expect(prefetchOf(16, { handling: 5, ...trip })).toBe(16);
  expect(prefetchOf(16, { handling: 1, ...trip })).toBe(80);
  expect(prefetchOf(16, { handling: 0, ...trip })).toBe(1_000);
});

test("follows handlers that become slower", () => {
  const prefetch = new AdaptivePrefetch(10);
  const handle = (ms: number): void => {
    for (let item = 0; item < 200; item += 1) {
      prefetch.handled(ms);
      prefetch.settled(5);
    }
  };
  handle(1);
  expect(prefetch.size).toBe(100);
  handle(200);
  expect(prefetch.size).toBe(1);
});
