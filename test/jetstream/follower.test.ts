/** The follower against a scripted server: repeats, holes, silence, flow control and broken links, one at a time. */
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { Follower } from "../../services/jetstream/follower.ts";
import { Inbox } from "../../services/jetstream/inbox.ts";
import { NatsNet } from "../../services/jetstream/nats-net.ts";
import { ScriptedConnection } from "./scripted-connection.ts";

const CREATE = "$JS.API.CONSUMER.CREATE.S.";
const READ = "$JS.API.STREAM.MSG.GET.S";
const DOWN = { type: "disconnect", server: "s" } as const;
const UP = { type: "reconnect", server: "s" } as const;

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

function setup(fromSequence = 1, filterSubjects?: readonly string[]) {
  const script = new ScriptedConnection();
  const connection = script.asNats;
  const heard: number[] = [];
  const failures: string[] = [];
  const counts = { consumers: 0 };
  const follower = new Follower({
    connection,
    inbox: new Inbox(connection),
    stream: "S",
    ...{ fromSequence, filterSubjects },
    onConsumer: () => {
      counts.consumers += 1;
    },
    handler: {
      message: ({ streamSequence }) => heard.push(streamSequence),
      failed: ({ code }) => failures.push(code),
    },
  });
  /** The subscription of the newest consumer. */
  const consumer = () => {
    const newest = script.subscribed.findLast(({ subject }) => !subject.endsWith(".*"));
    if (newest === undefined) throw new Error("there is no consumer");
    return newest;
  };
  const starts = (): readonly unknown[] =>
    script.requests(CREATE).map(({ body }) => (body["config"] as Record<string, unknown>)["opt_start_seq"]);
  const deliver = (streamSequence: number, consumerSequence: number, to = consumer()): void =>
    script.arrive(to, { subject: "log", reply: `$JS.ACK.S.c.1.${streamSequence}.${consumerSequence}.0.0`, text: "x" });
  const control = (headers: string, reply = "", to = consumer()): void =>
    script.arrive(to, { subject: to.subject, reply, headers: `NATS/1.0 100 Idle Heartbeat\r\n${headers}\r\n` });
  const beat = (delivered: number): void => control(`Nats-Last-Consumer: ${delivered}\r\n`);
  return { script, follower, heard, failures, counts, consumer, starts, deliver, control, beat };
}

const stored = (seq: number): object => ({ message: { subject: "log", seq, data: "" } });

describe("a consumer", () => {
  test("begins at the sequence asked for, and its messages are heard in order", () => {
    const { heard, starts, deliver } = setup(7);
    deliver(7, 1);
    deliver(9, 2);
    expect(starts()).toEqual([7]);
    expect(heard).toEqual([7, 9]);
  });

  test("with a hole in its own count is replaced before anything behind the hole is heard", () => {
    const { heard, starts, deliver, consumer } = setup();
    deliver(1, 1);
    const old = consumer();
    deliver(3, 3);
    deliver(4, 4, old);
    expect(heard).toEqual([1]);
    vi.advanceTimersByTime(50);
    expect(starts()).toEqual([1, 2]);
    deliver(2, 1);
    deliver(3, 2);
    expect(heard).toEqual([1, 2, 3]);
  });

  test("is told of before it can send, and is asked for with the subjects that are wanted", () => {
    const { script, counts, consumer, control } = setup(1, ["a.*", "b.>"]);
    expect(counts.consumers).toBe(1);
    expect(script.requests(CREATE)[0]?.body["config"]).toMatchObject({ filter_subjects: ["a.*", "b.>"] });
    control("Nats-Last-Consumer: 5\r\n", "", consumer());
    vi.advanceTimersByTime(50);
    expect(counts.consumers).toBe(2);
  });

  test("that begins too early repeats nothing", () => {
    const { heard, deliver } = setup(3);
    deliver(1, 1);
    deliver(2, 2);
    deliver(3, 3);
    expect(heard).toEqual([3]);
  });

  test("whose heartbeat has sent more than came is replaced", () => {
    const { starts, deliver, beat } = setup();
    deliver(1, 1);
    beat(1);
    vi.advanceTimersByTime(100);
    expect(starts()).toEqual([1]);
    beat(2);
    vi.advanceTimersByTime(100);
    expect(starts()).toEqual([1, 2]);
  });

  test("that falls silent is replaced, and deleted at the server", () => {
    const { script, starts, deliver, beat } = setup();
    deliver(1, 1);
    for (let round = 0; round < 10; round += 1) {
      vi.advanceTimersByTime(500);
      beat(1);
    }
    expect(starts()).toEqual([1]);
    vi.advanceTimersByTime(2_600);
    expect(starts()).toEqual([1, 2]);
    expect(script.requests("$JS.API.CONSUMER.DELETE.S.")).toHaveLength(1);
  });

  test("is asked for again while the server cannot make it, and given up when the stream is missing", () => {
    const { script, starts, failures } = setup();
    script.answer(CREATE, { error: { code: 503, err_code: 10008, description: "not available" } });
    vi.advanceTimersByTime(50);
    expect(starts()).toEqual([1, 1]);
    script.answer(CREATE, { error: { code: 404, err_code: 10059, description: "stream not found" } });
    expect(failures).toEqual(["stream_missing"]);
    vi.advanceTimersByTime(10_000);
    expect(starts()).toEqual([1, 1]);
  });

  test("cannot be imitated by a stranger's message without the server's marks", () => {
    const { script, heard, starts, consumer } = setup();
    script.arrive(consumer(), { subject: "log", reply: "_INBOX.x", text: "noise" });
    script.arrive(consumer(), { subject: "log", text: "noise" });
    vi.advanceTimersByTime(100);
    expect(heard).toEqual([]);
    expect(starts()).toEqual([1]);
    expect(script.published.filter(({ subject }) => subject === "_INBOX.x")).toEqual([]);
  });
});

describe("flow control", () => {
  const answers = (script: ScriptedConnection): number =>
    script.published.filter(({ subject }) => subject.startsWith("$JS.FC.")).length;

  test("is answered at once, also where only a heartbeat tells of it", () => {
    const { script, control } = setup();
    control("", "$JS.FC.S.c.1");
    control("Nats-Consumer-Stalled: $JS.FC.S.c.2\r\n");
    expect(answers(script)).toBe(2);
  });

  test("is not replaced by another while held, for that would send a window more; it is at resume", async () => {
    const { script, follower, starts, deliver } = setup();
    deliver(1, 1);
    follower.hold();
    for (const status of [DOWN, UP, DOWN, UP]) await script.tell(status);
    vi.advanceTimersByTime(5_000);
    expect(starts()).toEqual([1]);
    follower.resume();
    expect(starts()).toEqual([1, 2]);
    follower.resume();
    vi.advanceTimersByTime(100);
    expect(starts()).toEqual([1, 2]);
  });

  test("is not answered while held, and answered at resume", () => {
    const { script, follower, control } = setup();
    follower.hold();
    control("", "$JS.FC.S.c.1");
    control("Nats-Consumer-Stalled: $JS.FC.S.c.1\r\n");
    expect(answers(script)).toBe(0);
    follower.resume();
    expect(answers(script)).toBe(1);
  });
});

describe("a broken link", () => {
  test("ends the consumer; a new one begins behind the last message the moment the link is back", async () => {
    const { script, heard, starts, deliver, consumer } = setup();
    deliver(1, 1);
    const old = consumer();
    await script.tell(DOWN);
    deliver(2, 2, old);
    expect(heard).toEqual([1]);
    expect(starts()).toEqual([1]);
    await script.tell(UP);
    expect(starts()).toEqual([1, 2]);
    expect(old.isOpen).toBe(false);
    deliver(2, 1);
    expect(heard).toEqual([1, 2]);
  });

  test("that is over for good is told once, connected or not at that moment", async () => {
    const { script, failures } = setup();
    await script.tell(DOWN);
    await script.close();
    expect(failures).toEqual(["nats_closed"]);
  });

  test("is not published into by the net port", async () => {
    const script = new ScriptedConnection();
    const net = new NatsNet(script.asNats);
    net.publish("a", new Uint8Array(0));
    await script.tell(DOWN);
    net.publish("b", new Uint8Array(0));
    await script.tell(UP);
    net.publish("c", new Uint8Array(0));
    expect(script.published.map(({ subject }) => subject)).toEqual(["a", "c"]);
  });
});

describe("without a consumer that sends", () => {
  test("the stream's leader is read, message after message, and a late consumer repeats nothing", () => {
    const { script, heard, deliver } = setup();
    vi.advanceTimersByTime(500);
    script.answer(READ, stored(1));
    script.answer(READ, stored(4));
    expect(heard).toEqual([1, 4]);
    expect(script.requests(READ).map(({ body }) => body["seq"])).toEqual([1, 2, 5]);
    deliver(1, 1);
    deliver(4, 2);
    deliver(5, 3);
    expect(heard).toEqual([1, 4, 5]);
  });

  test("a read that was overtaken by the consumer is not heard again", () => {
    const { script, heard, deliver } = setup();
    vi.advanceTimersByTime(500);
    deliver(1, 1);
    deliver(2, 2);
    script.answer(READ, stored(1));
    expect(heard).toEqual([1, 2]);
  });

  test("the leader is not asked while a consumer sends, nor after the end", () => {
    const { script, follower, deliver, beat } = setup();
    deliver(1, 1);
    for (let round = 0; round < 5; round += 1) {
      vi.advanceTimersByTime(500);
      beat(1);
    }
    follower.close();
    vi.advanceTimersByTime(5_000);
    expect(script.requests(READ)).toEqual([]);
    expect(vi.getTimerCount()).toBe(0);
  });
});
