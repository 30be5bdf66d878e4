/** The pump over a log in memory: order, checkpoints, failures, wishes, two processes, places that cannot be. */
import { afterEach, expect, test } from "vitest";
import { OperatingError } from "../../contracts/errors.ts";
import { LOG_VERSION_MAX } from "../../contracts/limits.ts";
import { ChainBuilder } from "../cli/chain-builder.ts";
import { ProbeSink, PumpWorld } from "./pump-world.ts";

let world: PumpWorld;
afterEach(() => world.close());

const numbers = (first: number, last: number): number[] =>
  Array.from({ length: last - first + 1 }, (_, index) => first + index);
const refused = (): OperatingError => new OperatingError("event_refused", "not this one", { definite: true });
const down = (): OperatingError => new OperatingError("place_down", "nobody answers", { definite: true });

function begin(count = 10): { chain: ChainBuilder; sink: ProbeSink } {
  world = new PumpWorld();
  const chain = new ChainBuilder().begin().enqueue(count);
  world.store(chain.messages);
  return { chain, sink: new ProbeSink() };
}

test("brings every event in order and moves the checkpoint behind the effect", async () => {
  const { chain, sink } = begin();
  world.pump(sink);
  await sink.until(12);
  world.store(chain.enqueue(5).messages);
  await sink.until(17);
  expect(sink.sequences).toEqual(numbers(1, 17));
  const entry = await world.until((found) => found?.sequence === 17);
  expect(entry).toMatchObject({ logId: "log1", streamSequence: 4, owner: "one/1", state: "running", term: 1 });
});

test("goes on from the checkpoint after a stop", async () => {
  const { chain, sink } = begin();
  const first = world.pump(sink);
  await sink.until(12);
  await first.stop();
  expect(await world.entry()).toMatchObject({ sequence: 12, owner: "", state: "standby" });
  world.store(chain.enqueue(3).messages);
  const second = new ProbeSink();
  world.pump(second, {}, "two/1");
  await second.until(15);
  expect(second.sequences).toEqual([13, 14, 15]);
});

test("brings the same events again when the effect is there and the checkpoint is not", async () => {
  const { sink } = begin();
  let isFirst = true;
  sink.before = ({ events }) => {
    if (!isFirst) return;
    isFirst = false;
    for (const { sequenceNumber } of events) sink.sequences.push(sequenceNumber);
    throw down();
  };
  world.pump(sink);
  await sink.until(12);
  await world.until((entry) => entry?.sequence === 12);
  expect(sink.sequences).toEqual([...numbers(1, 12), ...numbers(1, 12)]);
});

test("tries what can pass for as long as it takes, and says so meanwhile", async () => {
  const { sink } = begin();
  let tries = 0;
  sink.before = () => {
    tries += 1;
    if (tries <= 20) throw down();
  };
  const pump = world.pump(sink, { failure: { policy: "park", attempts: 2 } });
  await world.until((entry) => entry?.state === "failing" && entry.problem?.code === "place_down");
  await sink.until(12);
  expect(sink.sequences).toEqual(numbers(1, 12));
  expect(world.parked).toEqual([]);
  expect(await world.until((entry) => entry?.state === "running" && entry.sequence === 12)).not.toHaveProperty(
    "problem",
  );
  expect(pump.status()).toMatchObject({
    state: "running",
    sequence: 12,
    lag: { events: 0, ms: 0 },
    problem: undefined,
  });
});

test("parks the refused events alone, and the others keep their order", async () => {
  const { chain, sink } = begin();
  const bad = new Set([1, 7, 8, 12]);
  sink.before = ({ events }) => {
    if (events.some(({ sequenceNumber }) => bad.has(sequenceNumber))) throw refused();
  };
  world.pump(sink, { failure: { policy: "park", attempts: 3 } });
  await world.until((entry) => entry?.sequence === 12);
  world.store(chain.enqueue(1).messages);
  await sink.until(13);
  expect(sink.sequences).toEqual(numbers(1, 13).filter((sequence) => !bad.has(sequence)));
  expect(world.parked).toEqual([...bad].map((sequence) => ({ sequence, code: "event_refused" })));
  expect(await world.until((entry) => entry?.sequence === 13)).toMatchObject({ parked: 4, state: "running" });
});

test("parks no more than a hundred events in a row: it is the sink that refuses", async () => {
  const { sink } = begin(150);
  sink.before = ({ events }) => {
    if (events.length > 0) throw refused();
  };
  world.pump(sink, { failure: { policy: "park", attempts: 1 } });
  const entry = await world.until((found) => found?.state === "stopped");
  expect(entry).toMatchObject({ sequence: 0, problem: { code: "event_refused" } });
  expect(world.parked).toHaveLength(100);
});

test("stops by its policy, across restarts, until an operator resumes it", async () => {
  const { sink } = begin();
  let isBroken = true;
  sink.before = () => {
    if (isBroken) throw refused();
  };
  const config = { failure: { policy: "stop", attempts: 2 } } as const;
  const first = world.pump(sink, config);
  await world.until((entry) => entry?.state === "stopped" && entry.owner === "");
  await first.stop();
  world.pump(sink, config, "two/1");
  await world.until((entry) => entry?.owner === "two/1" && entry.state === "stopped");
  expect(sink.sequences).toEqual([]);
  isBroken = false;
  await world.wish((entry) => ({ ...entry, resume: "again" }));
  await sink.until(12);
  const entry = await world.until((found) => found?.sequence === 12);
  expect(entry).toMatchObject({ state: "running" });
  expect(entry).not.toHaveProperty("resume");
});

test("pauses and resumes as an operator wishes, and keeps the wish", async () => {
  const { chain, sink } = begin();
  world.pump(sink);
  await sink.until(12);
  await world.wish((entry) => ({ ...entry, paused: true }));
  await world.until((entry) => entry?.state === "paused");
  world.store(chain.enqueue(4).messages);
  expect(await world.until((entry) => entry?.state === "paused")).toMatchObject({ sequence: 12, paused: true });
  await world.wish(({ paused: _, ...entry }) => entry);
  await sink.until(16);
  expect(sink.sequences).toEqual(numbers(1, 16));
});

test("goes to the place that an operator wishes, once", async () => {
  const { sink } = begin();
  world.pump(sink);
  await sink.until(12);
  const place = sink.batches[0]?.after;
  await world.wish((entry) => ({ ...entry, ...(place && { seek: { id: "back", to: place } }) }));
  await world.until((entry) => entry !== undefined && entry.seek === undefined && entry.sequence === 12);
  await sink.until(12);
  expect(sink.sequences).toEqual([...numbers(1, 12), ...numbers(1, 12)]);
});

test("stands by while another process has the sink, and goes on where that one ended", async () => {
  const { chain, sink } = begin();
  const first = world.pump(sink, {}, "one/1");
  await sink.until(12);
  const other = new ProbeSink();
  world.pump(other, {}, "two/1");
  world.store(chain.enqueue(3).messages);
  await sink.until(15);
  expect(other.opened).toBe(0);
  await first.stop();
  world.store(chain.enqueue(2).messages);
  await other.until(17);
  expect(other.sequences).toEqual([16, 17]);
});

test("a process that is started again need not wait for the silence of its earlier start", async () => {
  const { chain, sink } = begin();
  world.pump(sink);
  await sink.until(12);
  await world.until((entry) => entry?.sequence === 12);
  const again = new ProbeSink();
  const before = performance.now();
  world.pump(again, {}, "one/2");
  await world.until((entry) => entry?.owner === "one/2");
  expect(performance.now() - before).toBeLessThan(world.silentMs);
  world.store(chain.enqueue(1).messages);
  await again.until(13);
  expect(again.sequences).toEqual([13]);
});

test("a process of the same peer id with another data folder stands by", async () => {
  const { chain, sink } = begin();
  world.pump(sink, {}, "one/folder-a/1");
  await sink.until(12);
  const other = new ProbeSink();
  const second = world.pump(other, {}, "one/folder-b/2");
  world.store(chain.enqueue(3).messages);
  await sink.until(15);
  expect(await world.entry()).toMatchObject({ owner: "one/folder-a/1" });
  expect(second.status().state).toBe("standby");
  expect(other.opened).toBe(0);
});

test("stops writing when another process has taken the checkpoint", async () => {
  const { chain, sink } = begin();
  const pump = world.pump(sink);
  await sink.until(12);
  await world.until((entry) => entry?.sequence === 12);
  await world.wish((entry) => ({ ...entry, owner: "thief" }));
  world.store(chain.enqueue(1).messages);
  await world.statusUntil(pump, ({ state, problem }) => state === "standby" && problem?.code === "sink_taken");
  expect(await world.entry()).toMatchObject({ owner: "thief", sequence: 12 });
});

test("leaves out what the filter does not want, and moves past it", async () => {
  const { sink } = begin();
  world.pump(sink, { filter: { eventTypes: ["TermStarted"] } });
  await world.until((entry) => entry?.sequence === 12);
  expect(sink.sequences).toEqual([2]);
});

test("goes on inside of a frame where a sink with a place of its own was cut off", async () => {
  const { sink } = begin();
  const probe = world.pump(sink);
  await sink.until(12);
  await probe.stop();
  const whole = sink.batches.at(-1)?.upTo;
  const again = new ProbeSink();
  again.own = whole && { ...whole, sequence: 7 };
  world.pump(again, {}, "two/1");
  await again.until(12);
  expect(again.sequences).toEqual(numbers(8, 12));
});

test.each([
  ["checkpoint_ahead", { streamSequence: 99, sequence: 400 }],
  ["log_identity", { logId: "another" }],
  ["checkpoint_wrong", { chain: "0".repeat(64) }],
])("refuses a place that cannot be: %s", async (code, change) => {
  const { sink } = begin();
  const first = world.pump(sink);
  await world.until((entry) => entry?.sequence === 12);
  await first.stop();
  await world.wish((entry) => ({ ...entry, ...change }));
  const again = new ProbeSink();
  world.pump(again, {}, "two/1");
  await world.until((entry) => entry?.problem?.code === code);
  expect(again.sequences).toEqual([]);
  expect(await world.entry()).toMatchObject(change);
});

test("stops at a fork, names it, and has brought everything before it", async () => {
  const { chain, sink } = begin();
  const fork = new ChainBuilder().begin().enqueue(9).enqueue(3).messages.at(-1);
  world.store(chain.messages);
  world.log.stream.publish(fork?.payload ?? new Uint8Array(0), fork?.chainHeader ?? "", 3);
  const pump = world.pump(sink);
  await sink.until(12);
  await world.statusUntil(pump, ({ problem }) => problem?.code === "log_fork");
  expect(sink.sequences).toEqual(numbers(1, 12));
});

test("stops cleanly at a state version that it does not know, and names the upgrade", async () => {
  const { chain, sink } = begin();
  chain.frame([{ type: "configured", actor: 0, options: {}, logVersion: LOG_VERSION_MAX + 1 }]);
  world.store(chain.messages);
  const pump = world.pump(sink);
  const { problem } = await world.statusUntil(pump, (status) => status.problem?.code === "log_version_unknown");
  expect(problem?.message).toContain("upgrade");
  expect(sink.sequences).toEqual(numbers(1, 12));
});

test("tells that what was to be read next was trimmed away", async () => {
  const { chain, sink } = begin();
  const first = world.pump(sink);
  await world.until((entry) => entry?.sequence === 12);
  await first.stop();
  world.store(chain.enqueue(1).enqueue(1).enqueue(1).messages);
  world.log.stream.trimBelow(6);
  const again = new ProbeSink();
  world.pump(again, {}, "two/1");
  await world.until((entry) => entry?.problem?.code === "log_trimmed");
  expect(again.sequences).toEqual([]);
});

test("begins a new sink at the end of the log where that is asked for", async () => {
  const { chain, sink } = begin();
  world.pump(sink, { start: "latest" });
  await world.until((entry) => entry?.sequence === 12);
  world.store(chain.enqueue(2).messages);
  await sink.until(14);
  expect(sink.sequences).toEqual([13, 14]);
});
