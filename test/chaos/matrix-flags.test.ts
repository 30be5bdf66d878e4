/** What the flags of the matrix mean, and what is refused before anything runs. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { type MatrixFlags, type MatrixRequest, readMatrixFlags } from "../../chaos/drills/matrix.ts";
import { FAULT_NAMES } from "../../chaos/faults/kinds.ts";

const SEED = { seed: "7" };

function accepted(flags: MatrixFlags): MatrixRequest {
  const request = readMatrixFlags(flags);
  if ("problems" in request) throw new Error(request.problems.join("; "));
  return request;
}

function refused(flags: MatrixFlags): string {
  const request = readMatrixFlags(flags);
  return "problems" in request ? request.problems.join("\n") : "nothing";
}

test("the short matrix has six runs of 45 s, the last of them drawn from the seed", () => {
  const { rows, seconds } = accepted(SEED);
  expect([rows.length, seconds]).toEqual([6, 45]);
  expect(rows.at(-1)?.length).toBeGreaterThan(1);
  expect(accepted(SEED)).toEqual(accepted(SEED));
  const drawn = new Set(
    [1, 2, 3, 4, 5].map((seed) =>
      accepted({ seed: String(seed) })
        .rows.at(-1)
        ?.join("+"),
    ),
  );
  expect(drawn.size).toBeGreaterThan(1);
});

test("the long matrix has every kind by itself and drawn combinations, 20 runs of 60 s for each of three seeds", () => {
  const { rows, seconds } = accepted({ ...SEED, long: true });
  expect([rows.length, seconds]).toEqual([60, 60]);
  const isOfReplicator = (kind: string): boolean => kind.endsWith("-replicator");
  for (const kind of FAULT_NAMES.filter((name) => !isOfReplicator(name)))
    expect(rows.filter((row) => row.filter((each) => !isOfReplicator(each)).join() === kind)).toHaveLength(3);
  expect(rows.filter((row) => row.length > 2).length).toBeGreaterThan(0);
});

test("the short and the long matrix strike the replicator beside others, never alone", () => {
  for (const long of [false, true]) {
    const { rows } = accepted({ ...SEED, long });
    for (const kind of ["kill-replicator", "pause-replicator"]) {
      expect(rows.some((row) => row.includes(kind))).toBe(true);
      expect(rows.some((row) => row.join() === kind)).toBe(false);
    }
  }
});

test("named faults are runs in their order, joined by + they strike together, and more runs begin again", () => {
  const { rows } = accepted({ ...SEED, faults: "kill-worker,latency+kill-nats-leader", runs: "3" });
  expect(rows).toEqual([["kill-worker"], ["latency", "kill-nats-leader"], ["kill-worker"]]);
  expect(accepted({ ...SEED, faults: "kill-worker" }).rows).toHaveLength(1);
});

test.each([
  [{ ...SEED, faults: "kill-dispatchers" }, 'no fault is called "kill-dispatchers"; there are kill-dispatcher, '],
  [{ ...SEED, faults: "" }, 'no fault is called ""'],
  [{ seed: "4294967296" }, "--seed: 4294967296 is not a whole number from 0 to 4294967295"],
  [{ seed: "x" }, "--seed: x"],
  [{ ...SEED, seconds: "4" }, "--seconds: 4"],
  [{ ...SEED, runs: "0" }, "--runs: 0"],
  [{ ...SEED, runs: "1.5" }, "--runs: 1.5"],
  [{ ...SEED, faults: "roll-nats", seconds: "20" }, "--seconds: roll-nats needs 33 s at least, not 20"],
  [{ ...SEED, plant: "no-brakes" }, 'no bug is called "no-brakes"'],
  [{ ...SEED, long: true, runs: "2" }, "--long does not go with"],
])("refuses %j: %s", (flags, words) => {
  expect(refused(flags)).toContain(words);
});

test("tells everything that is wrong at once", () => {
  expect(refused({ seed: "-1", faults: "a,b", runs: "x" }).split("\n")).toHaveLength(4);
});

test("refuses a folder that holds something already: it would be another run's evidence", ({ onTestFinished }) => {
  const folder = mkdtempSync(join(tmpdir(), "omnirelay-flags-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  expect(accepted({ ...SEED, evidence: folder }).evidence).toBe(folder);
  writeFileSync(join(folder, "operations.jsonl"), "");
  expect(refused({ ...SEED, evidence: folder })).toContain("is not an empty folder");
});
