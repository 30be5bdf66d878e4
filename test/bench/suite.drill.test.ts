/** Every scenario, and every peer, in the small size: what no longer works fails here and not in the hours of a full run. */
import { beforeEach, expect, test } from "vitest";
import { skipWithoutNats } from "../support/nats.ts";
import { PEER_NAMES } from "./peers/registry.ts";
import { leftOut, smallBench } from "./small-bench.ts";

beforeEach(skipWithoutNats);

/** Each scenario with one of ours and one of the others; the code of a scenario does not know which peer it has. */
const PAIRS: readonly (readonly [scenario: string, peers: string])[] = [
  ["S1", "omnirelay-raw,nats-request"],
  ["S2", "omnirelay-single,graphile-default"],
  ["S3", "omnirelay-batch,pg-boss"],
  ["S4", "omnirelay-single,jetstream-confirmed"],
  ["S5", PEER_NAMES.join(",")],
  ["S6", "omnirelay-single,bullmq,nats-frames"],
  ["S7", "omnirelay-single,jetstream"],
  ["S8", "omnirelay-batch,pg-boss"],
  ["S9", "omnirelay-batch,graphile-batched"],
  ["S10", "omnirelay-single,bullmq"],
  ["S11", "omnirelay-batch,graphile-batched"],
  ["S12", "omnirelay-single,bullmq"],
  ["S13", "omnirelay-trimmed,jetstream"],
  ["S14", "omnirelay-batch,pg-boss"],
];

test.for(PAIRS)("%s runs with %s", async ([scenario, peers], { skip }) => {
  const results = await smallBench("--scenario", scenario, "--durability", "D2", "--peer", peers);
  expect(results.notRun.filter(({ isFailure }) => isFailure)).toEqual([]);
  for (const { runs, peer } of results.rows) {
    expect(runs[0]?.value, peer).toBeGreaterThanOrEqual(0);
    // What is owed in either class: an item that was acknowledged outlives a kill of the servers, and one that is leased a kill of its worker.
    for (const name of ["lost", "notDone"]) expect(runs[0]?.more?.[name] ?? 0, `${peer}: ${name}`).toBe(0);
  }
  const missing = leftOut(results);
  if (missing !== undefined) skip(missing);
  expect(new Set(results.rows.map(({ peer }) => peer)).size).toBeGreaterThanOrEqual(2);
});

test("what JetStream's client waits for a lost answer is the second it is told, not the five that it ships", async () => {
  const results = await smallBench("--scenario", "S11", "--durability", "D2", "--peer", "jetstream");
  expect(results.rows[0]?.runs[0]?.more?.["answerMs"]).toBe(1_000);
  expect(results.rows[0]?.runs[0]?.value).toBeLessThan(4_500);
});
