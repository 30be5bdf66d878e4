/** What a recorded run looked like from outside: rates, latencies, and the times in which nothing was acknowledged. Pure, so that a page can be drawn again from a folder. */
import type { FaultRecord, OperationRecord } from "./operations.ts";

/** One second of the run. */
interface RunSecond {
  readonly ok: number;
  readonly fail: number;
  readonly info: number;
  /** Of what was answered well in this second. ms; 0 when nothing was. */
  readonly medianMs: number;
  readonly worstMs: number;
}

/** A time without an acknowledged mutation. From the start of the run. ms. */
interface Gap {
  readonly fromMs: number;
  readonly toMs: number;
}

export interface RunFigures {
  readonly startNs: bigint;
  readonly durationMs: number;
  readonly operations: number;
  readonly ok: number;
  readonly fail: number;
  /** Nobody knows what became of them. */
  readonly ambiguous: number;
  readonly okMutations: number;
  readonly seconds: readonly RunSecond[];
  readonly longestGapMs: number;
  /** Those of a second or more. */
  readonly gaps: readonly Gap[];
}

/** Faults on the same time line. ms. */
export interface TimedFault extends Gap {
  readonly record: FaultRecord;
}

const NS_PER_MS = 1_000_000;
const GAP_MS = 1_000;
const SECOND_MS = 1_000;
/** Neither a read nor a write elsewhere says that the shard takes mutations. */
const NO_MUTATIONS: ReadonlySet<string> = new Set(["stats", "fenced_write"]);

interface Ended {
  readonly f: string;
  readonly type: OperationRecord["type"];
  readonly fromMs: number;
  /** When it was answered; when it was sent if it never was. */
  readonly atMs: number;
}

/** Figures of the lines that a run has written; the time from the first invocation to the last end. */
export function runFigures(records: readonly OperationRecord[]): RunFigures {
  const ends = new Map<string, OperationRecord>();
  for (const record of records) ends.set(record.id, record);
  const startNs = records.reduce((first, { invokedNs }) => {
    const ns = BigInt(invokedNs);
    return ns < first ? ns : first;
  }, BigInt(Number.MAX_SAFE_INTEGER));
  const all = [...ends.values()].map((record) => endedOf(record, startNs));
  const durationMs = all.reduce((last, { atMs }) => Math.max(last, atMs), 0);
  const mutations = all.filter(({ f, type }) => type === "ok" && !NO_MUTATIONS.has(f));
  const gaps = gapsBetween(mutations.map(({ atMs }) => atMs).sort((a, b) => a - b));
  const count = (type: OperationRecord["type"]): number => all.filter((each) => each.type === type).length;
  return {
    startNs,
    durationMs,
    operations: all.length,
    ok: count("ok"),
    fail: count("fail"),
    // What was only begun belongs to a process that was killed.
    ambiguous: count("info") + count("invoke"),
    okMutations: mutations.length,
    seconds: secondsOf(all, durationMs),
    longestGapMs: Math.round(Math.max(0, ...gaps.map(({ fromMs, toMs }) => toMs - fromMs))),
    gaps: gaps.filter(({ fromMs, toMs }) => toMs - fromMs >= GAP_MS),
  };
}

export function timedFaults(faults: readonly FaultRecord[], startNs: bigint): readonly TimedFault[] {
  return faults.map((record) => ({
    record,
    fromMs: msBetween(startNs, record.startedNs),
    toMs: msBetween(startNs, record.endedNs),
  }));
}

export const msBetween = (startNs: bigint, ns: string | bigint): number => Number(BigInt(ns) - startNs) / NS_PER_MS;

function endedOf({ f, type, invokedNs, returnedNs = invokedNs }: OperationRecord, startNs: bigint): Ended {
  return { f, type, fromMs: msBetween(startNs, invokedNs), atMs: msBetween(startNs, returnedNs) };
}

function gapsBetween(timesMs: readonly number[]): readonly Gap[] {
  return timesMs.slice(1).map((toMs, index) => ({ fromMs: timesMs[index] as number, toMs }));
}

function secondsOf(all: readonly Ended[], durationMs: number): readonly RunSecond[] {
  const bySecond = Map.groupBy(all, ({ atMs }) => Math.floor(atMs / SECOND_MS));
  return Array.from({ length: Math.floor(durationMs / SECOND_MS) + 1 }, (_, second) => {
    const own = bySecond.get(second) ?? [];
    const times = own.filter(({ type }) => type === "ok").map(({ fromMs, atMs }) => atMs - fromMs);
    times.sort((a, b) => a - b);
    const ok = times.length;
    const fail = own.filter(({ type }) => type === "fail").length;
    return {
      ...{ ok, fail, info: own.length - ok - fail },
      medianMs: times[Math.floor(ok / 2)] ?? 0,
      worstMs: times.at(-1) ?? 0,
    };
  });
}
