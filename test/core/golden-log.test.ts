/** Logs of released versions replay to the hashes that they had then, for ever; the present code still writes the newest one. */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { EVENTS } from "../../contracts/events.ts";
import { Frame } from "../../contracts/frame.ts";
import { LOG_VERSION_MAX } from "../../contracts/limits.ts";
import { assertInvariants } from "../../services/core/canonical.ts";
import { stateHash } from "../../services/core/hash.ts";
import { goldenLog, readGoldenLog } from "./golden-log.ts";
import { foldFrames } from "./shard-world.ts";

const fileOf = (version: number): URL => new URL(`golden/log-v${version}.jsonl`, import.meta.url);
const file = fileOf(LOG_VERSION_MAX);
const versions = Array.from({ length: LOG_VERSION_MAX }, (_, index) => index + 1);

/** Never rewrite a file for a change of hash or event that was released: raise `logVersion` instead. */
test("the present code writes the golden log of its version", async () => {
  await expect(goldenLog()).toMatchFileSnapshot(file.pathname);
});

test.each(versions)("the golden log of version %i replays to its hash", (version) => {
  const { frames, hash } = readGoldenLog(readFileSync(fileOf(version), "utf8"));
  for (const frame of frames) Frame.parse(frame);
  const state = foldFrames(frames);
  assertInvariants(state);
  expect(stateHash(state)).toBe(hash);
});

test("the golden log holds every event type and outcome", () => {
  const { frames } = readGoldenLog(readFileSync(file, "utf8"));
  const events = frames.flatMap((frame) => frame.events);
  expect(new Set(events.map((event) => event.type))).toEqual(new Set(Object.keys(EVENTS)));
  const outcomes = events.map((event) => ("outcome" in event ? `${event.type} ${event.outcome}` : ""));
  for (const outcome of ["failed requeued", "failed deadLettered", "expired requeued", "expired deadLettered"])
    expect(outcomes).toContain(outcome);
});

test("a log with one changed word does not replay to its hash", () => {
  const text = readFileSync(file, "utf8").replace("disk full", "disk fuLl");
  const { frames } = readGoldenLog(text);
  expect(() => foldFrames(frames)).toThrow(expect.objectContaining({ code: "state_diverged", definite: true }));
});
