/** What a recorded run looked like from outside: rates, latencies, the times in which no write was acknowledged, and how soon after a fault one was. Pure, so that a page can be drawn again from a folder. */
import type { FaultRecord, OperationRecord } from "./operations.ts";
import { type Gap, gapsOf, isWritten, longestGapMs, type Recovery, recoveryOf, type Write } from "./writes.ts";

/** One second of the run. */
interface RunSecond {
  readonly ok: number;
  readonly fail: number;
  readonly info: number;
  /** Of what was answered well in this second. ms; 0 when nothing was. */
  readonly medianMs: number;
  readonly worstMs: number;
}

export interface RunFigures {
  readonly startNs: bigint;
  readonly durationMs: number;
  readonly operations: number;
  readonly ok: number;
  readonly fail: number;
  /** Nobody knows what became of them. */
  readonly ambiguous: number;
  readonly seconds: readonly RunSecond[];
  readonly writes: readonly Write[];
  readonly longestGapMs: number;
  /** Those of a second or more. */
  readonly gaps: readonly Gap[];
}

/** A fault on the same time line. ms. */
export interface TimedFault extends Recovery {
  readonly record: FaultRecord;
  readonly fromMs: number;
  readonly toMs: number;
}

const NS_PER_MS = 1_000_000;
const GAP_MS = 1_000;
const SECOND_MS = 1_000;

interface Ended {
  readonly f: string;
  readonly type: OperationRecord["type"];
  readonly fromMs: number;
  /** When it was answered; when it was sent if it never was. */
  readonly atMs: number;
  /** Whether it was answered with something newly written to the log. */
  readonly isWrite: boolean;
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
  const writes = all.filter(({ isWrite }) => isWrite).map(({ fromMs, atMs }) => ({ sentMs: fromMs, ackedMs: atMs }));
  const lastEnqueueMs = all.reduce((last, { f, fromMs }) => (f === "enqueue" ? Math.max(last, fromMs) : last), 0);
  const gaps = gapsOf(writes, lastEnqueueMs);
  const count = (type: OperationRecord["type"]): number => all.filter((each) => each.type === type).length;
  return {
    startNs,
    durationMs,
    operations: all.length,
    ok: count("ok"),
    fail: count("fail"),
    // What was only begun belongs to a process that was killed.
    ambiguous: count("info") + count("invoke"),
    seconds: secondsOf(all, durationMs),
    writes,
    longestGapMs: longestGapMs(gaps),
    gaps: gaps.filter(({ fromMs, toMs }) => toMs - fromMs >= GAP_MS),
  };
}

/** In the order in which they struck. */
export function timedFaults(
  faults: readonly FaultRecord[],
  { startNs, writes }: Pick<RunFigures, "startNs" | "writes">,
): readonly TimedFault[] {
  return faults
    .map((record) => {
      const toMs = msBetween(startNs, record.endedNs);
      const recovery = recoveryOf(writes, msBetween(startNs, record.struckNs ?? record.startedNs), toMs);
      return { record, fromMs: msBetween(startNs, record.startedNs), toMs, ...recovery };
    })
    .sort((a, b) => a.fromMs - b.fromMs);
}

export const msBetween = (startNs: bigint, ns: string | bigint): number => Number(BigInt(ns) - startNs) / NS_PER_MS;

function endedOf({ f, type, invokedNs, returnedNs = invokedNs, result }: OperationRecord, startNs: bigint): Ended {
  const [fromMs, atMs] = [msBetween(startNs, invokedNs), msBetween(startNs, returnedNs)];
  return { f, type, fromMs, atMs, isWrite: f !== "fenced_write" && isWritten(result) };
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
