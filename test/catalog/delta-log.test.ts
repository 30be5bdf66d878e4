/** What is read from Delta folders, and how broken ones are told: by table, file and line, the others done all the same. */
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { ITEM_BYTES_MAX } from "../../contracts/limits.ts";
import { commitRequestId, readDeltaFolder, versionOfRequestId } from "../../services/catalog/delta-log.ts";
import { addLine, commitFile, deltaFolder, removeLine, writeCommit } from "./delta-folder.ts";

const GOOD = addLine("a", 1);

test("reads every folder with a log, named by its path, commits in version order", () => {
  const folder = deltaFolder({
    b: Array.from({ length: 12 }, (_, version) => addLine(`f${version}`, version)),
    "deep/er/a": [GOOD],
  });
  const { tables, failures } = readDeltaFolder(folder);
  expect(failures).toEqual([]);
  expect(tables.map((table) => table.table)).toEqual(["b", "deep/er/a"]);
  expect(tables[0]?.commits.map((commit) => commit.version)).toEqual(
    Array.from({ length: 12 }, (_, version) => version),
  );
  expect(tables[0]?.commits[11]?.text).toBe(addLine("f11", 11));
});

test("reads a folder that is a table itself under its own name", () => {
  const folder = deltaFolder({ orders: [GOOD] });
  expect(readDeltaFolder(join(folder, "orders")).tables.map((table) => table.table)).toEqual(["orders"]);
});

test("passes over checkpoints, checksums and folders beside the commits", () => {
  const folder = deltaFolder({ orders: [GOOD] });
  for (const name of [
    "00000000000000000000.checkpoint.parquet",
    "_last_checkpoint",
    "00000000000000000000.crc",
    "_staged/x.json",
  ])
    writeCommit(folder, "orders", name, "not a commit");
  const { tables, failures } = readDeltaFolder(folder);
  expect([tables.length, tables[0]?.commits.length, failures]).toEqual([1, 1, []]);
});

test("does not walk in circles through linked folders", () => {
  const folder = deltaFolder({ orders: [GOOD] });
  symlinkSync(folder, join(folder, "circle"));
  expect(readDeltaFolder(folder).tables).toHaveLength(1);
});

test("says why a folder cannot be read at all", () => {
  expect(() => readDeltaFolder("/no/such/folder")).toThrow(/cannot read the folder \/no\/such\/folder: ENOENT/);
});

describe("a broken table is named, and the tables beside it are read", () => {
  const MANY = JSON.stringify({ add: { path: "x".repeat(ITEM_BYTES_MAX), size: 1 } });
  const QUOTES = `${JSON.stringify({ commitInfo: { note: '"'.repeat(ITEM_BYTES_MAX / 2 - 100) } })}\n`;
  const cases: [string, readonly (string | Uint8Array)[], RegExp][] = [
    [
      "cut in a line",
      [GOOD, GOOD.slice(0, -5)],
      /bad.*00000000000000000001\.json, line 1: the line is not valid JSON, perhaps truncated/,
    ],
    ["cut in the last line", [`${GOOD}${GOOD}{"add":{"pa`], /line 3: the line is not valid JSON/],
    ["empty", [GOOD, ""], /0001\.json: the commit is empty, perhaps truncated/],
    ["an empty line", [`${GOOD}\n${GOOD}`], /line 2: the line is empty/],
    ["no JSON", ["hello\n"], /line 1: the line is not valid JSON/],
    ["a list", ["[]\n"], /line 1: the line is not a JSON object with an action/],
    ["null", ["null\n"], /line 1: the line is not a JSON object/],
    ["text", ['"add"\n'], /line 1: the line is not a JSON object/],
    ["no action", ["{}\n"], /line 1: the line has no action/],
    ["an add without a size", ['{"add":{"path":"a"}}\n'], /line 1: the action is not valid: add\.size/],
    ["a negative size", [addLine("a", -1)], /line 1: the action is not valid: add\.size/],
    ["a size beyond exact numbers", ['{"add":{"path":"a","size":9007199254740993}}\n'], /add\.size/],
    ["a remove without a path", ['{"remove":{}}\n'], /remove\.path/],
    [
      "a deletion vector without a type",
      ['{"remove":{"path":"a","deletionVector":{"offset":1}}}\n'],
      /deletionVector\.storageType/,
    ],
    [
      "a schema that is no JSON",
      [`${JSON.stringify({ metaData: { schemaString: "{" } })}\n`],
      /line 1: schemaString is not valid JSON/,
    ],
    [
      "a schema without fields",
      [`${JSON.stringify({ metaData: { schemaString: "{}" } })}\n`],
      /line 1: schemaString has no list of fields/,
    ],
    ["not UTF-8", [Uint8Array.of(0x22, 0xff, 0x22)], /the file is not UTF-8/],
    ["a byte order mark", [`\u{feff}${GOOD}`], /line 1: the line is not valid JSON/],
    ["too large", [MANY], /the commit has \d+ bytes, more than the 524288 of an item body/],
    ["too large once encoded", [QUOTES], /the commit has \d+ bytes, more than the 524288 of an item body/],
  ];
  test.each(cases)("%s", (_what, commits, message) => {
    const folder = deltaFolder({ apple: [GOOD], zebra: [GOOD] });
    for (const [version, text] of commits.entries()) writeCommit(folder, "bad", commitFile(version), text);
    const { tables, failures } = readDeltaFolder(folder);
    expect(tables.map((table) => table.table)).toEqual(["apple", "zebra"]);
    expect(failures).toHaveLength(1);
    expect(failures[0]).toMatchObject({ code: "delta_log_invalid", definite: true, table: "bad" });
    expect(failures[0]?.message).toMatch(message);
  });

  test("a hole in the versions", () => {
    const folder = deltaFolder({ bad: [GOOD, GOOD] });
    writeCommit(folder, "bad", commitFile(3), GOOD);
    expect(readDeltaFolder(folder).failures[0]?.message).toMatch(/version 2 is missing: the log goes on with 3/);
  });

  test("a log that begins late, with and without a checkpoint", () => {
    const folder = deltaFolder({});
    writeCommit(folder, "late", commitFile(7), GOOD);
    writeCommit(folder, "later", commitFile(7), GOOD);
    writeCommit(folder, "later", "00000000000000000006.checkpoint.parquet", "PAR1");
    expect(readDeltaFolder(folder).failures.map((failure) => failure.message)).toEqual([
      expect.stringContaining("does not begin at version 0: there is no checkpoint either"),
      expect.stringContaining("does not begin at version 0: the older ones stand in a checkpoint"),
    ]);
  });

  test("a log without a commit", () => {
    const folder = deltaFolder({});
    mkdirSync(join(folder, "bad/_delta_log"), { recursive: true });
    expect(readDeltaFolder(folder).failures[0]?.message).toMatch(/the log has no commit/);
  });

  test("a commit and a log that cannot be read", () => {
    const folder = deltaFolder({ good: [GOOD] });
    mkdirSync(join(folder, "bad/_delta_log", commitFile(0)), { recursive: true });
    mkdirSync(join(folder, "worse"));
    writeFileSync(join(folder, "worse/_delta_log"), "");
    const { tables, failures } = readDeltaFolder(folder);
    expect(tables).toHaveLength(1);
    expect(failures.map((failure) => failure.message).sort()).toEqual([
      expect.stringMatching(/"bad".*cannot read the file: it is not a file/),
      expect.stringMatching(/"worse".*_delta_log: the log is not a folder/),
    ]);
  });

  test("a linked log and a linked commit, wherever they lead", () => {
    const folder = deltaFolder({ good: [GOOD], half: [GOOD] });
    const outside = deltaFolder({ secret: [GOOD] });
    mkdirSync(join(folder, "linked"));
    symlinkSync(join(outside, "secret/_delta_log"), join(folder, "linked/_delta_log"));
    symlinkSync(join(outside, "secret/_delta_log", commitFile(0)), join(folder, "half/_delta_log", commitFile(1)));
    const { tables, failures } = readDeltaFolder(folder);
    expect(tables.map((table) => table.table)).toEqual(["good"]);
    expect(failures.map((failure) => failure.message).sort()).toEqual([
      expect.stringMatching(/"half".*0001\.json: it is a link, and links are not followed/),
      expect.stringMatching(/"linked".*_delta_log: it is a link, and links are not followed/),
    ]);
  });

  test("sizes that add up to more than an exact number, with the version", () => {
    const half = Number.MAX_SAFE_INTEGER - 5;
    const folder = deltaFolder({
      bad: [addLine("a", half), addLine("b", 5), addLine("c", 1)],
      good: [addLine("a", half), removeLine("a") + addLine("b", half), addLine("b", Number.MAX_SAFE_INTEGER)],
    });
    const { tables, failures } = readDeltaFolder(folder);
    expect(tables.map((table) => table.table)).toEqual(["good"]);
    expect(failures).toHaveLength(1);
    expect(failures[0]).toMatchObject({ code: "delta_log_invalid", table: "bad" });
    expect(failures[0]?.message).toMatch(/0002\.json: version 2: the sizes .* add up to more than 9007199254740991/);
  });

  test("a name longer than a resource id", () => {
    const folder = deltaFolder({ [`${"ä".repeat(120)}/${"ä".repeat(120)}/${"ä".repeat(120)}`]: [GOOD] });
    expect(readDeltaFolder(folder).failures[0]?.message).toMatch(/longer than 512 bytes/);
  });
});

test("a request id names table and version, and fits its limit", () => {
  expect(commitRequestId("orders", 12)).toBe("orders@12");
  const long = commitRequestId("t".repeat(300), 12);
  expect(long).toMatch(/^sha256:[0-9a-f]{64}@12$/);
  expect([versionOfRequestId("a@b@12"), versionOfRequestId(long)]).toEqual([12, 12]);
  for (const other of ["orders", "orders@", "orders@-1", "orders@01", "orders@1.5", "@x"])
    expect(versionOfRequestId(other)).toBeUndefined();
});
