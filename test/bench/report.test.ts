/** What the documents say about speed is what the newest raw results say, and the arithmetic between the two is right. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { compareRows, regressions, uncompared } from "./compare.ts";
import { goalsOf, isMet } from "./goals.ts";
import { Items } from "./items.ts";
import { randomOf } from "./loads.ts";
import { plotsOf } from "./plots.ts";
import { reportFiles, staleReports } from "./report.ts";
import { scenarioTables, spread } from "./report-tables.ts";
import { mergedResults, type Results, type Row } from "./results.ts";

const row = (peer: string, values: readonly number[], more: Partial<Row> = {}): Row => ({
  ...{ scenario: "S5", case: "", durability: "D2", peer, doubles: 0 },
  runs: values.map((value) => ({ value })),
  ...more,
});
const results = (...rows: Row[]): Results => ({
  ...{ format: 1, date: "2026-01-01T00:00:00.000Z", size: "full", seed: 1, placement: "pinned" },
  machine: { cpu: "c", cores: 2, memoryGiB: 8, node: "v24", commit: "abc", fsyncMs: 0.2 },
  ...{ peers: {}, rows, notRun: [], syncs: [] },
});

test("the documents are made from the newest results (else: npm run bench:report)", () => {
  expect(staleReports()).toEqual([]);
});

test("a row is told as its median and its whole range", () => {
  expect(spread(row("a", [9_000, 45_961, 46_800]))).toBe("45,961 (9,000 to 46,800)");
});

test("the best row stands first, whether more or less is better", () => {
  const late = { scenario: "S6", case: "50%" };
  const text = scenarioTables(
    results(row("slow", [1]), row("fast", [2]), row("late", [9], late), row("soon", [3], late)),
  );
  const order = ["fast", "slow", "soon", "late"].map((name) => text.indexOf(`| ${name} |`));
  expect(order).toEqual(order.toSorted((left, right) => left - right));
  expect(Math.min(...order)).toBeGreaterThan(0);
});

test("a goal compares with the better of a peer's rows, and is open where a row is missing", () => {
  const goals = goalsOf(
    results(row("omnirelay-batch", [100]), row("graphile-default", [4]), row("graphile-batched", [20])),
  );
  expect(goals[0]).toMatchObject({ measured: 5, bound: 10 });
  expect(goals[0] === undefined ? undefined : isMet(goals[0])).toBe(false);
  expect(goals[1]?.measured).toBeUndefined();
});

test("the ratio to earlier results is freed of what the machine gained", () => {
  const before = results(row("omnirelay-batch", [100]), row("jetstream", [10]));
  const now = results(row("omnirelay-batch", [150]), row("jetstream", [20]));
  const compared = compareRows(now, { kind: "results", results: before });
  expect(compared).toMatchObject([{ peer: "omnirelay-batch", ratio: 0.75, machine: 2 }]);
  expect(regressions(compared, 0.9)).toHaveLength(1);
  expect(regressions(compared, 0.7)).toHaveLength(0);
});

test("a checkout is compared with its own rows, and a shorter time is a gain", () => {
  const late = { scenario: "S6", case: "50%" };
  const now = results(row("omnirelay-single", [2], late), row("omnirelay-single-base", [4], late));
  expect(compareRows(now, { kind: "checkout", folder: "/before" })).toMatchObject([{ ratio: 2 }]);
});

test("each scenario of a class comes whole from the newest run that has it", () => {
  const folder = mkdtempSync(join(tmpdir(), "omnirelay-results-"));
  const write = (name: string, one: Results): string => {
    const path = join(folder, name);
    writeFileSync(path, JSON.stringify(one));
    return path;
  };
  const first = write("1.json", results(row("a", [1]), row("b", [1]), row("a", [1], { durability: "D1" })));
  const second = write("2.json", { ...results(row("a", [2])), date: "2026-01-02T00:00:00.000Z" });
  const small = write("3.json", { ...results(row("a", [3])), date: "2026-01-03T00:00:00.000Z", size: "small" });
  const merged = mergedResults([first, second, small]);
  rmSync(folder, { recursive: true });
  const seen = merged?.results.rows.map(({ peer, durability, runs }) => [peer, durability, runs[0]?.value]);
  expect(seen).toEqual([
    ["a", "D2", 2],
    ["a", "D1", 1],
  ]);
  expect(merged?.sources.map(({ name, scenarios }) => [name, scenarios])).toEqual([
    ["2.json", ["S5 D2"]],
    ["1.json", ["S5 D1"]],
  ]);
});

test("plots hold every peer", () => {
  const svg = plotsOf(results(row("omnirelay-batch", [5]), row("bullmq", [1]))).get("s5-D2.svg") ?? "";
  for (const peer of ["omnirelay-batch", "bullmq"]) expect(svg).toContain(`>${peer}</text>`);
});

test("a lost item fails the run, and one that comes twice is counted", () => {
  const items = new Items();
  const [first = "", second = ""] = items.make(2);
  items.see(first);
  items.see(first);
  expect(() => items.assertWhole()).toThrow("1 of 2 items are lost");
  items.see(second);
  items.assertWhole();
  expect(items.doubles).toBe(1);
  expect(() => items.see("000000000009")).toThrow("never made");
});

test("the same seed gives the same times, spread evenly", () => {
  const [one, other] = [randomOf(7), randomOf(7)];
  const draws = Array.from({ length: 10_000 }, () => [one(), other()]);
  expect(draws.every(([left, right]) => left === right)).toBe(true);
  const mean = draws.reduce((sum, [value = 0]) => sum + value, 0) / draws.length;
  expect(Math.abs(mean - 0.5)).toBeLessThan(0.02);
});

test("nothing before and nothing now is no regression, and something now is one", () => {
  const zombies = { scenario: "S12" };
  const compare = (now: number, before: number): boolean =>
    regressions(
      compareRows(results(row("omnirelay-batch", [now], zombies)), {
        kind: "results",
        results: results(row("omnirelay-batch", [before], zombies)),
      }),
      0.9,
    ).length > 0;
  expect(compare(0, 0)).toBe(false);
  expect(compare(0, 2)).toBe(false);
  expect(compare(2, 0)).toBe(true);
});

test("rows that the base does not have are named", () => {
  const now = results(row("omnirelay-batch", [1]), row("omnirelay-single", [1]), row("bullmq", [1]));
  const base = { kind: "results", results: results(row("omnirelay-batch", [1])) } as const;
  expect(uncompared(now, compareRows(now, base)).map(({ peer }) => peer)).toEqual(["omnirelay-single"]);
});

test("the README says of the life of an item which run it is from, also when other scenarios have been run since", () => {
  const folder = mkdtempSync(join(tmpdir(), "omnirelay-results-"));
  const life = results(row("omnirelay-batch", [1]));
  const later = results(row("omnirelay-single", [1], { scenario: "S6", case: "50%" }));
  const [first, second] = [join(folder, "1.json"), join(folder, "2.json")];
  writeFileSync(first, JSON.stringify({ ...life, machine: { ...life.machine, commit: "of-the-life" } }));
  writeFileSync(second, JSON.stringify({ ...later, date: "2026-02-02T00:00:00.000Z" }));
  const text = reportFiles([first, second]).get("README.md");
  const none = reportFiles([second]).get("README.md");
  rmSync(folder, { recursive: true });
  expect(text).toContain("2026-01-01, commit of-the-life");
  expect(none).toContain("No full run is kept yet");
});
