/** What the simulated servers keep when they lose their power: everything that they acknowledged where they sync, and less where they do not. */
import { expect, test } from "vitest";
import { Choices } from "./choices.ts";
import { Scheduler } from "./scheduler.ts";
import { SimStream } from "./sim-stream.ts";

const DOWN = { kept: 0, downMs: 100, electMs: 10 };

/** A stream with one acknowledged message, which the third server has not got yet. */
function acknowledged(isSynced: boolean) {
  const scheduler = new Scheduler();
  const covered: string[] = [];
  const ignore = (): void => undefined;
  const stream = new SimStream({
    ...{ subject: "s", bytesMax: -1, isSynced, scheduler, draws: new Choices(1).draws("stream") },
    ...{ serverTimeMs: () => scheduler.nowMs, onCommit: ignore, onTrim: ignore },
    cover: (point) => void covered.push(point),
  });
  const [, , third] = stream.replicas;
  if (third !== undefined) third.lagMs = 60_000;
  const answers: string[] = [];
  stream.append(Buffer.from("m"), "", 0, ({ kind }) => void answers.push(kind));
  scheduler.runUntil(10);
  expect(answers).toEqual(["acked"]);
  return { scheduler, stream, covered };
}

test.each([
  [true, 1],
  [false, 0],
])(
  "of two servers that know a message one loses its power, and then the other goes: synced %s, %i are left",
  (isSynced, left) => {
    const { scheduler, stream, covered } = acknowledged(isSynced);
    stream.fall(1, { ...DOWN, hasPower: false });
    scheduler.runUntil(50);
    stream.fall(0, { ...DOWN, hasPower: true, downMs: 1_000 });
    scheduler.runUntil(500);
    expect([stream.leader === -1, stream.lastSequence]).toEqual([false, left]);
    expect(covered.includes("acknowledged_lost")).toBe(!isSynced);
  },
);

test("a power cut of all servers at once loses nothing that they have synced", () => {
  const { scheduler, stream } = acknowledged(true);
  for (const index of stream.replicas.keys()) stream.fall(index, { ...DOWN, hasPower: false });
  expect(stream.info()).toBeUndefined();
  scheduler.runUntil(500);
  expect(stream.info()?.lastSequence).toBe(1);
});

test("one server alone elects nobody and commits nothing", () => {
  const { scheduler, stream } = acknowledged(true);
  stream.fall(1, { ...DOWN, hasPower: true, downMs: 5_000 });
  stream.fall(2, { ...DOWN, hasPower: true, downMs: 5_000 });
  const answers: string[] = [];
  stream.append(Buffer.from("n"), "", 1, ({ kind }) => void answers.push(kind));
  scheduler.runUntil(1_000);
  expect([answers, stream.lastSequence]).toEqual([[], 1]);
  scheduler.runUntil(10_000);
  expect([answers, stream.lastSequence]).toEqual([["acked"], 2]);
});
