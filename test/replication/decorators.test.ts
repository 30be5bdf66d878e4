/** Sinks around sinks: what a filter leaves out, and how several sinks behave as one. */
import { describe, expect, test } from "vitest";
import type { ReplicationEvent } from "../../contracts/envelope.ts";
import { OperatingError } from "../../contracts/errors.ts";
import type { Checkpoint } from "../../contracts/followers.ts";
import type { Sink, SinkBatch } from "../../services/replication/sink.ts";
import { composite, filtered } from "../../services/replication/sinks/decorators.ts";
import { MemoryEvents, MemorySink } from "../../services/replication/sinks/memory-sink.ts";
import { EventFeed, type SinkUnderTest, sinkConformance } from "../../services/testing/mod.ts";
import { deliveredEvent, outcomeOf, refusalOf } from "./outside-bed.ts";

const feed = new EventFeed({ seed: 31, count: 60 });
const scope = feed.scope("around");
const signal = (): AbortSignal => new AbortController().signal;
const isNoBeat = ({ eventType }: ReplicationEvent): boolean => eventType !== "Heartbeat";

/** Keeps what it gets and no place, as the other end of a webhook does; `fail` makes it throw. */
class LooseSink implements Sink {
  readonly events: ReplicationEvent[];
  readonly batches: SinkBatch[] = [];
  fail: (batch: SinkBatch) => OperatingError | undefined = () => undefined;
  closed = 0;

  constructor(events: ReplicationEvent[] = []) {
    this.events = events;
  }
  async open(): Promise<undefined> {}
  async apply(batch: SinkBatch): Promise<void> {
    const error = this.fail(batch);
    if (error !== undefined) throw error;
    this.batches.push(batch);
    this.events.push(...batch.events);
  }
  async close(): Promise<void> {
    this.closed += 1;
  }
}
const error = (code: string): OperatingError => new OperatingError(code, `it says ${code}`, { definite: true });
const sequences = (events: readonly ReplicationEvent[]): readonly number[] =>
  events.map((event) => event.sequenceNumber);
const range = (first: number, last: number): readonly number[] =>
  Array.from({ length: last - first + 1 }, (_, index) => first + index);

describe("a composite", () => {
  async function opened(checkpoint: Checkpoint = feed.place(0)) {
    const target = new MemoryEvents();
    const loose = new LooseSink();
    const sink = composite([
      { name: "keeper", sink: new MemorySink(target) },
      { name: "loose", sink: loose },
    ]);
    await sink.open(scope, checkpoint);
    const apply = (after: number, upTo: number): Promise<void> => sink.apply(feed.batch(scope, after, upTo), signal());
    return { target, loose, sink, apply };
  }

  test("brings a batch to all, and after an error only to those that do not have it", async () => {
    const { target, loose, apply } = await opened();
    await apply(0, 10);
    loose.fail = () => error("endpoint_busy");
    const failed = await refusalOf(apply(10, 20));
    expect([...outcomeOf(failed), failed.message, failed.details["child"]]).toEqual([
      ...["endpoint_busy", true, "loose: it says endpoint_busy", "loose"],
    ]);
    expect([target.events.length, loose.events.length]).toEqual([20, 10]);
    loose.fail = () => undefined;
    await apply(10, 20);
    await apply(20, 30);
    expect(sequences(target.events)).toEqual(range(1, 30));
    expect(sequences(loose.events)).toEqual(range(1, 30));
  });

  test("begins at the lowest place of its children", async () => {
    const [ahead, behind] = [new MemoryEvents(), new MemoryEvents()];
    for (const [target, place] of [
      [ahead, 30],
      [behind, 12],
    ] as const)
      target.add([], feed.place(place));
    const both = composite([
      { name: "ahead", sink: new MemorySink(ahead) },
      { name: "behind", sink: new MemorySink(behind) },
    ]);
    expect(await both.open(scope, feed.place(40))).toEqual(feed.place(12));
    await both.apply(feed.batch(scope, 12, 35), signal());
    expect(sequences(behind.events)).toEqual(range(13, 35));
    expect(sequences(ahead.events)).toEqual(range(31, 35));
    const mixed = composite([
      { name: "ahead", sink: new MemorySink(ahead) },
      { name: "loose", sink: new LooseSink() },
    ]);
    expect(await mixed.open(scope, { ...feed.place(20), owner: "x" })).toEqual(feed.place(20));
    expect(await composite([{ name: "loose", sink: new LooseSink() }]).open(scope, feed.place(20))).toBeUndefined();
  });

  test("tells what can pass before what blames events, and another writer before all", async () => {
    const sinks = ["event_refused", "endpoint_busy", "sink_taken"].map((code) => {
      const sink = new LooseSink();
      sink.fail = () => error(code);
      return { name: code, sink };
    });
    for (const [count, code] of [
      [1, "event_refused"],
      [2, "endpoint_busy"],
      [3, "sink_taken"],
    ] as const)
      for (const order of [sinks.slice(0, count), sinks.slice(0, count).reverse()]) {
        const sink = composite(order);
        await sink.open(scope, feed.place(0));
        expect((await refusalOf(sink.apply(feed.batch(scope, 0, 5), signal()))).code).toBe(code);
      }
  });

  test("gives a child that is further the rest only, and its own place to begin at", async () => {
    const { target, loose, apply } = await opened();
    loose.fail = ({ upTo }) => (upTo.sequence > 10 ? error("endpoint_busy") : undefined);
    await refusalOf(apply(0, 20));
    loose.fail = () => undefined;
    await apply(0, 25);
    expect(sequences(target.events)).toEqual(range(1, 25));
    expect(sequences(loose.events)).toEqual(range(1, 25));
  });

  test("closes all its children when one cannot be opened, or closed", async () => {
    const good = new LooseSink();
    const bad = new LooseSink();
    bad.open = async () => Promise.reject(error("sink_foreign_log"));
    bad.close = async () => Promise.reject(error("sink_failed"));
    const sink = composite([
      { name: "good", sink: good },
      { name: "bad", sink: bad },
    ]);
    expect((await refusalOf(sink.open(scope, undefined))).message).toBe("bad: it says sink_foreign_log");
    expect((await refusalOf(sink.close())).message).toBe("bad: it says sink_failed");
    expect(good.closed).toBe(1);
  });

  test("needs children, with names of their own", () => {
    const child = { name: "a", sink: new LooseSink() };
    for (const children of [[], [child, child]])
      expect(() => composite(children)).toThrow(expect.objectContaining({ code: "invalid_options", definite: true }));
  });
});

sinkConformance({ describe, test }, "filtered", async () => {
  const target = new MemoryEvents();
  return {
    scope,
    guarantee: "exactly once",
    isFenced: true,
    wants: isNoBeat,
    make: () => filtered(new MemorySink(target), isNoBeat),
    delivered: async () => target.events.map(deliveredEvent),
    close: async () => undefined,
  };
});

/** The suite looks at one child at a time. */
const compositeSubject = (seen: "first" | "second"): SinkUnderTest => {
  const targets = { first: new MemoryEvents(), second: new MemoryEvents() };
  return {
    scope,
    guarantee: "exactly once",
    isFenced: true,
    make: () =>
      composite([
        { name: "first", sink: new MemorySink(targets.first) },
        { name: "second", sink: new MemorySink(targets.second) },
      ]),
    delivered: async () => targets[seen].events.map(deliveredEvent),
    close: async () => undefined,
  };
};
sinkConformance({ describe, test }, "composite, the first child", async () => compositeSubject("first"));
sinkConformance({ describe, test }, "composite, the second child", async () => compositeSubject("second"));
