/** What the hub promises when its process dies in the middle of a stream. */
import { expect, test } from "vitest";
import { killHubs } from "./hub-killed.ts";

const SEED = 6;

test(`a hub that is killed in mid-stream loses nothing that it has acknowledged, and has nothing twice (seed ${SEED})`, async ({
  onTestFinished,
}) => {
  const counts = await killHubs(1, SEED, onTestFinished);
  expect(counts.acknowledged + counts.stored + counts.lost).toBe(1);
});
