/** The benchmark in its small size, so that it cannot rot: it checks ids itself and fails when an item is lost. */
import { execFileSync } from "node:child_process";
import { availableParallelism } from "node:os";
import { beforeEach, expect, test } from "vitest";
import { skipWithoutNats } from "../support/nats.ts";
import type { Peer } from "./peers/peer.ts";
import { SCENARIOS } from "./scenarios/registry.ts";
import type { DirectScenario } from "./scenarios/scenario.ts";
import { leftOut, smallBench } from "./small-bench.ts";
import { Suite } from "./suite.ts";

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

test("every scenario runs, and loses nothing", { timeout: 180_000 }, async () => {
  const names = SCENARIOS.map(({ name }) => name);
  const peer = ["--peer", "omnirelay-single"];
  const results = await smallBench("--scenario", names.join(","), "--durability", "D2", ...peer, "--no-fsyncs");
  expect(results.notRun).toEqual([]);
  expect([...new Set(results.rows.map(({ scenario }) => scenario))]).toEqual(names);
  for (const { scenario, runs } of results.rows)
    for (const name of ["lost", "notDone"]) expect(runs[0]?.more?.[name] ?? 0, `${scenario}: ${name}`).toBe(0);
});

test("an unpinned row stands among pinned ones: its servers may run on every processor, and the row says so", async ({
  skip,
}) => {
  if (availableParallelism() < 2) skip("one processor");
  const processors: Record<string, string> = {};
  const peer = (name: string, placement?: "free"): Peer => ({
    ...{ name, summary: name, docs: [], worth: { enqueue: "", lease: "", complete: "" } },
    ...{ drive: { batch: 1, inFlight: 1, concurrency: 1 }, ...(placement === undefined ? {} : { placement }) },
    abilities: { delay: false, beat: false, recovery: false, queue: true },
    missing: async () => undefined,
    serve: async () => {
      processors[name] = execFileSync("nproc", { encoding: "utf8" }).trim();
      return { url: "", version: "", processes: [], stop: async () => {}, crash: async () => {} };
    },
    connect: async () => ({ enqueue: async () => {}, close: async () => {} }),
  });
  const scenario: DirectScenario = {
    ...{ kind: "direct", name: "S", title: "", unit: "", better: "more", sizes: { small: {}, full: {} } },
    direct: async () => ({ "": { value: 1 } }),
  };
  const { rows } = await new Suite({
    ...{ scenarios: [scenario], peers: [peer("bound"), peer("unbound", "free")], durabilities: ["D2"], runs: 1 },
    ...{ size: "small", amounts: {}, placement: "pinned", seed: 1, base: undefined, countsFsyncs: false },
    report: () => {},
  }).run();
  expect(rows.map((row) => [row.peer, row.placement])).toEqual([
    ["bound", undefined],
    ["unbound", "free"],
  ]);
  expect(processors["bound"]).toBe("1");
  expect(Number(processors["unbound"])).toBeGreaterThan(1);
});
