/** The benchmark in its small size, so that it cannot rot: it checks ids itself and fails when an item is lost. */
import { beforeEach, expect, test } from "vitest";
import { skipWithoutNats } from "../support/nats.ts";
import { leftOut, smallBench } from "./small-bench.ts";

beforeEach(skipWithoutNats);

test.for([
  ["omnirelay-batch,jetstream", "omnirelay-batch", "jetstream"],
  ["bullmq,graphile-batched", "bullmq", "graphile-batched"],
])("the life of an item is measured for %s", async ([names = "", ...rows], { skip }) => {
  const results = await smallBench("--scenario", "S5", "--durability", "D2", "--peer", names, "--no-fsyncs");
  const missing = leftOut(results);
  if (missing !== undefined) skip(missing);
  expect(results.rows.map(({ peer }) => peer)).toEqual(rows);
  for (const { runs, peer } of results.rows) {
    expect(runs[0]?.value, peer).toBeGreaterThan(0);
    expect(Object.keys(runs[0]?.cpuMs ?? {}), peer).toContain("client");
    expect(results.peers[peer]?.worth.complete, peer).toMatch(/\w/);
  }
  expect(results.machine.node).toBe(process.version);
});
