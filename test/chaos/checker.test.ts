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

test("a sink that promises each event at least once may get some again, one that promises more may not", () => {
  const { plan, ...run } = buildHistory(1);
  expect(
    judge({ ...run, plan: { ...plan, sinks: { once: "at least once", often: "at least once" } } }).invariants,
  ).toMatchObject({
    K2: { checked: 0, violated: 0 },
    K4: { violated: 0 },
  });
  const { status, reasons } = judge({
    ...run,
    plan: { ...plan, sinks: { once: "exactly once", often: "exactly once" } },
  });
  expect([status, reasons]).toEqual([
    "failed",
    [expect.stringMatching(/^K2, \d+ times: often, sequence \d+ is there twice$/)],
  ]);
});

test("a run from before there were sinks shows nothing of them", () => {
  const { plan, ...run } = buildHistory(1);
  const { status, reasons } = judge({ ...run, plan: { ...plan, sinks: {} }, sinks: [] });
  expect(status).toBe("invalid");
  expect(reasons).toEqual(["run.sinks", "K1", "K2", "K3", "K4", "K6"].map((name) => `${name} was never checked`));
});
