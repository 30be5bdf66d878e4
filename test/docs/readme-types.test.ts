/** The TypeScript of the documents compiles against the sources that it is about. */
import { spawnSync } from "node:child_process";
import { globSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";

const ROOT = join(import.meta.dirname, "../..");
const TSC = join(ROOT, "node_modules/typescript/bin/tsc");

test("the TypeScript examples of README and documents compile", { timeout: 60_000 }, () => {
  const texts = globSync(["README.md", "docs/*.md"], { cwd: ROOT }).map((file) =>
    readFileSync(join(ROOT, file), "utf8"),
  );
  const blocks = texts.flatMap((text) => [...text.matchAll(/^```ts\n(.*?)^```/gms)]);
  expect(blocks.length).toBeGreaterThan(1);
  const folder = mkdtempSync(join(tmpdir(), "omnirelay-readme-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const files = blocks.map(([, text = ""], index) => {
    const file = join(folder, `block-${index}.mts`);
    writeFileSync(file, text);
    return file;
  });
  const sources = Object.fromEntries(
    ["client", "contracts", "health", "outbox", "persistence", "replication", "testing"].map((name) => [
      `omnirelay/${name}`,
      [join(ROOT, name === "contracts" ? "contracts/mod.ts" : `services/${name}/mod.ts`)],
    ]),
  );
  const compilerOptions = { typeRoots: [join(ROOT, "node_modules/@types")], paths: sources };
  symlinkSync(join(ROOT, "node_modules"), join(folder, "node_modules"));
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
