/** What the documents say about speed is what the kept raw results say, and the arithmetic between the two is right. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { compareRows, regressions, uncompared } from "./compare.ts";
import { Items } from "./items.ts";
import { five, kept, keptOn, results, row } from "./kept-runs.ts";
import { randomOf } from "./loads.ts";
import { mergeRuns } from "./merge.ts";
import { plotsOf } from "./plots.ts";
import { reportFiles, staleReports } from "./report.ts";
import { scenarioTables, spread } from "./report-tables.ts";
import { readResults, resultsText } from "./results.ts";

test("the documents are made from the kept results (else: npm run bench:report)", () => {
  expect(staleReports()).toEqual([]);
});

test("kept results say why a row is missing, without the folders of the machine", () => {
  const folder = mkdtempSync(join(tmpdir(), "omnirelay-results-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const path = join(folder, "results.json");
  const failure = { scenario: "S5", durability: "D2", peer: "bullmq", isFailure: true } as const;
  const reason = `Error: it does not keep up\n    at run (file://${folder}/loads.ts:1:1)`;
  writeFileSync(path, resultsText({ ...results(row("a", [1])), notRun: [{ ...failure, reason }] }));
  expect(readResults(path).notRun).toEqual([{ ...failure, reason: "Error: it does not keep up" }]);
});

test("a row is told as its median and its whole range", () => {
  expect(spread(row("a", [9_000, 45_961, 46_800]))).toBe("45,961 (9,000 to 46,800)");
});

test("the best row stands first, whether more or less is better", () => {
  const late = { scenario: "S6", case: "50%" };
  const text = scenarioTables(
    mergeRuns([kept(row("slow", [1]), row("fast", [2]), row("late", [9], late), row("soon", [3], late))]),
  );
  const order = ["fast", "slow", "soon", "late"].map((name) => text.indexOf(`| ${name} |`));
  expect(order).toEqual(order.toSorted((left, right) => left - right));
  expect(Math.min(...order)).toBeGreaterThan(0);
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

test("plots hold every peer", () => {
  const svg = plotsOf(mergeRuns([kept(row("omnirelay-batch", [5]), row("bullmq", [1]))])).get("s5-D2.svg") ?? "";
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

test("the long report says what of each table is from which run, and which ratios no run holds", () => {
  const folder = mkdtempSync(join(tmpdir(), "omnirelay-results-"));
  const runs = [keptOn(1, [row("bullmq", five(1))]), keptOn(2, [row("omnirelay-batch", [2])])];
  const paths = runs.map(({ name, results: one }) => {
    writeFileSync(join(folder, name), JSON.stringify(one));
    return join(folder, name);
  });
  const files = reportFiles(paths);
  rmSync(folder, { recursive: true });
  const text = files.get("test/bench/README.md") ?? "";
  expect(text).toMatch(/^- S5 D2 \(1 of 2 rows\): .*commit2.*\[2\.json\]/m);
  expect(text).toMatch(/^\| … times BullMQ \| {2}\| at least 15 \| not measured in one run \|/m);
  expect(text).toMatch(/^\| dispatcher, µs .*\| not run \|/m);
  expect(files.get("README.md")).toContain("2 **1 of 5 rounds only** |  | commit2, 2026-01-02 00:00, 1 round |");
});

test("a run that only a goal is from is named too", () => {
  const folder = mkdtempSync(join(tmpdir(), "omnirelay-results-"));
  const [batch, bullmq] = [row("omnirelay-batch", five(2)), row("bullmq", five(1))];
  const paths = [keptOn(1, [batch, bullmq]), keptOn(2, [batch]), keptOn(3, [bullmq])].map(({ name, results: one }) => {
    writeFileSync(join(folder, name), JSON.stringify(one));
    return join(folder, name);
  });
  const text = reportFiles(paths).get("test/bench/README.md") ?? "";
  rmSync(folder, { recursive: true });
  expect(text).toContain("| … times BullMQ | 2 | at least 15 | not met | commit1, 2026-01-01 00:00, 5 rounds |");
  expect(text).toMatch(/^- goals: .*commit1.*\[1\.json\]/m);
});
