/** Which processes count as earlier starts of one another: those that had the same data folder. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { identityOfFolder } from "../../services/replicator/folder-identity.ts";
import { createIds } from "../../services/runtime/ids.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "omnirelay-identity-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const start = () => identityOfFolder(folder, createIds());

test("the next start with the folder is known again", () => {
  const first = start();
  first.close();
  const second = start();
  second.close();
  expect(second.id).toBe(first.id);
});

test("two processes with one folder are two", () => {
  const first = start();
  const second = start();
  expect(second.id).not.toBe(first.id);
  second.close();
  first.close();
  const third = start();
  expect(third.id).toBe(first.id);
  third.close();
});

test("an id that a crash has cut off is made anew", () => {
  writeFileSync(join(folder, "replicator.id"), "abc");
  const first = start();
  first.close();
  expect(first.id).toHaveLength(22);
});

test("refuses a folder whose id cannot be read", () => {
  mkdirSync(join(folder, "replicator.id"));
  expect(start).toThrow(expect.objectContaining({ code: "data_dir_unusable", definite: true }));
});
