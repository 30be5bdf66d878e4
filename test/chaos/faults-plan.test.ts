/** Plans of faults: the same from the same seed, within the run, one at a time in each area. */
import { describe, expect, test } from "vitest";
import type { PlannedFault } from "../../chaos/faults/fault.ts";
import { FAULT_NAMES, faultKind, missingRight } from "../../chaos/faults/kinds.ts";
import { countByKind, movesLeader, planFaults, secondsFor, writeGapMsMax } from "../../chaos/faults/plan.ts";

const SEEDS = Array.from({ length: 50 }, (_, index) => index * 85_899_345);

test.each(FAULT_NAMES)("a run that is long enough for %s has it, within its bounds, whatever the seed", (kind) => {
  const seconds = secondsFor([kind]);
  for (const seed of SEEDS) {
    const faults = planFaults({ seed, kinds: [kind], seconds });
    expect(faults.length).toBeGreaterThan(0);
    for (const { atMs, durationMs, target } of faults) {
      const [min, max] = faultKind(kind).durationMs;
      expect(durationMs).toBeGreaterThanOrEqual(min);
      expect(durationMs).toBeLessThanOrEqual(max);
      expect(atMs).toBeGreaterThan(0);
      expect(atMs + durationMs).toBeLessThanOrEqual(seconds * 1_000);
      expect(faultKind(kind).targets).toContain(target);
    }
  }
});

describe("a plan", () => {
  const kinds = ["kill-dispatcher", "pause-dispatcher", "one-way-loss", "kill-nats-leader", "kill-worker"];
  const request = { seed: 7, kinds, seconds: 60 };

  test("is the same again from the same seed, and another from another", () => {
    expect(planFaults(request)).toEqual(planFaults(request));
    expect(planFaults({ ...request, seed: 8 })).not.toEqual(planFaults(request));
  });

  test("has every kind that was asked for, in the order of time", () => {
    for (const seed of SEEDS) {
      const faults = planFaults({ ...request, seed });
      expect(Object.keys(countByKind(faults)).sort()).toEqual([...kinds].sort());
      expect(faults.map(({ atMs }) => atMs)).toEqual(faults.map(({ atMs }) => atMs).sort((a, b) => a - b));
    }
  });

  test("never has two faults of one area at once", () => {
    for (const seed of SEEDS) {
      const byArea = Map.groupBy(planFaults({ ...request, seed }), ({ kind }) => faultKind(kind).area);
      for (const faults of byArea.values())
        for (const [index, fault] of faults.slice(1).entries()) {
          const before = faults[index] as PlannedFault;
          expect(fault.atMs).toBeGreaterThan(before.atMs + before.durationMs);
        }
    }
  });

  test("draws the parameters of a fault within their bounds", () => {
    for (const seed of SEEDS)
      for (const { params } of planFaults({ seed, kinds: ["latency", "one-way-loss"], seconds: 60 })) {
        if ("direction" in params) expect(["up", "down"]).toContain(params["direction"]);
        else expect(params["latencyMs"]).toBeGreaterThanOrEqual(20);
      }
  });

  test("is empty when the run is too short", () => {
    expect(planFaults({ seed: 1, kinds: ["roll-nats"], seconds: 20 })).toEqual([]);
  });
});

test("leadership must move when the leader is struck, not when only a standby or a worker is", () => {
  const fault = { atMs: 0, durationMs: 1, params: {} };
  expect(movesLeader([{ ...fault, kind: "kill-dispatcher", target: "leader" }])).toBe(true);
  expect(movesLeader([{ ...fault, kind: "kill-dispatcher", target: "standby" }])).toBe(false);
  expect(movesLeader([{ ...fault, kind: "pause-worker", target: "w1" }])).toBe(false);
});

describe("the write gap that a plan explains", () => {
  const planned = (kind: string, target: string): PlannedFault => ({
    ...{ kind, target, atMs: 0, durationMs: 2_500, params: {} },
  });
  const calmMs = writeGapMsMax([]);

  test("is that of the worst fault where they come one after the other", () => {
    const [kill, pause] = [planned("kill-dispatcher", "leader"), planned("pause-dispatcher", "leader")];
    const { writeGapMs } = faultKind("pause-dispatcher");
    expect(writeGapMsMax([kill, pause, kill])).toBe(calmMs + writeGapMs);
  });

  test("adds up where they may strike together", () => {
    const kinds = ["kill-nats-leader", "pause-dispatcher", "pause-worker"] as const;
    const sum = kinds.reduce((total, kind) => total + faultKind(kind).writeGapMs, calmMs);
    expect(writeGapMsMax(kinds.map((kind) => planned(kind, "leader")))).toBe(sum);
  });

  test("is as long as the fault, and more, where nobody is left to write", () => {
    const moreMs = faultKind("kill-dispatcher").stopsWrites?.["all"] ?? 0;
    expect(moreMs).toBeGreaterThan(0);
    expect(writeGapMsMax([planned("kill-dispatcher", "all")])).toBe(calmMs + 2_500 + moreMs);
  });

  test("is that of a calm run where only the replicator is struck: nobody waits for it", () => {
    expect(writeGapMsMax([planned("kill-replicator", "r1"), planned("pause-replicator", "r1")])).toBe(calmMs);
  });

  const striking = FAULT_NAMES.filter((kind) => faultKind(kind).area !== "replicator");
  test.each(striking)("of %s alone is longer than that of a calm run and below 20 s", (kind) => {
    const { targets, durationMs } = faultKind(kind);
    for (const target of targets) {
      const fault = { ...planned(kind, target), durationMs: durationMs[1] };
      expect(writeGapMsMax([fault])).toBeGreaterThan(calmMs);
      expect(writeGapMsMax([fault])).toBeLessThan(20_000);
    }
  });
});

test("a machine that cannot apply a fault says why", () => {
  expect(missingRight("kill-dispatcher", "win32")).toContain("Windows");
  expect(missingRight("kill-dispatcher", "linux")).toBeUndefined();
});
