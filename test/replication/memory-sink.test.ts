/** The memory sink against the suite of all sinks, and its bound. */
import { describe, expect, test } from "vitest";
import { MemoryEvents, MemorySink, memoryKind } from "../../services/replication/sinks/memory-sink.ts";
import { EventFeed, sinkConformance } from "../../services/testing/mod.ts";

sinkConformance({ describe, test }, "MemorySink", async () => {
  const target = new MemoryEvents();
  return {
    make: () => new MemorySink(target),
    scope: { sink: "memory", region: "eu", shard: "orders", logId: "the-log" },
    guarantee: memoryKind.guarantee,
    isFenced: true,
    delivered: async () =>
      target.events.map(({ sequenceNumber, resourceLeaseItemPayload: item }) => ({
        sequenceNumber,
        ...(item?.body === undefined ? {} : { body: item.body }),
      })),
    close: async () => undefined,
  };
});

test("forgets the oldest event for one above the bound, and keeps the order", async () => {
  const feed = new EventFeed();
  const target = new MemoryEvents(7);
  const sink = new MemorySink(target);
  const scope = feed.scope("memory");
  await sink.open(scope, undefined);
  const { signal } = new AbortController();
  for (const [after, upTo] of [
    [0, 3],
    [3, 7],
    [7, 12],
    [12, 33],
  ] as const) {
    await sink.apply(feed.batch(scope, after, upTo), signal);
    const kept = Array.from({ length: Math.min(7, upTo) }, (_, index) => upTo - Math.min(7, upTo) + index + 1);
    expect(target.events.map((event) => event.sequenceNumber)).toEqual(kept);
  }
});

test("refuses options that it does not know and a bound of nothing", () => {
  expect(memoryKind.options.safeParse({ eventMax: 5 }).success).toBe(false);
  expect(memoryKind.options.safeParse({ eventsMax: 0 }).success).toBe(false);
  expect(memoryKind.options.parse({})).toEqual({ eventsMax: 10_000 });
});
