/** Figures and page of a recorded run. */
import { expect, test } from "vitest";
import type { FaultRecord, OperationRecord } from "../../chaos/operations.ts";
import { runFigures, timedFaults } from "../../chaos/run-figures.ts";
import { renderTimeline } from "../../chaos/timeline.ts";

const START_NS = 5_000_000_000n;
const at = (ms: number): string => String(START_NS + BigInt(ms) * 1_000_000n);

/** The lines of one operation: what was sent, and its end unless there is none. */
function operation(
  id: string,
  f: OperationRecord["f"],
  type: OperationRecord["type"],
  fromMs: number,
  toMs = fromMs,
): OperationRecord[] {
  const common = { run: "r", process: id, principal: "p", id, f, args: {}, invokedNs: at(fromMs) };
  const invoke = { ...common, type: "invoke" } as const;
  if (type === "invoke") return [invoke];
  return [invoke, { ...common, type, ...(type === "info" ? {} : { returnedNs: at(toMs) }) }];
}

const records = [
  ...operation("a", "enqueue", "ok", 0, 10),
  ...operation("b", "lease", "ok", 100, 130),
  ...operation("c", "complete", "fail", 200, 205),
  ...operation("d", "enqueue", "info", 300),
  ...operation("e", "enqueue", "invoke", 400),
  ...operation("f", "stats", "ok", 1_000, 1_500),
  ...operation("g", "complete", "ok", 2_000, 2_630),
];

test("an operation counts once, and one that was only begun is of unknown outcome", () => {
  expect(runFigures(records)).toMatchObject({ operations: 7, ok: 4, fail: 1, ambiguous: 2, okMutations: 3 });
});

test("the longest gap is between acknowledged mutations: reads and refusals do not end it", () => {
  const { longestGapMs, gaps } = runFigures(records);
  expect(longestGapMs).toBe(2_500);
  expect(gaps).toEqual([{ fromMs: 130, toMs: 2_630 }]);
});

test("seconds count what ended in them, with median and worst of what was answered well", () => {
  const { seconds, durationMs } = runFigures(records);
  expect(durationMs).toBe(2_630);
  expect(seconds).toEqual([
    { ok: 2, fail: 1, info: 2, medianMs: 30, worstMs: 30 },
    { ok: 1, fail: 0, info: 0, medianMs: 500, worstMs: 500 },
    { ok: 1, fail: 0, info: 0, medianMs: 630, worstMs: 630 },
  ]);
});

test("the page needs nothing from outside, shows each fault, and takes evidence for text", () => {
  const figures = runFigures(records);
  const fault: FaultRecord = {
    ...{ kind: "kill-dispatcher", target: "d1", startedNs: at(500), endedNs: at(900), params: { role: "leader" } },
    ...{ applied: true, evidence: { said: "<script>alert(1)</script>" } },
  };
  expect(timedFaults([fault], START_NS)).toMatchObject([{ fromMs: 500, toMs: 900 }]);
  const leaders = [{ term: 2, leader: "d2", atNs: START_NS + 600_000_000n }];
  const page = renderTimeline({ name: "r", seed: 1, status: "valid", reasons: [], figures, faults: [fault], leaders });
  expect(page).toContain("kill-dispatcher of d1, 400 ms");
  expect(page).toContain("d2 leads, term 2");
  expect(page).toContain("prefers-color-scheme: dark");
  expect(page).not.toMatch(/<script|<link|src=|https?:/);
});

test("a run in which nothing happened has figures and a page", () => {
  const figures = runFigures([]);
  expect(figures).toMatchObject({ operations: 0, longestGapMs: 0, durationMs: 0 });
  const page = renderTimeline({
    ...{ name: "r", seed: 1, status: "invalid", reasons: ["a & b"] },
    ...{ figures, faults: [], leaders: [] },
  });
  expect(page).toContain("a &amp; b");
});
