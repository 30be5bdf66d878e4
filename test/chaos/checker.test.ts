/** The checker finds nothing wrong with valid histories, and looks at everything in them. */
import { expect, test } from "vitest";
import { judge } from "../../chaos/checker.ts";
import { buildHistory } from "./history-builder.ts";

test.each([1, 2, 3])("the valid history of seed %i is valid, and every invariant was looked at", (seed) => {
  const { status, reasons, invariants } = judge(buildHistory(seed));
  expect({ status, reasons }).toEqual({ status: "valid", reasons: [] });
  expect(Object.entries(invariants).filter(([, { checked }]) => checked === 0)).toEqual([]);
});
