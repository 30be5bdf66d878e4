/** The hub that is killed, many times: every moment between a batch that is sent and its acknowledgement has its turn. */
import { expect, test } from "vitest";
import { killHubs } from "./hub-killed.ts";

const SEED = Number(process.env["OMNIRELAY_SEED"] ?? Date.now() % 100_000);

test(`a hub that is killed 25 times loses nothing that it has acknowledged, and has nothing twice (seed ${SEED})`, async ({
  onTestFinished,
}) => {
  const counts = await killHubs(25, SEED, onTestFinished);
  console.log(`seed ${SEED}: batches under way at the kill: ${JSON.stringify(counts)}`);
  expect(counts.acknowledged + counts.stored + counts.lost).toBe(25);
});
