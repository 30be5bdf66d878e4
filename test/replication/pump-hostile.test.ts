/** The pump where things are as they should not be: places that cannot be used, sinks with defects, entries edited by hand. */
import { afterEach, expect, test } from "vitest";
import { OperatingError } from "../../contracts/errors.ts";
import { ChainBuilder } from "../cli/chain-builder.ts";
import { ProbeSink, PumpWorld } from "./pump-world.ts";

let world: PumpWorld;
afterEach(() => world.close());

const numbers = (first: number, last: number): number[] =>
  Array.from({ length: last - first + 1 }, (_, index) => first + index);
const START = { streamSequence: 0, sequence: 0, chain: "", term: 0, at: 0 };

function begin(count = 10): { chain: ChainBuilder; sink: ProbeSink } {
  world = new PumpWorld();
  const chain = new ChainBuilder().begin().enqueue(count);
  world.store(chain.messages);
  return { chain, sink: new ProbeSink() };
}

test("follows a seek away from a place that cannot be used", async () => {
  const { sink } = begin();
  const first = world.pump(sink);
  await sink.until(12);
  await first.stop();
  await world.wish((entry) => ({ ...entry, streamSequence: 900, sequence: 9_000 }));
  const second = new ProbeSink();
  world.pump(second, {}, "two/1");
  await world.until((entry) => entry?.problem?.code === "checkpoint_ahead");
  await world.wish((entry) => ({ ...entry, seek: { id: "s1", to: { logId: "log1", ...START } } }));
  await second.until(12);
  expect(second.sequences).toEqual(numbers(1, 12));
});

test("refuses a place whose sequence the log has not reached", async () => {
  const { chain, sink } = begin();
  const first = world.pump(sink);
  await sink.until(12);
  await first.stop();
  await world.wish((entry) => ({ ...entry, sequence: 1_000 }));
  const second = new ProbeSink();
  world.pump(second, {}, "two/1");
  await world.until((entry) => entry?.problem?.code === "checkpoint_ahead");
  world.store(chain.enqueue(5).messages);
  expect(await world.entry()).toMatchObject({ streamSequence: 3, sequence: 1_000 });
});

test("a sink that fails with a plain error when it is opened or made is tried again", async () => {
  const { sink } = begin();
  let tries = 0;
  const open = sink.open.bind(sink);
  sink.open = (scope) => {
    tries += 1;
    if (tries < 3) throw new TypeError("a defect");
    return open(scope);
  };
  world.pump(sink);
  await world.until((entry) => entry?.problem?.code === "sink_failed");
  await sink.until(12);
  expect(sink.sequences).toEqual(numbers(1, 12));
});

test("stops while an effect never ends", async () => {
  const { sink } = begin();
  let began = (): void => undefined;
  const under = new Promise<void>((resolve) => {
    began = resolve;
  });
  sink.before = () => {
    began();
    return new Promise<void>(() => undefined);
  };
  const pump = world.pump(sink);
  await under;
  await pump.stop();
  // It may still come: who wants the sink waits until the entry is silent.
  expect(await world.entry()).toMatchObject({ sequence: 0, owner: "one/1" });
});

test("says how far a sink is behind that cannot be opened", async () => {
  const { sink } = begin();
  sink.open = () => Promise.reject(new OperatingError("place_down", "nobody answers", { definite: true }));
  const pump = world.pump(sink);
  const { lag } = await world.statusUntil(pump, (status) => status.lag.events > 0);
  expect(lag.events).toBe(12);
});

test("hears a pause and a resume although the sink cannot be opened", async () => {
  const { sink } = begin();
  const open = sink.open.bind(sink);
  let tries = 0;
  sink.open = () => {
    tries += 1;
    return Promise.reject(new OperatingError("place_full", "no space is left", { definite: true }));
  };
  world.pump(sink);
  await world.until((entry) => entry?.problem?.code === "place_full");
  await world.wish((entry) => ({ ...entry, paused: true }));
  const paused = await world.until((entry) => entry?.state === "paused");
  expect(paused?.owner).toBe("one/1");
  const triesBefore = tries;
  sink.open = (scope) => {
    tries += 1;
    return open(scope);
  };
  await world.wish(({ paused: _, ...entry }) => entry);
  await sink.until(12);
  expect(tries).toBe(triesBefore + 1);
});

test("a message of any length does not keep the checkpoint from being written", async () => {
  const { sink } = begin();
  sink.before = () => {
    throw new OperatingError("place_down", "x".repeat(5_000_000), { definite: true });
  };
  world.pump(sink);
  const entry = await world.until((found) => found?.problem?.code === "place_down");
  expect(entry?.problem?.message.length).toBeLessThan(10_000);
});

test("the entry says at once where a sink is that keeps its own place, when the entry was lost", async () => {
  const { sink } = begin();
  const first = world.pump(sink);
  await sink.until(12);
  await first.stop();
  const end = sink.batches.at(-1)?.upTo;
  await world.wish((entry) => ({ ...entry, logId: "log1", ...START }));
  const second = new ProbeSink();
  second.own = end;
  world.pump(second, {}, "two/1");
  await world.until((entry) => entry?.sequence === 12);
  expect(second.sequences).toEqual([]);
});

test("tells that the checkpoint cannot be written, and brings nothing while the sink may be another's by now", async () => {
  const { chain, sink } = begin();
  world.pump(sink);
  await world.until((entry) => entry?.sequence === 12);
  const put = world.checkpoints.put.bind(world.checkpoints);
  const error = new OperatingError("stream_missing", "the bucket is gone", { definite: true });
  world.checkpoints.put = (_key, _value, _revision, callback) => void setImmediate(callback, { kind: "failed", error });
  while (!world.warnings.includes("checkpoint_not_written")) await new Promise((resolve) => setImmediate(resolve));
  const began = performance.now();
  while (performance.now() - began < world.silentMs * 0.6) await new Promise((resolve) => setImmediate(resolve));
  world.store(chain.enqueue(1).messages);
  while (performance.now() - began < world.silentMs * 0.7) await new Promise((resolve) => setImmediate(resolve));
  expect(sink.sequences).not.toContain(13);
  world.checkpoints.put = put;
  await world.until((entry) => entry?.sequence === 13);
  expect(sink.sequences).toEqual(numbers(1, 13));
});

test("stands by again, and says so, after a failure while another process has the sink", async () => {
  const { sink } = begin();
  world.pump(sink);
  await sink.until(12);
  const get = world.checkpoints.get.bind(world.checkpoints);
  const error = new OperatingError("nats_disconnected", "nobody answers", { definite: false });
  world.checkpoints.get = (_key, callback) => void setImmediate(callback, { kind: "failed", error });
  const other = world.pump(new ProbeSink(), {}, "two/1");
  await world.statusUntil(other, ({ state }) => state === "failing");
  world.checkpoints.get = get;
  const { problem, lag } = await world.statusUntil(other, ({ state }) => state === "standby");
  expect(problem).toBeUndefined();
  expect(lag).toEqual({ events: 0, ms: 0 });
});

test("a seek into another log opens the sink anew for that log", async () => {
  const { sink } = begin();
  const first = world.pump(sink);
  await sink.until(12);
  await first.stop();
  await world.wish((entry) => ({ ...entry, logId: "old" }));
  const second = new ProbeSink();
  const logs: string[] = [];
  const sought: string[] = [];
  const open = second.open.bind(second);
  second.open = (scope) => {
    logs.push(scope.logId);
    return open(scope);
  };
  Object.assign(second, { seek: async (to: { readonly logId: string }) => void sought.push(to.logId) });
  world.pump(second, {}, "two/1");
  await world.until((entry) => entry?.problem?.code === "log_identity");
  await world.wish((entry) => ({ ...entry, seek: { id: "s1", to: { logId: "log1", ...START } } }));
  await second.until(12);
  expect(logs.at(-1)).toBe("log1");
  expect(sought).toEqual([]);
  expect(second.batches.every(({ scope }) => scope.logId === "log1")).toBe(true);
});
