/** Names the test projects: `unit` needs nothing but Node; `int` starts real servers and processes; `drill` also containers, volumes and whole clusters. */
import { fileURLToPath } from "node:url";
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
          exclude: ["test/**/*.int.test.ts", "test/**/*.drill.test.ts"],
          testTimeout: 10_000,
          // They leave nothing behind, and to load every module anew for each file took longer than the tests themselves.
          isolate: false,
          sequence: { groupOrder: 0 },
        },
      },
      {
        test: {
          name: "int",
          include: ["test/**/*.int.test.ts"],
          // Half of what a process of ours costs to start is the stripping and compiling of its modules.
          env: { NODE_COMPILE_CACHE: fileURLToPath(new URL("node_modules/.cache/node-compile", import.meta.url)) },
          setupFiles: ["test/support/time-left.ts"],
          testTimeout: 60_000,
          hookTimeout: 60_000,
          // One file at a time and after the unit tests: a file starts several servers, and CI has two cores.
          fileParallelism: false,
          sequence: { groupOrder: 1 },
        },
      },
      {
        test: {
          name: "drill",
          include: ["test/**/*.drill.test.ts"],
          setupFiles: ["test/support/time-left.ts"],
          testTimeout: 180_000,
          hookTimeout: 180_000,
          fileParallelism: false,
          sequence: { groupOrder: 2 },
        },
      },
    ],
  },
});
