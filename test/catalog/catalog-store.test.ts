/** What commits and demo mutations add up to, and what the catalog refuses. No mesh: tokens are made up. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import {
  applyDeltaCommit,
  applyLakehouseMutation,
  bindCatalog,
  catalogIdOf,
  catalogView,
  checkCatalogLog,
  getTable,
  listTables,
  openCatalog,
  readDeltaFolder,
  type TableView,
} from "../../services/catalog/mod.ts";
import { addLine, removeLine, temporaryFolder } from "./delta-folder.ts";

const FIXTURES = join(import.meta.dirname, "fixtures");
/** The golden tables of delta-io/delta, where this checkout has them beside it. */
const GOLDEN = join(import.meta.dirname, "../../../shared/data/delta-logs");

type Expected = Readonly<Record<string, Omit<TableView, "table" | "kind" | "snapshots">>>;

function memoryCatalog() {
  const store = openCatalog(":memory:");
  onTestFinished(() => store.close());
  let token = 0;
  const write = (fenceKey: string) => {
    token += 1;
    return { fenceKey, token, effectId: `effect ${token}` };
  };
  const commit = (table: string, version: number, ...lines: readonly string[]) =>
    applyDeltaCommit(store, write(table), table, version, lines.join(""));
  return { store, write, commit, view: (table: string) => getTable(store.database, table) };
}

function folded(folder: string): { catalog: Expected; commitCount: number } {
  const { store, commit } = memoryCatalog();
  const { tables, failures } = readDeltaFolder(folder);
  expect(failures).toEqual([]);
  for (const { table, commits } of tables)
    for (const { version, text } of commits) expect(commit(table, version, text)).toBe("applied");
  const views = [...catalogView(store.database)].map(
    ([name, { table: _table, kind: _kind, snapshots: _snapshots, ...figures }]) => [name, figures],
  );
  return {
    catalog: Object.fromEntries(views),
    commitCount: tables.reduce((count, { commits }) => count + commits.length, 0),
  };
}

const readExpected = (file: string): Expected => JSON.parse(readFileSync(file, "utf8"));

test("the commits of our own tables add up to what was worked out by hand", () => {
  expect(folded(join(FIXTURES, "delta"))).toEqual({
    catalog: readExpected(join(FIXTURES, "expected.json")),
    commitCount: 8,
  });
});

test("the 291 commits of the 107 golden tables add up to what an independent program found", (context) => {
  if (!existsSync(GOLDEN)) return context.skip(`the golden tables are not at ${GOLDEN}`);
  const { catalog, commitCount } = folded(GOLDEN);
  expect(commitCount).toBe(291);
  expect(Object.keys(catalog)).toHaveLength(107);
  expect(catalog).toEqual(readExpected(join(GOLDEN, "expected.json")));
});

describe("a file is named by its path and its deletion vector", () => {
  const withVector = (action: "add" | "remove", vector: object | null, size = 1) =>
    `${JSON.stringify({ [action]: { path: "a", size, deletionVector: vector } })}\n`;
  const vector = { storageType: "u", pathOrInlineDv: "x", offset: 1 };

  test.each([
    ["another type", { ...vector, storageType: "i" }],
    ["another place", { ...vector, pathOrInlineDv: "y" }],
    ["another offset", { ...vector, offset: 2 }],
    ["no offset", { storageType: "u", pathOrInlineDv: "x" }],
    ["none", null],
  ])("a remove with %s takes nothing away", (_what, other) => {
    const { commit, view } = memoryCatalog();
    commit("t", 0, withVector("add", vector), withVector("remove", other));
    expect(view("t")?.activeFiles).toBe(1);
  });

  test("a remove with the same one does", () => {
    const { commit, view } = memoryCatalog();
    commit("t", 0, withVector("add", vector), withVector("remove", vector));
    expect(view("t")).toMatchObject({ activeFiles: 0, activeBytes: 0 });
  });

  test("a path that looks like a key with a vector is another file", () => {
    const { commit, view } = memoryCatalog();
    commit("t", 0, withVector("add", vector), addLine('a","u","x",1', 5), addLine('["a","u","x",1]', 7));
    expect(view("t")).toMatchObject({ activeFiles: 3, activeBytes: 13 });
  });
});

test("actions count in file order: the last one of a file wins", () => {
  const { commit, view } = memoryCatalog();
  commit("t", 0, addLine("a", 5), addLine("a", 7), removeLine("b"), addLine("b", 1), addLine("c", 2), removeLine("c"));
  expect(view("t")).toMatchObject({ activeFiles: 2, activeBytes: 8 });
});

test("figures are kept up: they equal the rows that are left", () => {
  const { store, commit, view } = memoryCatalog();
  for (let version = 0; version < 30; version += 1)
    commit(
      "t",
      version,
      addLine(`f${version % 7}`, version),
      removeLine(`f${(version * 3) % 11}`),
      addLine(`g${version % 4}`, 1),
    );
  const rows = store.database
    .prepare("SELECT count(*) AS files, sum(size) AS bytes FROM delta_file WHERE table_name = 't'")
    .get();
  expect(rows).toEqual({ files: view("t")?.activeFiles, bytes: view("t")?.activeBytes });
});

test("a commit out of order is refused, and nothing of it stays", () => {
  const { store, commit, view } = memoryCatalog();
  const before = () => [view("t"), store.effectCount];
  expect(() => commit("t", 1, addLine("a", 1))).toThrow(/is to get version 1, but its next one is 0/);
  commit("t", 0, addLine("a", 1));
  const known = before();
  for (const version of [0, 2, 3]) expect(() => commit("t", version, addLine("b", 1))).toThrow(/but its next one is 1/);
  expect(() => commit("t", 1, addLine("b", 1), "{")).toThrow(/line 2: the line is not valid JSON/);
  expect(before()).toEqual(known);
});

test("a commit whose effect is known is not applied again, whatever its token", () => {
  const { store, view } = memoryCatalog();
  const write = { fenceKey: "t", token: 7, effectId: "t@0" };
  expect(applyDeltaCommit(store, write, "t", 0, addLine("a", 1))).toBe("applied");
  expect(applyDeltaCommit(store, { ...write, token: 9 }, "t", 0, addLine("a", 1))).toBe("duplicate");
  expect(view("t")).toMatchObject({ version: 0, activeFiles: 1 });
});

test("a lower token is refused: its lease has ended", () => {
  const { store, view } = memoryCatalog();
  applyDeltaCommit(store, { fenceKey: "t", token: 9, effectId: "t@0" }, "t", 0, addLine("a", 1));
  const late = { fenceKey: "t", token: 8, effectId: "t@1" };
  expect(() => applyDeltaCommit(store, late, "t", 1, addLine("b", 1))).toThrow(
    expect.objectContaining({ code: "stale_token", definite: true }),
  );
  expect(view("t")?.version).toBe(0);
});

test("a catalog belongs to the log that it was written from", () => {
  const file = join(temporaryFolder(), "catalog.sqlite");
  const first = openCatalog(file);
  bindCatalog(first, "log1");
  first.close();
  const again = openCatalog(file);
  onTestFinished(() => again.close());
  expect(() => bindCatalog(again, "log1")).not.toThrow();
  expect(() => bindCatalog(again, "log2")).toThrow(/was written from log log1, not from log2.*--data-dir/);
});

test("a catalog has one id for ever, and a look at its log binds nothing", () => {
  const file = join(temporaryFolder(), "catalog.sqlite");
  const first = openCatalog(file);
  const id = catalogIdOf(first);
  checkCatalogLog(first, "log1");
  first.close();
  const again = openCatalog(file);
  onTestFinished(() => again.close());
  expect(id).not.toBe("");
  expect(catalogIdOf(again)).toBe(id);
  bindCatalog(again, "log2");
  expect(() => checkCatalogLog(again, "log1")).toThrow(expect.objectContaining({ code: "catalog_log_differs" }));
});

test("a commit whose sizes cannot be added up exactly is refused, and nothing of it stays", () => {
  const { commit, view } = memoryCatalog();
  commit("t", 0, addLine("a", Number.MAX_SAFE_INTEGER));
  expect(() => commit("t", 1, addLine("b", 1))).toThrow(
    expect.objectContaining({ code: "delta_log_invalid", message: expect.stringMatching(/"t": version 1: the sizes/) }),
  );
  expect(view("t")).toMatchObject({ version: 0, activeFiles: 1, activeBytes: Number.MAX_SAFE_INTEGER });
  expect(commit("t", 1, removeLine("a"), addLine("b", 1))).toBe("applied");
});

test("the mutations of the demo make, change and vacuum a table", () => {
  const { store, write, view } = memoryCatalog();
  const apply = (mutation: Parameters<typeof applyLakehouseMutation>[2]) =>
    applyLakehouseMutation(store, write(mutation.table), mutation);
  apply({ kind: "CreateTable", table: "sales.orders", columns: ["id", "day"], partitionColumns: ["day"] });
  apply({ kind: "AlterSchema", table: "sales.orders", add: ["price", "id"], drop: ["day"] });
  for (const files of [1, 2, 3]) apply({ kind: "CommitSnapshot", table: "sales.orders", files, bytes: files * 10 });
  expect(view("sales.orders")).toMatchObject({ snapshots: 3 });
  apply({ kind: "Vacuum", table: "sales.orders", keep: 2 });
  expect(view("sales.orders")).toEqual({
    table: "sales.orders",
    kind: "lakehouse",
    version: 6,
    activeFiles: 6,
    activeBytes: 60,
    columns: ["id", "price"],
    partitionColumns: ["day"],
    minReaderVersion: null,
    snapshots: 2,
  });
});

test("a Delta table and a table of the demo never mix", () => {
  const { store, write, commit } = memoryCatalog();
  commit("delta", 0, addLine("a", 1));
  expect(() => applyLakehouseMutation(store, write("delta"), { kind: "Vacuum", table: "delta", keep: 1 })).toThrow(
    /is a Delta table/,
  );
  applyLakehouseMutation(store, write("demo"), { kind: "CommitSnapshot", table: "demo", files: 1, bytes: 1 });
  expect(() => commit("demo", 1, addLine("a", 1))).toThrow(/its next one is/);
  expect([...catalogView(store.database).keys()]).toEqual(["delta"]);
});

test("tables come in pages, in order of name, hostile names and all", () => {
  const { store, commit } = memoryCatalog();
  const names = ["__proto__", "a'; DROP TABLE catalog_table; --", "b", "ä", "constructor"];
  for (const name of names) commit(name, 0, addLine("a", 1));
  const seen: string[] = [];
  let cursor: string | undefined;
  do {
    const page = listTables(store.database, { limit: 2, cursor });
    expect(page.tables.length).toBeLessThanOrEqual(2);
    seen.push(...page.tables.map((table) => table.table));
    cursor = page.cursor;
  } while (cursor !== undefined);
  expect(seen).toEqual([...names].sort());
});
