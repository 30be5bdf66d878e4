/** Whether a run says anything at all: one with too little load, or a fault that did not strike, is invalid and not passed. */
import type { FaultRecord, RunPlan } from "../operations.ts";
import { isWritten } from "../writes.ts";
import type { RunRecords } from "./run-folder.ts";
import type { Tally } from "./tally.ts";
import type { Operation } from "./timed-operations.ts";

export function checkValidity(
  { plan, faults, operations: records, problems }: RunRecords,
  operations: readonly Operation[],
  tally: Tally,
): void {
  tally.checked("run.records", records.length);
  for (const problem of problems) tally.violated("run.records", problem);
  checkProcesses(operations, tally);
  const writes = operations.filter((operation) => operation.f !== "fenced_write" && isWritten(operation.reply)).length;
  const { okMutationsMin } = plan;
  tally.check("run.okMutations", writes >= okMutationsMin, () => `${writes} ok mutations of ${okMutationsMin}`);
  const startNs = records.reduce<bigint | undefined>((first, { invokedNs }) => {
    const ns = BigInt(invokedNs);
    return first === undefined || ns < first ? ns : first;
  }, undefined);
  const intervals = faults.map((fault) => intervalOf(fault, startNs ?? 0n));
  checkFaults(plan, faults, intervals, operations, tally);
  checkDuringFaults(plan, intervals, operations, tally);
}

function checkProcesses(operations: readonly Operation[], tally: Tally): void {
  const last = new Map<string, Operation>();
  for (const operation of operations) {
    const { id, process, type, error, invoked } = operation;
    const before = last.get(process);
    const isAlone = before === undefined || before.returned <= invoked;
    tally.check("run.sequential", isAlone, () => `${process} sent ${id} while ${before?.id} was under way`);
    last.set(process, operation);
    if (type === "fail")
      tally.check("run.classified", error?.definite === true, () => `${id} failed by ${error?.code}: not definite`);
    else if (type === "ok")
      tally.check("run.classified", error === undefined, () => `${id} is ok and failed by ${error?.code}`);
  }
}

interface Stretch {
  readonly from: number;
  readonly to: number;
}

const intervalOf = ({ startedNs, endedNs }: FaultRecord, startNs: bigint): Stretch => ({
  from: Number(BigInt(startedNs) - startNs),
  to: Number(BigInt(endedNs) - startNs),
});

function checkFaults(
  plan: RunPlan,
  faults: readonly FaultRecord[],
  intervals: readonly Stretch[],
  operations: readonly Operation[],
  tally: Tally,
): void {
  const end = operations.at(-1)?.invoked ?? 0;
  const struck = new Map<string, number>();
  const told = new Set<string>();
  for (const [
    index,
    { kind, target, applied, evidence, startedNs, struckNs = startedNs, endedNs },
  ] of faults.entries()) {
    const name = `${kind} of ${target}`;
    const check = (isRight: boolean, what: string): boolean =>
      tally.check("run.faults", isRight, () => `${name} ${what}`);
    const { from, to } = intervals[index] ?? { from: 0, to: 0 };
    // One process starts them all: no two start in the same nanosecond.
    const isOther = !told.has(`${kind} ${startedNs}`);
    told.add(`${kind} ${startedNs}`);
    const isThere = [
      check(applied, "was not applied"),
      check(to >= from && to >= 0 && from <= end, "struck when no operation was under way"),
      check(BigInt(endedNs) > BigInt(struckNs), "was over when it began"),
      check(isEvidence(evidence), "left nothing that shows it"),
      check(isOther, "is told twice"),
    ].every(Boolean);
    if (isThere) struck.set(kind, (struck.get(kind) ?? 0) + 1);
  }
  for (const [kind, count] of Object.entries(plan.faults)) {
    const found = struck.get(kind) ?? 0;
    tally.check("run.faults", found >= count, () => `${found} faults ${kind} of ${count} planned`);
  }
}

function isEvidence(evidence: unknown): boolean {
  if (typeof evidence === "object" && evidence !== null) return Object.keys(evidence).length > 0;
  return typeof evidence === "string" && evidence !== "";
}

function checkDuringFaults(
  plan: RunPlan,
  intervals: readonly Stretch[],
  operations: readonly Operation[],
  tally: Tally,
): void {
  const isDuring = ({ invoked }: Operation) => intervals.some(({ from, to }) => from <= invoked && invoked <= to);
  const during = operations.filter((operation) => operation.f !== "fenced_write" && isDuring(operation));
  if (during.length === 0) return;
  const share = during.filter(({ type }) => type === "ok").length / during.length;
  const { okDuringFaultsMin } = plan;
  tally.check("run.okDuringFaults", share >= okDuringFaultsMin, () => {
    return `${share.toFixed(3)} of ${during.length} operations during faults were ok, not ${okDuringFaultsMin}`;
  });
}
