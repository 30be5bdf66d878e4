/** Plans the faults of a run from its seed: pure, so that a plan can be printed before anything runs, and be had again. */
import { randomFrom } from "../drill.ts";
import type { FaultKind, PlannedFault, Range } from "./fault.ts";
import { faultKind } from "./kinds.ts";

export interface PlanRequest {
  /** 0..2^32-1. */
  readonly seed: number;
  /** Names of kinds; each gets a series of faults of its own. */
  readonly kinds: readonly string[];
  readonly seconds: number;
}

/** Before the first fault of a kind, so that there is something to disturb: at most this, and this part of a short run. ms. */
const FIRST_MS_MAX = 2_500;
const FIRST_PART = 0.2;
/** Between the end of a fault and the next of its area, as planned: the healing of the first may take longer. ms. */
const REST: Range = [2_000, 4_500];
/** Without any fault; also a machine that is busy for a while. ms. */
const CALM_GAP_MS = 1_000;
/** Another series of draws for each area. */
const SERIES_STEP = 7_919;

/** In the order in which they strike. The kinds of one area take turns; one that does not fit any more has no fault: see `secondsFor`. */
export function planFaults({ seed, kinds, seconds }: PlanRequest): readonly PlannedFault[] {
  const byArea = Map.groupBy(new Set(kinds), (kind) => faultKind(kind).area);
  const series = [...byArea.values()].map((own, index) =>
    planSeries(own, seconds * 1_000, randomFrom(seed + index * SERIES_STEP)),
  );
  return series.flat().sort((a, b) => a.atMs - b.atMs);
}

/** One fault after the other, until there is no time for the next. */
function planSeries(kinds: readonly string[], endMs: number, draw: () => number): readonly PlannedFault[] {
  const faults: PlannedFault[] = [];
  let atMs = Math.round(Math.min(FIRST_MS_MAX, endMs * FIRST_PART) * (0.5 + draw() / 2));
  for (let turn = 0; ; turn += 1) {
    const kind = kinds[turn % kinds.length] as string;
    const { durationMs: range, targets, params } = faultKind(kind);
    const durationMs = Math.min(within(range, draw()), endMs - atMs);
    if (durationMs < range[0]) return faults;
    faults.push({ kind, target: oneOf(targets, draw()), atMs, durationMs, params: paramsOf(params, draw) });
    atMs += durationMs + within(REST, draw());
  }
}

/** The shortest run in which one fault of each of these kinds has its place, whatever the seed. s. */
export function secondsFor(kinds: readonly string[]): number {
  const series = [...Map.groupBy(new Set(kinds), (kind) => faultKind(kind).area).values()];
  const lengthsMs = series.map((own) =>
    own.reduce((startMs, kind, index) => {
      const [minMs, maxMs] = faultKind(kind).durationMs;
      // The last one may be shortened.
      return startMs + (index === own.length - 1 ? minMs : maxMs + REST[1]);
    }, FIRST_MS_MAX),
  );
  return Math.ceil(Math.max(0, ...lengthsMs) / 1_000);
}

/** How many faults of each kind a plan has. */
export function countByKind(faults: readonly PlannedFault[]): Readonly<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (const { kind } of faults) counts[kind] = (counts[kind] ?? 0) + 1;
  return counts;
}

/** Whether leadership must have moved when these faults have struck. */
export function movesLeader(faults: readonly PlannedFault[]): boolean {
  return faults.some(({ kind, target }) => faultKind(kind).movesLeader === true && target !== "standby");
}

/** Longest write gap that these faults explain. Those of one area come one after the other; those of several areas may strike together. ms. */
export function writeGapMsMax(faults: readonly PlannedFault[]): number {
  const areas = Map.groupBy(faults, ({ kind }) => faultKind(kind).area);
  return [...areas.values()].reduce((sum, own) => sum + Math.max(...own.map(writeGapOf)), CALM_GAP_MS);
}

function writeGapOf({ kind, target, durationMs }: PlannedFault): number {
  const { writeGapMs, stopsWrites } = faultKind(kind);
  const moreMs = stopsWrites?.[target];
  return moreMs === undefined ? writeGapMs : durationMs + moreMs;
}

function within([min, max]: Range, drawn: number): number {
  return min + Math.floor(drawn * (max - min + 1));
}

function oneOf<Value>(values: readonly Value[], drawn: number): Value {
  return values[Math.floor(drawn * values.length)] as Value;
}

function paramsOf(params: FaultKind["params"] = {}, draw: () => number): PlannedFault["params"] {
  return Object.fromEntries(
    Object.entries(params).map(([name, choice]) => {
      const isRange = typeof choice[0] === "number";
      return [name, isRange ? within(choice as Range, draw()) : oneOf(choice as readonly string[], draw())];
    }),
  );
}
