/** What `omnirelay log verify` says of good logs and of every way in which we can break one. */
import { describe, expect, test } from "vitest";
import type { LogMessage } from "../../contracts/ports.ts";
import { LogAudit } from "../../services/cli/log-audit.ts";
import { LogFold } from "../../services/core/log-fold.ts";
import { chainOf } from "../../services/runtime/frame-codec.ts";
import { ChainBuilder } from "./chain-builder.ts";

const LOG = { region: "local", shard: "default" };

function audit(messages: readonly LogMessage[], last: number = messages.at(-1)?.streamSequence ?? 0) {
  const log = new LogAudit(LOG);
  for (const message of messages) if (!log.take(message)) break;
  log.end({ first: 1, last });
  return log.report();
}

const good = () => new ChainBuilder().begin().enqueue(3).enqueue(0).term().enqueue(2);
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

test("a good log is counted: frames, events, terms and the head", () => {
  const { messages } = good();
  expect(audit(messages)).toMatchObject({
    ok: true,
    logId: "log1",
    messages: 6,
    frames: 6,
    emptyFrames: 1,
    events: 8,
    eventsByType: { enqueued: 5, logCreated: 1, termStarted: 2 },
    terms: [
      { term: 1, leader: "dispatcher--1", sequence: 2 },
      { term: 2, leader: "dispatcher--2", sequence: 6 },
    ],
    voids: { count: 0, first: [] },
    head: { streamSequence: 6, sequence: 8, chain: chainOf(messages[5]?.payload ?? bytes("")) },
    counts: { pending: 5, active: 0, deadLettered: 0, completed: 0 },
  });
});

test("the state hash depends on what was enqueued", () => {
  const hash = (builder: ChainBuilder) => audit(builder.messages).stateHash;
  expect(hash(good())).toBe(hash(good()));
  expect(hash(good())).not.toBe(hash(new ChainBuilder().begin().enqueue(3).enqueue(0).term().enqueue(3)));
});

test("a stranger's message and a copy of the past are stepped over and named", () => {
  const builder = good();
  const copy = builder.messages[2];
  builder
    .stored(bytes("hello"), "")
    .stored(copy?.payload ?? bytes(""), copy?.chainHeader ?? "")
    .enqueue(1);
  expect(audit(builder.messages)).toMatchObject({
    ok: true,
    messages: 9,
    frames: 7,
    voids: {
      count: 2,
      first: [
        { streamSequence: 7, reason: "unparsable" },
        { streamSequence: 8, reason: "copy of the past" },
      ],
    },
  });
});

describe("a log that is not good is told with its place", () => {
  const cases: [string, () => readonly LogMessage[], string, number][] = [
    ["a fork", () => good().enqueue(1, { prev: "0".repeat(64) }).messages, "log_fork", 7],
    ["a message that is gone", () => good().messages.toSpliced(3, 1), "log_gap", 5],
    ["a lower term", () => good().enqueue(1, { term: 1 }).messages, "log_term_decreased", 7],
    ["a time that goes back", () => good().enqueue(1, { at: 5 }).messages, "log_time_decreased", 7],
    ["a wrong first sequence", () => good().enqueue(1, { first: 7 }).messages, "log_wrong_first", 7],
    ["a frame of another shard", () => good().enqueue(1, { shard: "other" }).messages, "log_identity", 7],
    ["an event that is not valid", () => good().enqueue(1, { count: 2 }).messages, "log_frame_invalid", 7],
    ["counts that do not add up", () => good().enqueue(1, { pending: 7 }).messages, "state_diverged", 7],
    [
      "a state hash that differs",
      () => good().frame([{ type: "stateHash", hash: "0".repeat(16) }]).messages,
      "state_diverged",
      7,
    ],
    [
      "an event that cannot have happened",
      () =>
        good().frame([{ type: "released", actor: 0, itemId: "3", resourceType: "t", resourceId: "r0", token: 3 }])
          .messages,
      "log_event_impossible",
      7,
    ],
    ["a first frame that creates no log", () => new ChainBuilder().term().messages, "log_frame_invalid", 1],
    ["a stream without a frame", () => new ChainBuilder().stored(bytes("x"), "").messages, "log_empty", 1],
  ];
  test.each(cases)("%s", (_what, messages, code, streamSequence) => {
    const report = audit(messages());
    expect(report).toMatchObject({ ok: false, problem: { code, streamSequence } });
    expect(report.problem?.message.length).toBeGreaterThan(20);
  });

  test("a tail that is missing", () => {
    expect(audit(good().messages, 9)).toMatchObject({ ok: false, problem: { code: "log_gap", streamSequence: 7 } });
  });

  test("nothing behind the break is counted", () => {
    const builder = good()
      .enqueue(1, { prev: "0".repeat(64) })
      .enqueue(5);
    expect(audit(builder.messages)).toMatchObject({ frames: 6, events: 8, head: { streamSequence: 6 } });
  });
});

test("a frame whose bytes were changed does not continue the chain", () => {
  const { messages } = good();
  const changed = messages.map((message) => {
    if (message.streamSequence !== 3) return message;
    const payload = bytes(new TextDecoder().decode(message.payload).replace('"r1"', '"r7"'));
    return { ...message, payload, chainHeader: chainOf(payload) };
  });
  expect(audit(changed)).toMatchObject({ ok: false, problem: { code: "log_fork", streamSequence: 4 } });
});

test("from a later message on only the chain is checked, and the first frame is trusted", () => {
  const { messages } = good();
  const later = (broken: readonly LogMessage[]) => {
    const log = new LogAudit({ ...LOG, from: 3 });
    for (const message of broken.slice(2)) if (!log.take(message)) break;
    log.end({ first: 1, last: broken.length });
    return log.report();
  };
  expect(later(messages)).toMatchObject({
    ok: true,
    isFolded: false,
    messages: 4,
    frames: 4,
    events: 6,
    head: { sequence: 8 },
  });
  const forked = good().enqueue(1, { prev: "0".repeat(64) }).messages;
  expect(later(forked)).toMatchObject({ ok: false, problem: { code: "log_fork", streamSequence: 7 } });
});

describe("from a snapshot's place", () => {
  const whole = () => good().enqueue(4).enqueue(1).frame([]);
  /** The place behind the frame at a stream sequence. */
  function placeAt(messages: readonly LogMessage[], streamSequence: number) {
    const fold = new LogFold({ ...LOG, logId: "", hashOf: chainOf });
    for (const message of messages.slice(0, streamSequence)) fold.take(message);
    return { state: fold.state, tip: fold.reader.tip, streamSequence };
  }
  function auditFrom(messages: readonly LogMessage[], from: number, baseAt: number, change: object = {}) {
    const log = new LogAudit({ ...LOG, from, base: placeAt(whole().messages, baseAt), ...change });
    for (const message of messages.slice(from - 1)) if (!log.take(message)) break;
    log.end({ first: from, last: messages.length });
    return { ...log.report(), trusted: log.trustedStreamSequence };
  }

  test("events are applied from there on, and the hash is that of the whole log", () => {
    const { messages } = whole();
    const { stateHash, head, counts } = audit(messages);
    for (const baseAt of [3, 4, 5, messages.length])
      expect(auditFrom(messages, 4, baseAt)).toMatchObject({ ok: true, isFolded: true, stateHash, head, counts });
    expect(auditFrom(messages, 4, 5).trusted).toBe(4);
    // The snapshot's own frame is the one before the first that is left: its chain value proves that one.
    expect(auditFrom(messages, 4, 3).trusted).toBeUndefined();
    const forked = whole().enqueue(1, { pending: 1 }).messages;
    expect(auditFrom(forked, 4, 5)).toMatchObject({
      ok: false,
      problem: { code: "state_diverged", streamSequence: 10 },
    });
  });

  test("a chain that does not go through the place is told", () => {
    const other = new ChainBuilder().begin().enqueue(3).enqueue(0).term().enqueue(1).enqueue(4).enqueue(2).messages;
    expect(auditFrom(other, 4, 7)).toMatchObject({ ok: false, problem: { code: "log_fork", streamSequence: 7 } });
    expect(auditFrom(other, 7, 6)).toMatchObject({ ok: false, problem: { code: "log_fork", streamSequence: 7 } });
  });

  test("messages that are known to be no part of the chain are void", () => {
    const { messages } = whole();
    const copy = { ...messages[2], streamSequence: 4 } as LogMessage;
    const copied = messages.with(3, copy);
    expect(auditFrom(copied, 4, 6)).toMatchObject({ ok: false, problem: { code: "log_fork", streamSequence: 5 } });
    expect(auditFrom(copied, 4, 6, { chainFrom: 5 })).toMatchObject({ ok: true, voids: { count: 1 }, trusted: 5 });
  });
});
