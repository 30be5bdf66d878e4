/** The checker finds nothing wrong with valid histories, and looks at everything in them. */
import { expect, test } from "vitest";
import { judge } from "../../chaos/checker.ts";
import { buildHistory } from "./history-builder.ts";

test.each([1, 2, 3])("the valid history of seed %i is valid, and every invariant was looked at", (seed) => {
  const { status, reasons, invariants } = judge(buildHistory(seed));
  expect({ status, reasons }).toEqual({ status: "valid", reasons: [] });
  expect(Object.entries(invariants).filter(([, { checked }]) => checked === 0)).toEqual([]);
});

test("a run in which nothing was written to the fenced resource, or nobody knows what, shows nothing of exclusion", () => {
  const run = buildHistory(1);
  const others = run.operations.filter(({ f }) => f !== "fenced_write");
  const invocations = run.operations.filter(({ f, type }) => f !== "fenced_write" || type === "invoke");
  for (const operations of [others, invocations]) {
    const { status, reasons } = judge({ ...run, operations, fenced: [] });
    expect(status).toBe("invalid");
    expect(reasons).toContain("F4 was never checked");
  }
});
