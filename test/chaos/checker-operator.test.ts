/** The checker judges what operators ask for and what it does to items: a history of the whole queue is valid, and no spoiled one is. */
import { expect, test } from "vitest";
import { judge } from "../../chaos/checker.ts";
import { buildHistory } from "./history-builder.ts";

test.each([1, 2, 3, 4, 5])("a history of the whole queue is valid, by seed %i", (seed) => {
  expect(judge(buildHistory(seed, 300, { hasOperator: true, hasKeys: true }))).toMatchObject({ status: "valid", reasons: [] });
});
