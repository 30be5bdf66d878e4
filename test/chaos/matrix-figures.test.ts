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
  result: OperationRecord["result"] = {},
): OperationRecord[] {
  const common = { run: "r", process: id, principal: "p", id, f, args: {}, invokedNs: at(fromMs) };
  const invoke = { ...common, type: "invoke" } as const;
  if (type === "invoke") return [invoke];
  return [invoke, { ...common, type, ...(type === "info" ? {} : { returnedNs: at(toMs), result }) }];
}

const WRITTEN = { results: [{ duplicate: false }] };
const records = [
  ...operation("a", "enqueue", "ok", 0, 10, WRITTEN),
  ...operation("b", "complete", "ok", 100, 130, WRITTEN),
  ...operation("c", "complete", "fail", 200, 205),
  ...operation("d", "enqueue", "info", 300),
  ...operation("e", "enqueue", "invoke", 400),
  ...operation("f", "stats", "ok", 1_000, 1_500),
  ...operation("g", "enqueue", "ok", 2_000, 2_630, WRITTEN),
  ...operation("h", "enqueue", "ok", 2_700, 2_710, { results: [{ duplicate: true }] }),
];

test("an operation counts once, and one that was only begun is of unknown outcome", () => {
  expect(runFigures(records)).toMatchObject({ operations: 8, ok: 5, fail: 1, ambiguous: 2 });
});

test("the longest gap is between acknowledged writes: reads and refusals do not end it", () => {
  const { longestGapMs, gaps } = runFigures(records);
  expect(longestGapMs).toBe(2_500);
  expect(gaps).toEqual([{ fromMs: 130, toMs: 2_630 }]);
});

test.each<[string, OperationRecord["f"], object]>([
  ["a poll that found nothing", "lease", { leases: [], reason: "none" }],
  ["leases that may have been granted before", "lease", { leases: [{}] }],
  ["a renewal", "heartbeat", { results: [{ validMs: 1 }] }],
  ["a repeat", "complete", { results: [{ duplicate: true }] }],
  ["a refused entry", "complete", { results: [{ error: { code: "stale_token", definite: true } }] }],
])("an answer with %s shows no write", (_what, f, result) => {
  expect(runFigures(operation("a", f, "ok", 0, 10, { ...result })).writes).toEqual([]);
});

test("a gap at the end lasts until the last enqueue: behind that there may be nothing to write", () => {
  const last = operation("z", "enqueue", "info", 4_000);
  expect(runFigures([...records, ...last]).gaps.at(-1)).toEqual({ fromMs: 2_630, toMs: 4_000 });
  expect(runFigures([...records, ...operation("z", "complete", "info", 9_000)]).longestGapMs).toBe(2_500);
});

test("recovery counts from when a fault struck, and from its end, to the first write that was sent after that", () => {
  const figures = runFigures(records);
  const record = {
    kind: "k",
    target: "d1",
    startedNs: at(0),
    endedNs: at(2_000),
    params: {},
    applied: true,
    evidence: 0,
  };
  expect(timedFaults([{ ...record, struckNs: at(90) }], figures)).toMatchObject([
    { afterStartMs: 40, afterEndMs: 630 },
  ]);
  expect(timedFaults([{ ...record, struckNs: at(101) }], figures)).toMatchObject([{ afterStartMs: 2_529 }]);
  expect(timedFaults([{ ...record, endedNs: at(2_001) }], figures)).toMatchObject([{ afterEndMs: undefined }]);
});

test("seconds count what ended in them, with median and worst of what was answered well", () => {
  const { seconds, durationMs } = runFigures(records);
  expect(durationMs).toBe(2_710);
  expect(seconds).toEqual([
    { ok: 2, fail: 1, info: 2, medianMs: 30, worstMs: 30 },
    { ok: 1, fail: 0, info: 0, medianMs: 500, worstMs: 500 },
    { ok: 2, fail: 0, info: 0, medianMs: 630, worstMs: 630 },
  ]);
});

test("the page needs nothing from outside, shows each fault, and takes evidence for text", () => {
  const figures = runFigures(records);
  const fault: FaultRecord = {
    ...{ kind: "kill-dispatcher", target: "d1", startedNs: at(500), endedNs: at(900), params: { role: "leader" } },
    ...{ applied: true, evidence: { said: "<script>alert(1)</script>" } },
  };
  expect(timedFaults([fault], figures)).toMatchObject([{ fromMs: 500, toMs: 900 }]);
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
