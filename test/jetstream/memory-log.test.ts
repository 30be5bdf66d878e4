/** The log in memory: the conformance suite on real time, and each fault on a clock of the test's own. */
import { describe, expect, test } from "vitest";
import { OperatingError } from "../../contracts/errors.ts";
import type { AppendOutcome, ReadOutcome } from "../../contracts/ports.ts";
import { createClock } from "../../services/runtime/clock.ts";
import { FakeClock } from "../../services/testing/fake-clock.ts";
import { type LogUnderTest, logConformance } from "../../services/testing/log-conformance.ts";
import { MemoryLog } from "../../services/testing/memory-log.ts";
import { MemoryStream } from "../../services/testing/memory-stream.ts";

logConformance({ describe, test }, "MemoryLog", async (): Promise<LogUnderTest> => {
  const clock = createClock();
  const stream = new MemoryStream();
  const log = new MemoryLog({ clock, stream });
  const others: MemoryLog[] = [];
  return {
    log,
    openAnother: async () => {
      const other = new MemoryLog({ clock, stream });
      others.push(other);
      return other;
    },
    publishForeign: async (payload) => void stream.publish(payload, ""),
    removeMessage: async (streamSequence) => stream.drop(streamSequence),
    interrupt: async () => log.disconnect(),
    restore: async () => log.reconnect(),
    close: async () => {
      for (const each of [log, ...others]) each.close();
    },
  };
});

const payload = new TextEncoder().encode("frame");

function setup(options: { latencyMs?: () => number; bytesMax?: number } = {}) {
  const clock = new FakeClock();
  const stream = new MemoryStream(options.bytesMax === undefined ? {} : { bytesMax: options.bytesMax });
  const latency = options.latencyMs === undefined ? {} : { latencyMs: options.latencyMs };
  const log = new MemoryLog({ clock, stream, ...latency });
  const outcomes: AppendOutcome[] = [];
  const append = (expectedLast: number, timeoutMs = 100): void =>
    log.append(payload, "chain", expectedLast, timeoutMs, (outcome) => outcomes.push(outcome));
  return { clock, stream, log, outcomes, append };
}

describe("MemoryLog faults", () => {
  test("lose_ack stores the message and ends in a timeout", () => {
    const { clock, stream, log, outcomes, append } = setup();
    log.failNextAppend({ kind: "lose_ack" });
    append(0);
    clock.advance(99);
    expect(outcomes).toEqual([]);
    clock.advance(1);
    expect(outcomes).toEqual([{ kind: "timeout" }]);
    expect(stream.lastSequence).toBe(1);
  });

  test("vanish stores nothing and ends in a timeout", () => {
    const { clock, stream, log, outcomes, append } = setup();
    log.failNextAppend({ kind: "vanish" });
    append(0);
    clock.advance(100);
    expect(outcomes).toEqual([{ kind: "timeout" }]);
    expect(stream.lastSequence).toBe(0);
  });

  test("late stores after the timeout, with the expectation that it had", () => {
    const { clock, stream, log, outcomes, append } = setup();
    log.failNextAppend({ kind: "late", afterMs: 500 });
    append(0);
    clock.advance(100);
    expect(stream.lastSequence).toBe(0);
    clock.advance(400);
    expect(stream.lastSequence).toBe(1);
    expect(outcomes).toEqual([{ kind: "timeout" }]);
  });

  test("a late message is refused by the stream once another has taken its place", () => {
    const { clock, stream, log, append } = setup();
    log.failNextAppend({ kind: "late", afterMs: 500 });
    append(0);
    clock.advance(100);
    append(0);
    clock.advance(1_000);
    expect(stream.messageCount).toBe(1);
  });

  test("refuse and a full stream answer unavailable and store nothing", () => {
    const { clock, stream, log, outcomes, append } = setup({ bytesMax: 10 });
    log.failNextAppend({ kind: "refuse" });
    append(0);
    clock.settle();
    append(0);
    clock.settle();
    expect(outcomes).toEqual([
      { kind: "unavailable", code: 503, message: "no responders" },
      { kind: "unavailable", code: 10077, message: "maximum bytes exceeded" },
    ]);
    expect(stream.lastSequence).toBe(0);
  });

  test("delay answers after its time", () => {
    const { clock, log, outcomes, append } = setup();
    log.failNextAppend({ kind: "delay", delayMs: 50 });
    append(0);
    clock.advance(49);
    expect(outcomes).toEqual([]);
    clock.advance(1);
    expect(outcomes).toEqual([{ kind: "acked", streamSequence: 1 }]);
  });

  test("disconnect ends the append at once, stored or not, and everything until reconnect", () => {
    const { clock, stream, log, outcomes, append } = setup();
    const delivered: number[] = [];
    log.follow(1, { message: ({ streamSequence }) => delivered.push(streamSequence), failed: () => undefined });
    log.failNextAppend({ kind: "disconnect", isStored: true });
    append(0);
    clock.settle();
    append(1);
    clock.settle();
    expect(outcomes).toEqual([{ kind: "disconnected" }, { kind: "disconnected" }]);
    expect(stream.lastSequence).toBe(1);
    expect(delivered).toEqual([]);
    log.reconnect();
    clock.settle();
    expect(delivered).toEqual([1]);
  });

  test("leaves no timer behind when an answer came", () => {
    const { clock, log, append } = setup();
    append(0);
    log.read(1, 100, () => undefined);
    log.info(100, () => undefined);
    clock.settle();
    expect(clock.timerCount).toBe(0);
  });

  test("latency delays both ways and keeps what is on its way when the connection breaks", () => {
    const { clock, stream, log, outcomes, append } = setup({ latencyMs: () => 10 });
    append(0);
    clock.advance(5);
    log.disconnect();
    clock.settle();
    expect(outcomes).toEqual([{ kind: "disconnected" }]);
    clock.advance(5);
    expect(stream.lastSequence).toBe(1);
  });

  test("failed reads, a missing stream, a lost tail", () => {
    const { clock, stream, log, append } = setup();
    append(0);
    clock.settle();
    const reads: ReadOutcome["kind"][] = [];
    const read = (): void => {
      log.read(1, 100, ({ kind }) => reads.push(kind));
      clock.settle();
    };
    log.failNextReads(1);
    read();
    read();
    stream.truncateTail(0);
    read();
    stream.isMissing = true;
    read();
    expect(reads).toEqual(["failed", "found", "absent", "failed"]);
    const infos: string[] = [];
    log.info(100, ({ kind }) => infos.push(kind));
    clock.settle();
    expect(infos).toEqual(["missing"]);
    expect(stream.lastSequence).toBe(0);
  });

  test("trimming keeps the last sequence and moves the first", () => {
    const { clock, stream, log, append } = setup();
    for (const last of [0, 1, 2]) {
      append(last);
      clock.settle();
    }
    stream.trimBelow(3);
    expect([stream.firstSequence, stream.lastSequence, stream.messageCount]).toEqual([3, 3, 1]);
    const delivered: number[] = [];
    log.follow(1, { message: ({ streamSequence }) => delivered.push(streamSequence), failed: () => undefined });
    clock.settle();
    expect(delivered).toEqual([3]);
  });

  test("failed followers hear the error once and nothing more", () => {
    const { clock, log, append } = setup();
    const heard: string[] = [];
    log.follow(1, { message: () => heard.push("message"), failed: ({ code }) => heard.push(code) });
    log.failFollowers(new OperatingError("stream_missing", "gone", { definite: true }));
    append(0);
    clock.settle();
    expect(heard).toEqual(["stream_missing"]);
  });
});
