/** Checks the synthetic story: the same for the same seed, legal in itself, and spread over its space. */
import { expect, test } from "vitest";
import { LakehouseMutation } from "../../services/catalog/mod.ts";
import { mutations, shardOfTable } from "../../services/seeder/mutations.ts";

const SPACE = { seed: "demo", catalogs: 2, tables: 10 };

function first(count: number, space = SPACE) {
  const story = mutations(space);
  return Array.from({ length: count }, () => story.next().value);
}

test("the same seed tells the same story, another seed another one", () => {
  expect(first(500)).toEqual(first(500));
  expect(first(500, { ...SPACE, seed: "other" })).not.toEqual(first(500));
});

test("every mutation is one that workers accept, and a table is made before anything else happens to it", () => {
  const made = new Set<string>();
  for (const mutation of first(2_000)) {
    expect(LakehouseMutation.safeParse(mutation).success).toBe(true);
    expect(mutation.kind === "CreateTable").toBe(!made.has(mutation.table));
    made.add(mutation.table);
  }
  expect(made.size).toBe(20);
});

test("all kinds happen, snapshots most", () => {
  const counts = new Map<string, number>();
  for (const { kind } of first(2_000)) counts.set(kind, (counts.get(kind) ?? 0) + 1);
  expect([...counts.keys()].sort()).toEqual(["AlterSchema", "CommitSnapshot", "CreateTable", "Vacuum"]);
  expect(counts.get("CommitSnapshot")).toBeGreaterThan(1_000);
});

test("a table stays in its shard, and tables spread over the shards", () => {
  const shards = ["a", "b", "c"];
  const tables = [...new Set(first(2_000).map(({ table }) => table))];
  expect(new Set(tables.map((table) => shardOfTable(table, shards)))).toEqual(new Set(shards));
  for (const table of tables) expect(shardOfTable(table, shards)).toBe(shardOfTable(table, shards));
});
