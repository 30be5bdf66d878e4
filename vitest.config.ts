/** Names the two test projects: `unit` needs nothing but Node; `int` starts real servers and processes. */
import { defineConfig } from "vitest/config";
import type { Reporter } from "vitest/node";

/** Prints why a test was skipped (`context.skip("no docker here")`): a skip without its reason reads like a pass. */
const skipReasons: Reporter = {
  onTestCaseResult(testCase) {
    const result = testCase.result();
    if (result.state !== "skipped") return;
    console.log(
      `SKIPPED ${testCase.module.relativeModuleId} > ${testCase.fullName}: ${result.note ?? "no reason given"}`,
    );
  },
};

/** Where the results are also written as JSON; absent means nowhere. Set by `.ci/run`, which counts from that file. */
const reportFile = process.env["OMNIRELAY_TEST_REPORT"];
const report: ["json", { outputFile: string }][] = reportFile ? [["json", { outputFile: reportFile }]] : [];

export default defineConfig({
  test: {
    reporters: ["default", skipReasons, ...report],
    projects: [
      {
        test: {
          name: "unit",
          include: ["test/**/*.test.ts"],
          exclude: ["test/**/*.int.test.ts"],
          testTimeout: 10_000,
          sequence: { groupOrder: 0 },
        },
      },
      {
        test: {
          name: "int",
          include: ["test/**/*.int.test.ts"],
          testTimeout: 60_000,
          hookTimeout: 60_000,
          // One file at a time and after the unit tests: a file starts several servers, and CI has two cores.
          fileParallelism: false,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});
