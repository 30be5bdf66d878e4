/** The TypeScript of the README compiles against the sources that it is about. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";

const ROOT = join(import.meta.dirname, "../..");
const TSC = join(ROOT, "node_modules/typescript/bin/tsc");

test("the TypeScript example of the README compiles", { timeout: 60_000 }, () => {
  const blocks = [...readFileSync(join(ROOT, "README.md"), "utf8").matchAll(/^```ts\n(.*?)^```/gms)];
  expect(blocks.length).toBeGreaterThan(0);
  const folder = mkdtempSync(join(tmpdir(), "omnirelay-readme-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const files = blocks.map(([, text = ""], index) => {
    const file = join(folder, `block-${index}.mts`);
    writeFileSync(file, text);
    return file;
  });
  const sources = Object.fromEntries(
    ["client", "contracts", "persistence", "testing"].map((name) => [
      `omnirelay/${name}`,
      [join(ROOT, name === "contracts" ? "contracts/mod.ts" : `services/${name}/mod.ts`)],
    ]),
  );
  const compilerOptions = { typeRoots: [join(ROOT, "node_modules/@types")], paths: sources };
  const config = join(folder, "tsconfig.json");
  writeFileSync(config, JSON.stringify({ extends: join(ROOT, "tsconfig.json"), compilerOptions, files, include: [] }));
  const { stdout, status } = spawnSync(process.execPath, [TSC, "-p", config], { encoding: "utf8" });
  expect({ stdout, status }).toEqual({ stdout: "", status: 0 });
});

/** Whoever imports the package gets its declarations, and these name types of their own. */
test("the types that the published declarations need are dependencies", () => {
  const { dependencies } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8"));
  expect(Object.keys(dependencies)).toContain("@types/better-sqlite3");
});
