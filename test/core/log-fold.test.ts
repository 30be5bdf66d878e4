/** Folding stored messages: from the beginning, from a snapshot's place, to an event inside of a frame, and every way to fail. */
import { describe, expect, test } from "vitest";
import type { Frame } from "../../contracts/frame.ts";
import type { LogMessage } from "../../contracts/ports.ts";
import { canonicalState } from "../../services/core/canonical.ts";
import { stateHash } from "../../services/core/hash.ts";
import { LogFold, type LogPlace } from "../../services/core/log-fold.ts";
import { SnapshotLoader } from "../../services/core/snapshot-load.ts";
import { chainOf } from "../../services/runtime/frame-codec.ts";
import { chained, richWorld, textOf } from "../cli/stored-log.ts";
import { foldFrames } from "./shard-world.ts";

const WORLD = richWorld();
const FRAMES = WORLD.frames;
const MESSAGES = chained(FRAMES);
const OPTIONS = { region: "local", shard: "default", logId: "", hashOf: chainOf, strict: true };

function fold(messages: readonly LogMessage[], start?: LogPlace, sequenceMax?: number) {
  const log = new LogFold(OPTIONS, start, sequenceMax);
  for (const message of messages) {
    const problem = log.take(message);
    if (problem !== undefined || log.isComplete) return { log, problem };
  }
  return { log, problem: undefined };
}

test("the whole log leads to the state that wrote it", () => {
  const { log, problem } = fold(MESSAGES);
  expect(problem).toBeUndefined();
  expect([...canonicalState(log.state)]).toEqual([...canonicalState(WORLD.state)]);
  expect(log).toMatchObject({ streamSequence: MESSAGES.length, frameStreamSequence: MESSAGES.length, stateHashes: 4 });
  expect(log.reader.tip.chain).toBe(chainOf(MESSAGES.at(-1)?.payload ?? new Uint8Array(0)));
});

test("from any place of the log the tail leads to the same state", () => {
  for (let streamSequence = 1; streamSequence <= MESSAGES.length; streamSequence += 7) {
    const { log: head } = fold(MESSAGES.slice(0, streamSequence));
    const loader = new SnapshotLoader();
    loader.add(textOf(head.state));
    const start = { state: loader.finish(), tip: head.reader.tip, streamSequence };
    const { log, problem } = fold(MESSAGES.slice(streamSequence), start);
    expect(problem).toBeUndefined();
    expect(stateHash(log.state)).toBe(stateHash(WORLD.state));
  }
});

test("ends at exactly the event that was asked for, and tells the frame that it lies in", () => {
  const index = FRAMES.findIndex((frame) => frame.count > 3);
  const frame = FRAMES[index];
  if (frame === undefined) throw new Error("the world has a frame of several events");
  const last = frame.first + frame.count - 1;
  for (let sequence = frame.first - 1; sequence <= last; sequence += 1) {
    const { log, problem } = fold(MESSAGES, undefined, sequence);
    expect(problem).toBeUndefined();
    const before = foldFrames(FRAMES.slice(0, index));
    expect(log.state.sequence).toBe(sequence);
    expect(log.state.enqueuedTotal - before.enqueuedTotal).toBe(sequence - before.sequence);
    const isInside = sequence >= frame.first && sequence < last;
    expect(log.part).toEqual(isInside ? { streamSequence: index + 1, first: frame.first, last } : undefined);
  }
});

test("steps over a stranger's message", () => {
  const stranger = { ...MESSAGES[0], streamSequence: 3, payload: new Uint8Array(3), chainHeader: "" } as LogMessage;
  const behind = MESSAGES.slice(2).map((message) => ({ ...message, streamSequence: message.streamSequence + 1 }));
  const { log, problem } = fold([...MESSAGES.slice(0, 2), stranger, ...behind]);
  expect([problem, log.voids, stateHash(log.state)]).toEqual([undefined, 1, stateHash(WORLD.state)]);
});

describe("ends with a problem", () => {
  const wrongHash = (): Frame => {
    const events: Frame["events"] = [{ type: "stateHash", hash: "0".repeat(16) }];
    return { ...(FRAMES.at(-1) as Frame), first: WORLD.state.sequence + 1, count: 1, events };
  };
  const cases: [string, readonly LogMessage[], string][] = [
    ["at a message that is missing", MESSAGES.toSpliced(5, 1), "log_gap"],
    [
      "at a frame that continues another one",
      [...MESSAGES.slice(0, 5), ...renumbered(MESSAGES.slice(6), 6)],
      "log_fork",
    ],
    ["at a state hash of another state", chained([...FRAMES, wrongHash()]), "state_diverged"],
    ["at counts that do not add up", chained(FRAMES.with(5, { ...FRAMES[5], pending: 77 } as Frame)), "state_diverged"],
    ["at an event that cannot have happened", chained([...FRAMES.slice(0, 2), impossible()]), "log_event_impossible"],
  ];
  test.each(cases)("%s", (_what, messages, code) => {
    expect(fold(messages).problem?.code).toBe(code);
  });
});

function renumbered(messages: readonly LogMessage[], from: number): readonly LogMessage[] {
  return messages.map((message, index) => ({ ...message, streamSequence: from + index }));
}

function impossible(): Frame {
  const events = [{ type: "released", actor: 0, itemId: "3", resourceType: "t", resourceId: "r", token: 3 }] as const;
  const actors = [{ principal: "me", peerId: "me" }];
  return { ...FRAMES[1], first: 3, count: 1, actors, events } as unknown as Frame;
}
