/** A report of several runs says of each row which run it is from, never lets few rounds displace many, and works no ratio out of two runs. */
import { expect, test } from "vitest";
import { type Goal, goalsOf, isMet } from "./goals.ts";
import { five, kept, keptOn, results, row } from "./kept-runs.ts";
import { type KeptRun, type Merged, mergeRuns, tableOf } from "./merge.ts";
import { plotsOf } from "./plots.ts";
import { scenarioTables } from "./report-tables.ts";

const rowsOf = (merged: Merged, scenario = "S5") =>
  tableOf(merged, scenario, "D2")?.rows.map(({ peer, runs, from }) => [peer, runs[0]?.value, from.name]) ?? [];
const merge = (...runs: KeptRun[]): Merged => mergeRuns(runs);
const lineOf = (text: string, peer: string): string =>
  text.split("\n").find((line) => line.startsWith(`| ${peer} |`)) ?? "";
const goalNamed = (merged: Merged, words: string): Goal | undefined =>
  goalsOf(merged).find(({ aim }) => aim.text.includes(words));

test("a later run of one row leaves the other rows of its table, and each says which run it is from", () => {
  const merged = merge(
    keptOn(1, [row("omnirelay-batch", five(10)), row("bullmq", five(3))]),
    keptOn(2, [row("omnirelay-batch", five(20))]),
  );
  expect(rowsOf(merged)).toEqual([
    ["omnirelay-batch", 20, "2.json"],
    ["bullmq", 3, "1.json"],
  ]);
  const text = scenarioTables(merged);
  expect(lineOf(text, "omnirelay-batch")).toContain("commit2, 2026-01-02 00:00, 5 rounds");
  expect(lineOf(text, "bullmq")).toContain("commit1, 2026-01-01 00:00, 5 rounds");
});

test("a table of one run names no run at its rows", () => {
  expect(scenarioTables(merge(kept(row("bullmq", five(3)))))).not.toContain("rounds");
});

test("fewer than five rounds displace nothing that has five, and are marked where there is nothing else", () => {
  const merged = merge(
    keptOn(1, [row("omnirelay-batch", five(10))]),
    keptOn(2, [row("omnirelay-batch", [20]), row("bullmq", [3, 4])]),
  );
  expect(rowsOf(merged)).toEqual([
    ["omnirelay-batch", 10, "1.json"],
    ["bullmq", 3, "2.json"],
  ]);
  const text = scenarioTables(merged);
  expect(lineOf(text, "bullmq")).toContain("**2 of 5 rounds only**");
  expect(lineOf(text, "omnirelay-batch")).not.toContain("only");
  expect(plotsOf(merged).get("s5-D2.svg")).toContain(">3.5 (few rounds)<");
});

test("of runs with too few rounds the newest is told", () => {
  expect(rowsOf(merge(keptOn(1, [row("bullmq", [1])]), keptOn(2, [row("bullmq", [2])])))).toEqual([
    ["bullmq", 2, "2.json"],
  ]);
});

test("a scenario that is run three times at most has enough rounds with three, and they are counted all the same", () => {
  const deep = { scenario: "S9", case: "depth 1000" };
  const merged = merge(keptOn(1, [row("bullmq", [1, 1, 1], deep)]), keptOn(2, [row("bullmq", [2], deep)]));
  expect(rowsOf(merged, "S9")).toEqual([["bullmq", 1, "1.json"]]);
  expect(lineOf(scenarioTables(merged), "bullmq")).toContain("(of 3 rounds)");
});

test("rows of another machine or placement stand in a table of their own, behind the fullest", () => {
  const machine = { ...results().machine, cpu: "other" };
  const merged = merge(
    keptOn(1, [row("omnirelay-batch", five(10)), row("bullmq", five(3))]),
    keptOn(2, [row("omnirelay-batch", five(20))], { placement: "free" }),
    keptOn(3, [row("omnirelay-batch", five(30))], { machine }),
  );
  expect(merged.tables.map(({ bed, rows }) => [bed.split(",", 2).join(), rows.length])).toEqual([
    ["c, 2 cores (pinned)", 2],
    ["other, 2 cores (pinned)", 1],
    ["c, 2 cores (free)", 1],
  ]);
  expect(scenarioTables(merged)).toContain("D2 on c, 2 cores (free), 8 GiB, node v24:");
});

test("a small run is no figure", () => {
  expect(merge(keptOn(1, [row("bullmq", five(1))], { size: "small" })).tables).toEqual([]);
});

test("what failed since is told beside the older row, and no longer when it ran again", () => {
  const failure = {
    scenario: "S5",
    durability: "D2",
    peer: "bullmq",
    reason: "it fell over",
    isFailure: true,
  } as const;
  const before = keptOn(1, [row("bullmq", five(1))]);
  const failed = keptOn(2, [row("omnirelay-batch", five(1))], { notRun: [failure] });
  const text = scenarioTables(merge(before, failed));
  expect(lineOf(text, "bullmq")).toContain("commit1");
  expect(text).toContain("- bullmq (D2): not run: it fell over");
  expect(scenarioTables(merge(before, failed, keptOn(3, [row("bullmq", five(2))])))).not.toContain("fell over");
});

test("a goal compares with the better of a peer's rows, and is open where a row is missing", () => {
  const rows = [["omnirelay-batch", 100] as const, ["graphile-default", 4] as const, ["graphile-batched", 20] as const];
  const goals = goalsOf(merge(kept(...rows.map(([peer, value]) => row(peer, five(value))))));
  expect(goals[0]).toMatchObject({ measured: 5, aim: { bound: 10 } });
  expect(goals[0] === undefined ? undefined : isMet(goals[0])).toBe(false);
  expect(goals[1]).toMatchObject({ measured: undefined, isApart: false });
});

test("a ratio is worked out of rows of one run: the newest that has both", () => {
  const both = keptOn(1, [row("omnirelay-batch", five(10)), row("bullmq", five(5))]);
  const ours = keptOn(2, [row("omnirelay-batch", five(100))]);
  expect(goalNamed(merge(both, ours), "BullMQ")).toMatchObject({ measured: 2, from: { name: "1.json" } });
});

test("a ratio whose rows were never measured in one run is not worked out", () => {
  const merged = merge(keptOn(1, [row("bullmq", five(5))]), keptOn(2, [row("omnirelay-batch", five(100))]));
  expect(goalNamed(merged, "BullMQ")).toMatchObject({ measured: undefined, isApart: true });
});

test("a goal of few rounds is marked, and gives way to an older one of enough", () => {
  const few = keptOn(2, [row("omnirelay-batch", five(10)), row("bullmq", [1])]);
  const enough = keptOn(1, [row("omnirelay-batch", five(10)), row("bullmq", five(5))]);
  expect(goalNamed(merge(few), "BullMQ")).toMatchObject({ measured: 10, rounds: 1 });
  expect(goalNamed(merge(few, enough), "BullMQ")).toMatchObject({ measured: 2, rounds: 5 });
});

test("fsyncs are of the newest run whose rounds are enough", () => {
  const syncs = [{ durability: "D2", peer: "bullmq", calls: 1, items: 1 }] as const;
  const merged = merge(
    keptOn(1, [row("bullmq", five(1))], { syncs: [...syncs] }),
    keptOn(2, [row("bullmq", [1])], { syncs: [...syncs] }),
  );
  expect(merged.syncs.map(({ from }) => from.name)).toEqual(["1.json"]);
});

test("whether two processes beat one is judged where each may have its processor, and shown where all share one", () => {
  const free = { placement: "free" } as const;
  const merged = merge(
    kept(
      ...[row("omnirelay-batch", five(10)), row("omnirelay-8-shards-2", five(8))],
      ...[row("omnirelay-batch-free", five(10), free), row("omnirelay-8-shards-2-free", five(15), free)],
    ),
  );
  const [judged, shown] = ["unpinned", "all servers on one processor"].map((words) => goalNamed(merged, words));
  expect(judged).toMatchObject({ measured: 1.5, aim: { bound: 1 } });
  expect(judged === undefined ? undefined : isMet(judged)).toBe(true);
  expect(shown?.measured).toBe(0.8);
  expect(shown?.aim.bound).toBeUndefined();
  expect(merged.tables.map(({ placement, rows }) => [placement, rows.length])).toEqual([
    ["pinned", 2],
    ["free", 2],
  ]);
});

test("depth is judged by the rows of OmniRelay's batches at 1,000 and at 1,000,000 items", () => {
  const at = (depth: number, value: number, mib: number) => ({
    ...row("omnirelay-batch", [], { scenario: "S9", case: `depth ${depth}` }),
    runs: [1, 2, 3].map(() => ({ value, more: { "rssMib dispatcher": mib } })),
  });
  const merged = merge(kept(at(1_000, 100, 200), at(1_000_000, 90, 600)));
  expect(goalNamed(merged, "throughput at depth")).toMatchObject({ measured: 0.9, rounds: 3, aim: { bound: 0.8 } });
  expect(goalNamed(merged, "memory of the dispatcher")).toMatchObject({
    measured: 600 * 1.048576,
    aim: { bound: 700 },
  });
});

test("cost is linear when an item of many costs what one of few does", () => {
  const of = (count: number, value: number) =>
    row("omnirelay-batch", [value, value, value], { scenario: "S14", case: `${count} items` });
  const merged = merge(kept(of(10_000, 30), of(100_000, 33), of(1_000_000, 60)));
  const goals = ["of 100,000 items by", "of 1,000,000 items by"].map((words) => goalNamed(merged, words));
  expect(goals.map((goal) => [goal?.measured, goal === undefined ? undefined : isMet(goal)])).toEqual([
    [1.1, true],
    [2, false],
  ]);
});
