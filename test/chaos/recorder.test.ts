/** What the recorder leaves can be judged, whatever happened to the process that recorded. */
import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { readRunFolder } from "../../chaos/checker/run-folder.ts";
import { checkRun, judge } from "../../chaos/checker.ts";
import { RUN_FILES, typeOfReply } from "../../chaos/operations.ts";
import { LineFile, Recorder } from "../../chaos/recorder.ts";
import { errorBody } from "../../contracts/errors.ts";
import { buildHistory } from "./history-builder.ts";

const CALL = { caller: "w1", principal: "worker", f: "lease", args: { maxItems: 1 } } as const;

function runFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "omnirelay-run-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

function recorderIn(folder: string): Recorder {
  let nowNs = 100n;
  return new Recorder(join(folder, "operations.jsonl"), "run", () => {
    nowNs += 1n;
    return nowNs;
  });
}

const linesOf = (folder: string): Record<string, unknown>[] =>
  readFileSync(join(folder, "operations.jsonl"), "utf8")
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, unknown>);

test("an operation is on file before it is sent, and again with its end", () => {
  const folder = runFolder();
  const recorder = recorderIn(folder);
  const operation = recorder.invoke(CALL);
  const invoked = { ...CALL, run: "run", process: "w1.0", id: "w1-1", invokedNs: "101", caller: undefined };
  expect(linesOf(folder)).toEqual([expect.objectContaining({ process: "w1.0", type: "invoke", invokedNs: "101" })]);
  recorder.ok(operation, { leases: [] });
  const { caller: _caller, ...record } = invoked;
  expect(linesOf(folder)[1]).toEqual({ ...record, returnedNs: "102", type: "ok", result: { leases: [] } });
});

test("a process id is retired by an unknown outcome, and by nothing else", () => {
  const folder = runFolder();
  const recorder = recorderIn(folder);
  recorder.ok(recorder.invoke(CALL), {});
  recorder.fail(recorder.invoke(CALL), errorBody("conflict", ""));
  recorder.info(recorder.invoke(CALL));
  recorder.ok(recorder.invoke({ ...CALL, caller: "w2" }), {});
  recorder.ok(recorder.invoke(CALL), {});
  const ends = linesOf(folder).filter(({ type }) => type !== "invoke");
  expect(ends.map(({ process }) => process)).toEqual(["w1.0", "w1.0", "w1.0", "w2.0", "w1.1"]);
  expect(new Set(ends.map(({ id }) => id)).size).toBe(5);
});

test("what is under way at the end is of unknown outcome", () => {
  const folder = runFolder();
  const recorder = recorderIn(folder);
  recorder.invoke(CALL);
  recorder.close();
  expect(linesOf(folder).at(-1)).toMatchObject({ id: "w1-1", type: "info" });
});

test("a caller has one operation at a time, and an operation one end", () => {
  const recorder = recorderIn(runFolder());
  const operation = recorder.invoke(CALL);
  expect(() => recorder.invoke(CALL)).toThrow("w1 has an operation under way");
  recorder.info(operation);
  expect(() => recorder.ok(operation, {})).toThrow("operation w1-1 is not under way");
});

test("an answer is ok, a certain refusal a failure, and anything else unknown", () => {
  expect(typeOfReply({})).toBe("ok");
  expect(typeOfReply({ error: errorBody("stale_token", "") })).toBe("fail");
  expect(typeOfReply({ error: errorBody("not_leader", "") })).toBe("info");
  expect(typeOfReply({ error: { ...errorBody("conflict", ""), definite: false } })).toBe("info");
});

function writeRun(folder: string): void {
  const { plan, operations, faults, logs, states, fenced, sinks } = buildHistory(1, 60);
  const writeLines = (name: string, records: readonly object[]): void => {
    const file = new LineFile(join(folder, name));
    for (const record of records) file.write(record);
    file.close();
  };
  writeFileSync(join(folder, RUN_FILES.plan), JSON.stringify({ ...plan, faults: {}, leaderChangesMin: 1 }));
  writeFileSync(join(folder, RUN_FILES.states), JSON.stringify(states));
  const half = operations.length >> 1;
  writeLines("operations-a.jsonl", operations.slice(0, half));
  writeLines("operations-b.jsonl", operations.slice(half));
  writeLines(RUN_FILES.nemesis, faults);
  writeLines(RUN_FILES.fenced, fenced);
  writeLines(RUN_FILES.sinks, sinks);
  for (const [replica, records] of Object.entries(logs)) writeLines(`${RUN_FILES.log}${replica}.jsonl`, records);
}

test("a run is judged from its folder as in memory, and the verdict lies beside it", async () => {
  const folder = runFolder();
  writeRun(folder);
  const verdict = await checkRun(folder);
  expect(verdict).toMatchObject({ status: "valid", reasons: [] });
  expect(JSON.parse(readFileSync(join(folder, RUN_FILES.verdict), "utf8"))).toEqual(verdict);
});

test("a line that was cut off by the death of its writer is no defect, any other unreadable line makes the run invalid", () => {
  const folder = runFolder();
  writeRun(folder);
  appendFileSync(join(folder, "operations-b.jsonl"), '{"run":"made-up","proc');
  expect(judge(readRunFolder(folder))).toMatchObject({ status: "valid" });
  appendFileSync(join(folder, "operations-b.jsonl"), "\n");
  const { status, reasons } = judge(readRunFolder(folder));
  expect({ status, reasons }).toEqual({
    status: "invalid",
    reasons: [expect.stringContaining("run.records, 1 times")],
  });
});

test("a folder without dumps of the log is invalid, not failed: it shows nothing", () => {
  const folder = runFolder();
  writeRun(folder);
  for (const replica of ["n1", "n2", "n3"]) rmSync(join(folder, `${RUN_FILES.log}${replica}.jsonl`));
  const { status, reasons } = judge(readRunFolder(folder));
  expect(status).toBe("invalid");
  expect(reasons).toEqual(expect.arrayContaining([expect.stringContaining("run.wholeLog"), "L1 was never checked"]));
});
