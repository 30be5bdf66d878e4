/** What `omnirelay log tail` takes for genuine when it begins in the middle of a log that a stranger has written to. */
import { describe, expect, test } from "vitest";
import type { LogMessage } from "../../contracts/ports.ts";
import { jsonOf } from "../../services/cli/log-lines.ts";
import { LogMarker } from "../../services/cli/log-marker.ts";
import { ChainBuilder } from "./chain-builder.ts";

/** Beyond this many messages the marker does not read from the beginning without need. */
const LONG = 2_300;

async function kindsFrom(messages: readonly LogMessage[], from: number, first = 1): Promise<readonly string[]> {
  const stored = messages.filter((message) => message.streamSequence >= first);
  const read = async function* (start: number, end: number) {
    yield* stored.filter(({ streamSequence }) => streamSequence >= start && streamSequence <= end);
  };
  const marker = await LogMarker.before({ region: "local", shard: "default", first, read }, from);
  const kinds: string[] = [];
  for (const message of stored.filter(({ streamSequence }) => streamSequence >= from)) {
    const verdict = await marker.mark(message);
    kinds.push(verdict.kind === "void" ? verdict.reason : verdict.kind === "halt" ? verdict.code : "frame");
  }
  return kinds;
}

function copyOf(builder: ChainBuilder, sequence: number): ChainBuilder {
  const copied = builder.messages[sequence - 1];
  return builder.stored(copied?.payload ?? new Uint8Array(), copied?.chainHeader ?? "");
}

function long(): ChainBuilder {
  const builder = new ChainBuilder().begin();
  for (let index = 0; index < LONG; index += 1) builder.enqueue(0);
  return builder;
}

describe.each([
  ["a short log, which is read from its beginning", () => new ChainBuilder().begin().enqueue(2).enqueue(1), 1],
  ["a long log, which is read from near its end", long, 1],
  ["a log whose beginning was purged", long, 2_100],
])("%s", (_what, build, first) => {
  test("a copy of the past and a stranger's message are void, what comes after is not", async () => {
    const builder = build();
    const from = builder.messages.length;
    copyOf(builder, from - 2);
    copyOf(builder, from - 1);
    builder.stored(new TextEncoder().encode("hello"), "").enqueue(1);
    expect(await kindsFrom(builder.messages, from, first)).toEqual([
      "frame",
      "copy of the past",
      "copy of the past",
      "unparsable",
      "frame",
    ]);
    expect(await kindsFrom(builder.messages, from + 1, first)).toEqual([
      "copy of the past",
      "copy of the past",
      "unparsable",
      "frame",
    ]);
  });

  test("a forged frame that does not continue the chain is told, and nothing behind it is genuine", async () => {
    const builder = build();
    const from = builder.messages.length;
    builder.enqueue(1, { prev: "0".repeat(64), term: 9 }).enqueue(1);
    expect(await kindsFrom(builder.messages, from, first)).toEqual(["frame", "log_fork", "log_fork"]);
  });
});

test("more copies in a row than the marker looks back at do not stand for the log", async () => {
  const builder = long();
  for (let sequence = 100; sequence < 400; sequence += 1) copyOf(builder, sequence);
  const from = builder.messages.length + 1;
  copyOf(builder, 400).enqueue(1);
  copyOf(builder, 401).enqueue(1);
  // The first one cannot be told yet; the first genuine one shows that the others were none.
  expect((await kindsFrom(builder.messages, from)).slice(1)).toEqual(["frame", "copy of the past", "frame"]);
});

test("as JSON only a genuine message has a frame", () => {
  const [message] = new ChainBuilder().begin().messages;
  if (message === undefined) throw new Error("no message");
  expect(JSON.parse(jsonOf(message, { kind: "void", reason: "copy of the past" }))).toEqual({
    streamSequence: 1,
    void: "copy of the past",
  });
  expect(JSON.parse(jsonOf(message, { kind: "halt", code: "log_fork", message: "why" }))).toEqual({
    streamSequence: 1,
    halt: "log_fork",
    reason: "why",
  });
});
