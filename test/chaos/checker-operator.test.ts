/** The checker judges what operators ask for and what it does to items: a history of the whole queue is valid, and no spoiled one is. */
import { expect, test } from "vitest";
import { judge } from "../../chaos/checker.ts";
import { buildHistory } from "./history-builder.ts";
import { editedCopy } from "./history-edits.ts";
import { ofOperators } from "./operator-mutations.ts";

const more = { hasOperator: true, hasKeys: true };
const history = buildHistory(3, 500, more);

test.each([1, 2, 4, 5])("a history of the whole queue is valid, by seed %i", (seed) => {
  expect(judge(buildHistory(seed, 300, more))).toMatchObject({ status: "valid", reasons: [] });
});

test("the history is valid before it is changed", () => {
  expect(judge(editedCopy(history))).toMatchObject({ status: "valid", reasons: [] });
});

test.each(ofOperators)("$what: caught by $caughtBy", ({ caughtBy, spoil }) => {
  const run = editedCopy(history);
  spoil(run);
  const { status, invariants } = judge(run);
  const violated = Object.keys(invariants).filter((name) => (invariants[name]?.violated ?? 0) > 0);
  expect(violated).toEqual(expect.arrayContaining([...caughtBy]));
  expect(status).toBe("failed");
});
