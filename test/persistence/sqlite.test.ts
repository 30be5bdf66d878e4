/** What opening a file promises: the settings are what they say, and a file that is not ours or not whole is refused in plain words. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "better-sqlite3";
import { beforeEach, expect, test } from "vitest";
import { openSqlite, SqliteStore } from "../../services/persistence/mod.ts";
import { isVersionSafe } from "../../services/persistence/sqlite.ts";

let folder: string;
beforeEach(({ onTestFinished }) => {
  folder = mkdtempSync(join(tmpdir(), "omnirelay-sqlite-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
});
const path = (): string => join(folder, "a.db");
const codeOf = (open: () => { close(): void }): unknown => {
  try {
    open().close();
    return "opened";
  } catch (error) {
    return (error as { readonly code?: string }).code ?? error;
  }
};

test("a new file gets our mark and the settings that were asked for", () => {
  const db = openSqlite(path());
  const pragma = (name: string): unknown => db.pragma(name, { simple: true });
  expect(pragma("application_id")).toBe(0x4f6d526c);
  expect(pragma("user_version")).toBe(1);
  expect(pragma("journal_mode")).toBe("wal");
  expect(pragma("synchronous")).toBe(2);
  expect(pragma("trusted_schema")).toBe(0);
  expect(pragma("busy_timeout")).toBe(5_000);
  expect(pragma("foreign_keys")).toBe(1);
  db.close();
  const normal = openSqlite(path(), { durability: "normal", busyTimeoutMs: 10 });
  expect(normal.pragma("synchronous", { simple: true })).toBe(1);
  expect(normal.pragma("busy_timeout", { simple: true })).toBe(10);
  normal.close();
});

test("a database in memory can be opened too", () => {
  expect(codeOf(() => openSqlite(":memory:"))).toBe("opened");
});

test("a database of somebody else is refused and left as it is", () => {
  const db = new Database(path());
  db.exec("CREATE TABLE theirs (a)");
  db.close();
  const before = readFileSync(path());
  expect(codeOf(() => openSqlite(path()))).toBe("store_foreign");
  expect(readFileSync(path())).toEqual(before);
});

test("a database with another application's mark is refused", () => {
  const db = new Database(path());
  db.pragma("application_id = 7");
  db.close();
  expect(codeOf(() => openSqlite(path()))).toBe("store_foreign");
});

test("a file of a newer release is refused", () => {
  const db = openSqlite(path());
  db.pragma("user_version = 2");
  db.close();
  expect(codeOf(() => openSqlite(path()))).toBe("store_newer");
});

test("a file that is no database is refused as corrupt", () => {
  writeFileSync(path(), "this is a text ".repeat(1_000));
  expect(codeOf(() => openSqlite(path()))).toBe("store_corrupt");
});

test("a damaged page is found at the start", () => {
  const store = SqliteStore.open(path());
  for (let index = 0; index < 500; index += 1) store.put(`key${index}`, "x".repeat(100));
  store.close();
  const bytes = readFileSync(path());
  bytes.fill(0xff, 4096 * 3, 4096 * 4);
  writeFileSync(path(), bytes);
  expect(codeOf(() => openSqlite(path()))).toBe("store_corrupt");
});

test.each([
  ["a folder that does not exist", (root: string) => join(root, "missing", "a.db")],
  ["a folder in place of the file", (root: string) => root],
])("%s is told as such", (_what, where) => {
  expect(codeOf(() => openSqlite(where(folder)))).toBe("store_unusable");
});

test("a file that another process holds for too long is told as busy", () => {
  const db = openSqlite(path());
  const other = SqliteStore.open(path(), { busyTimeoutMs: 20 });
  db.exec("BEGIN IMMEDIATE");
  expect(() => other.put("a", "b")).toThrow(expect.objectContaining({ code: "store_busy", definite: true }));
  db.exec("ROLLBACK");
  other.put("a", "b");
  other.close();
  db.close();
});

test("SQLite versions that can lose commits are known", () => {
  expect(["3.51.3", "3.54.1", "3.44.6", "3.50.7", "4.0.0"].filter((version) => !isVersionSafe(version))).toEqual([]);
  expect(["3.51.2", "3.45.9", "3.44.5", "3.50.6", "3.7.0", "", "2.8.17"].filter(isVersionSafe)).toEqual([]);
});

test("a store keeps the last value of each key over a restart", () => {
  const first = SqliteStore.open(path());
  expect(first.get("a")).toBeUndefined();
  first.put("a", "1");
  first.put("a", "2");
  first.put("A", "grüße \u{1f600}");
  first.close();
  first.close();
  const second = SqliteStore.open(path());
  expect([second.get("a"), second.get("A"), second.get("b")]).toEqual(["2", "grüße \u{1f600}", undefined]);
  second.close();
});
