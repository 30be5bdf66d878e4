/** What counts as a saved run, and that a run of many seeds ends only when all of them were told. */
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import type { ChildReport } from "./child.ts";
import { runSeeds } from "./run-seeds.ts";
import { readSavedRun, UsageError } from "./saved-run.ts";

const CORPUS = new URL("corpus/", import.meta.url);

function fileWith(text: string, name = "saved.json"): string {
  const folder = mkdtempSync(join(tmpdir(), "omnirelay-saved-run-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  writeFileSync(join(folder, name), text);
  return join(folder, name);
}

test("every run of the corpus is a saved run", () => {
  const files = readdirSync(CORPUS);
  expect(files.length).toBeGreaterThan(0);
  for (const file of files) expect(readSavedRun(new URL(file, CORPUS)).seed).toBeGreaterThan(0);
});

test.each([
  ["{}", "is no saved run: spec:"],
  ["[]", "is no saved run: the whole:"],
  ['{"name":"omnirelay","version":"0.1.0"}', "is no saved run: spec:"],
  ['{"spec":{"seed":1}}', "is no saved run: spec.profile:"],
  ['{"spec":{"seed":1,"profile":"huge"}}', "is no saved run: spec.profile:"],
  ['{"spec":{"seed":"1","profile":"small"}}', "is no saved run: spec.seed:"],
  ['{"spec":{"seed":4294967296,"profile":"small"}}', "is no saved run: spec.seed:"],
  ['{"spec":{"seed":1,"profile":"small","overrides":{"fault.slot#3":"0"}}}', "is no saved run: spec.overrides"],
  ['{"spec":{"seed":1,"profile":"small","faults":[]}}', "is no saved run: spec:"],
  ["no JSON", "cannot be read: "],
])("%s is refused: %s", (text, words) => {
  const file = fileWith(text);
  expect(() => readSavedRun(file)).toThrow(UsageError);
  expect(() => readSavedRun(file)).toThrow(words);
});

test("a child that ends in order without having told of all its seeds is noticed", async () => {
  const report: ChildReport = {
    ...{ seeds: 2, virtualMs: 1, events: 1, operations: 1, cpuMs: 1 },
    ...{ coverage: [], faults: [] },
  };
  const child = fileWith(`process.send(${JSON.stringify(report)}); process.disconnect();`, "child.mjs");
  const settings = { first: 1, profile: "small", children: 1, isTwice: false, stopAtFailure: false } as const;
  await expect(runSeeds({ ...settings, seeds: 3 }, child)).rejects.toThrow("2 of 3 seeds were told");
  await expect(runSeeds({ ...settings, seeds: 1 }, child)).rejects.toThrow("2 of 1 seeds were told");
  expect(await runSeeds({ ...settings, seeds: 2 }, child)).toMatchObject({ seeds: 2, failed: 0 });
});
