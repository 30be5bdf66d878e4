/** One short run of the matrix: real servers, dispatchers, clients and workers, one kill, and a verdict. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { beforeEach, expect, test } from "vitest";
import { matrix, matrixText } from "../../chaos/drills/matrix.ts";
import { skipWithoutNats } from "../support/nats.ts";

/** Starting takes about ten seconds, the run six, settling and judging as long again. ms. */
const DRILL_MS = 120_000;

const MAIN = fileURLToPath(new URL("../../chaos/main.ts", import.meta.url));

beforeEach(skipWithoutNats);

test(
  "nothing acknowledged is lost when the leading dispatcher is killed, and the evidence says so",
  async ({ onTestFinished }) => {
    const evidence = mkdtempSync(join(tmpdir(), "omnirelay-matrix-test-"));
    onTestFinished(() => rmSync(evidence, { recursive: true, force: true }));
    const lines: string[] = [];
    // The seed gives one kill, of the leader.
    const request = { seed: 2, rows: [["kill-dispatcher"]], seconds: 6, evidence };
    const report = await matrix(request, (line) => lines.push(line));
    expect(report, lines.join("\n")).toMatchObject({ status: "valid", problems: [] });
    const [run] = report.runs;
    expect(run).toMatchObject({ faultsPlanned: 1, faultsApplied: 1, violations: 0 });
    expect(run?.operations).toBeGreaterThan(200);
    expect(run?.recoveries).toEqual([
      expect.objectContaining({
        kind: "kill-dispatcher",
        afterStartMs: expect.any(Number),
        afterEndMs: expect.any(Number),
      }),
    ]);
    expect(matrixText(report)).toMatch(
      /kill-dispatcher, 1 times: written again \d+ ms after it struck, \d+ ms after its end/,
    );
    const folder = join(evidence, run?.run ?? "");
    for (const name of [
      "log-n1.jsonl",
      "log-n2.jsonl",
      "log-n3.jsonl",
      "nemesis.jsonl",
      "sinks.jsonl",
      "timeline.html",
      "run.json",
    ])
      expect(existsSync(join(folder, name)), name).toBe(true);
    const verdict = JSON.parse(readFileSync(join(folder, "verdict.json"), "utf8"));
    for (const name of ["L3", "F3.search", "R1.search", "F4", "K1", "K2", "K3", "K4", "K6", "S1", "S6", "V1"])
      expect(verdict.invariants[name]?.checked, name).toBeGreaterThan(0);
  },
  DRILL_MS,
);

test(
  "a matrix that is interrupted under faults leaves neither its data nor the evidence that nobody asked for",
  async ({ onTestFinished }) => {
    const folder = mkdtempSync(join(tmpdir(), "omnirelay-matrix-test-"));
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
    const flags = ["--drill", "matrix", "--faults", "pause-dispatcher", "--seconds", "20", "--seed", "1"];
    const child = spawn(process.execPath, [MAIN, ...flags], {
      env: { ...process.env, TMPDIR: folder },
      stdio: ["ignore", "ignore", "pipe"],
    });
    onTestFinished(() => void child.kill("SIGKILL"));
    let words = "";
    const struck = new Promise<void>((resolve) => {
      child.stderr.on("data", (data: Buffer) => {
        words += String(data);
        if (words.includes(": applied")) resolve();
      });
    });
    await Promise.race([struck, once(child, "exit")]);
    expect(readdirSync(folder).length, words).toBeGreaterThan(0);
    child.kill("SIGINT");
    expect(await once(child, "exit"), words).toEqual([null, "SIGINT"]);
    expect(readdirSync(folder)).toEqual([]);
  },
  DRILL_MS,
);
