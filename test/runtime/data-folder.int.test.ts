/** Checks that a folder that can never be made ends with a clear error: in a process of its own, for the fault was an endless loop. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { prepareDataFolder } from "../../services/runtime/data-folder.ts";

const MODULE = new URL("../../services/runtime/data-folder.ts", import.meta.url).href;

test("a folder below /proc is refused at once", (context) => {
  if (!existsSync("/proc/self")) return context.skip("there is no /proc here");
  const script = `const { prepareDataFolder } = await import(${JSON.stringify(MODULE)});
    try { prepareDataFolder("/proc/omnirelay/x"); } catch (error) { console.log(error.code, error.message); }`;
  const { stdout, signal } = spawnSync(process.execPath, ["--input-type=module", "-e", script], {
    encoding: "utf8",
    timeout: 20_000,
  });
  expect({ stdout, signal }).toEqual({
    signal: null,
    stdout: expect.stringMatching(/^data_dir_unusable the data folder \/proc\/omnirelay\/x cannot be written: ENOENT/),
  });
});

test("missing parents are made", () => {
  const folder = mkdtempSync(join(tmpdir(), "omnirelay-folder-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  expect(prepareDataFolder(join(folder, "a/b/c"))).toBe(join(folder, "a/b/c"));
  expect(statSync(join(folder, "a/b/c")).isDirectory()).toBe(true);
});
