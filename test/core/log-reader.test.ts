/** What a stored message is to a reader of the chain: the next frame, void, or a reason to halt. */
import { describe, expect, test } from "vitest";
import type { Frame } from "../../contracts/frame.ts";
import { SHARD_OPTIONS_DEFAULT } from "../../contracts/options.ts";
import type { LogMessage } from "../../contracts/ports.ts";
import { type HaltCode, LogReader } from "../../services/core/log-reader.ts";
import { chainOf, encodeFrame } from "../../services/runtime/frame-codec.ts";

const SUBJECT = "omnirelay.log.local.default";
const frame = (changes: Partial<Frame> = {}): Frame => ({
  schema: 1,
  logId: "log-1",
  region: "local",
  shard: "default",
  term: 0,
  writer: "provisioner",
  append: "a-1",
  first: 1,
  count: 1,
  at: 1_000,
  prev: "",
  pending: 0,
  active: 0,
  actors: [],
  events: [{ type: "logCreated", logId: "log-1", logVersion: 1, options: SHARD_OPTIONS_DEFAULT, tokenEpoch: 0 }],
  ...changes,
});
const messageOf = (payload: Uint8Array, changes: Partial<LogMessage> = {}): LogMessage => ({
  streamSequence: 1,
  subject: SUBJECT,
  payload,
  chainHeader: chainOf(payload),
  pending: 0,
  ...changes,
});
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

/** A reader that has read the first frame and `termStarted` of term 3. */
function reader(strict = false): { reader: LogReader; next: (changes?: Partial<Frame>) => Frame } {
  const it = new LogReader({ region: "local", shard: "default", logId: "log-1", hashOf: chainOf, strict });
  const first = frame();
  it.advance(first, chainOf(encodeFrame(first)));
  const started = frame({
    term: 3,
    first: 2,
    at: 2_000,
    prev: it.tip.chain,
    events: [{ type: "termStarted", term: 3, leader: "a", tokenEpoch: 0 }],
  });
  it.advance(started, chainOf(encodeFrame(started)));
  return {
    reader: it,
    next: (changes = {}) =>
      frame({ term: 3, first: 3, at: 3_000, prev: it.tip.chain, count: 0, events: [], ...changes }),
  };
}

test("accepts the frame whose prev is the chain value of the last one", () => {
  const { reader: it, next } = reader();
  const payload = encodeFrame(next());
  expect(it.classify(messageOf(payload))).toMatchObject({ kind: "frame", chain: chainOf(payload) });
});

test("adopts the log id of the first frame when it knows none", () => {
  const it = new LogReader({ region: "local", shard: "default", logId: "", hashOf: chainOf });
  const verdict = it.classify(messageOf(encodeFrame(frame())));
  expect(verdict.kind).toBe("frame");
  if (verdict.kind === "frame") it.advance(verdict.frame, verdict.chain);
  expect(it.logId).toBe("log-1");
});

describe("steps over", () => {
  const { reader: it, next } = reader();
  const past = encodeFrame(frame());
  const rows: Record<string, LogMessage> = {
    "a message on the literal subject log.*": messageOf(encodeFrame(next()), { subject: "omnirelay.log.local.*" }),
    "bytes that are no UTF-8": messageOf(new Uint8Array([0xff, 0xfe, 0x00])),
    "text that is no JSON": messageOf(bytes("hello")),
    "JSON that is no object": messageOf(bytes("[1,2,3]")),
    "an object without a log id": messageOf(bytes("{}")),
    "a frame of another log": messageOf(encodeFrame(next({ logId: "log-2" }))),
    "a frame whose chain header is not its hash": messageOf(encodeFrame(next()), { chainHeader: "0".repeat(64) }),
    "a copy of the first frame": messageOf(past),
    "an old leader's frame from the past": messageOf(encodeFrame(next({ term: 2, first: 2, prev: "1".repeat(64) }))),
  };
  test.each(Object.keys(rows))("%s", (name) =>
    expect(it.classify(rows[name] as LogMessage)).toMatchObject({ kind: "void" }),
  );
});

/** An event behind two that are good. */
function behindGood(event: object): Partial<Frame> {
  const paused = { type: "paused", actor: 0 } as const;
  return { count: 3, actors: [{ principal: "op", peerId: "op" }], events: [paused, paused, event as never] };
}

describe("halts at", () => {
  const rows: Record<string, [HaltCode, Partial<Frame>]> = {
    "a frame above the tip that does not continue the chain": ["log_fork", { prev: "1".repeat(64) }],
    "a frame of the past's term but a later first": ["log_fork", { prev: "1".repeat(64), term: 1 }],
    "a wrong first": ["log_wrong_first", { first: 5 }],
    "a lower term": ["log_term_decreased", { term: 2 }],
    "a decreasing log time": ["log_time_decreased", { at: 1_999 }],
    "another shard's frame": ["log_identity", { shard: "other" }],
    "a count that is not the number of events": ["log_frame_invalid", { count: 2 }],
    "a second logCreated": ["log_frame_invalid", { ...frame(), first: 3, prev: undefined as never }],
    "a newer frame schema": ["log_version_unknown", { schema: 2 as never }],
    "an unknown event": ["log_version_unknown", { count: 1, events: [{ type: "teleported" } as never] }],
    "an event that points at no actor": ["log_frame_invalid", { count: 1, events: [{ type: "paused", actor: 0 }] }],
    "an event that is nothing": ["log_frame_invalid", { count: 1, events: [null as never] }],
    "an event without a type": ["log_frame_invalid", { count: 1, events: [{} as never] }],
    "an event of an empty type": ["log_version_unknown", { count: 1, events: [{ type: "" } as never] }],
    "an event whose type is no text": ["log_frame_invalid", { count: 1, events: [{ type: null } as never] }],
    "an unknown event behind known ones": ["log_version_unknown", behindGood({ type: "teleported" })],
    "an event without a type behind known ones": ["log_frame_invalid", behindGood({})],
    "an event behind others that points at no actor": ["log_frame_invalid", behindGood({ type: "paused", actor: 1 })],
    "an event whose actor is no number": ["log_frame_invalid", behindGood({ type: "paused", actor: "0" })],
  };
  test.each(Object.keys(rows))("%s", (name) => {
    const { reader: it, next } = reader();
    const [code, changes] = rows[name] as [HaltCode, Partial<Frame>];
    const wanted = name === "a second logCreated" ? { count: 1, events: frame().events } : changes;
    expect(it.classify(messageOf(encodeFrame(next(wanted))))).toMatchObject({ kind: "halt", code });
  });
  test("an event that only its schema refuses, when it reads strictly", () => {
    const wrong = { count: 1, events: [{ type: "termStarted", term: 3, leader: "a b", tokenEpoch: 0 }] } as never;
    const loose = reader();
    expect(loose.reader.classify(messageOf(encodeFrame(loose.next(wrong))))).toMatchObject({ kind: "frame" });
    const strict = reader(true);
    expect(strict.reader.classify(messageOf(encodeFrame(strict.next(wrong))))).toMatchObject({
      kind: "halt",
      code: "log_frame_invalid",
    });
  });
});
