/** Ways in which the whole of a run is spoiled: resource, states, faults, processes; and what such a change is. */
import type { Invariant } from "../../chaos/checker/tally.ts";
import { type EditedRun, first, lastOf, okOf } from "./history-edits.ts";

export interface Mutation {
  readonly what: string;
  readonly caughtBy: readonly Invariant[];
  readonly spoil: (run: EditedRun) => void;
}

export const mutation = (
  what: string,
  caughtBy: Invariant | readonly Invariant[],
  spoil: Mutation["spoil"],
): Mutation => ({
  ...{ what, spoil },
  caughtBy: typeof caughtBy === "string" ? [caughtBy] : caughtBy,
});

export const ofRuns: readonly Mutation[] = [
  mutation("a fenced write under an older token is taken", "F4", (run) => {
    const highest = new Map(run.fenced.map(({ resource, token }) => [resource, token]));
    const old = first(run.fenced, ({ resource, token }) => (highest.get(resource) ?? 0) > token);
    run.fenced = [...run.fenced, old];
  }),
  mutation("a write is taken of who does not hold the lease", "F4", (run) => {
    const write = first(okOf(run, "fenced_write"));
    write.principal = "somebody";
  }),
  mutation("an acknowledged write is not at the resource", "F4", (run) => {
    run.fenced = run.fenced.slice(1);
  }),
  mutation("a node's state differs", "S1", ({ states }) => {
    first(states["d2"] ?? []).stateHash = "0000000000000000";
  }),
  mutation("a node's checkpoint is one too far", "S1", ({ states }) => {
    first(states["d2"] ?? []).sequence += 1;
  }),
  mutation("nobody could write for longer than the faults explain", "V1", (run) => {
    const middleNs = BigInt(first(run.operations.slice(run.operations.length >> 1)).invokedNs);
    const laterNs = BigInt(run.plan.writeGapMsMax) * 1_000_000n;
    const moved = (ns: string): string => String(BigInt(ns) < middleNs ? BigInt(ns) : BigInt(ns) + laterNs);
    for (const operation of run.operations) {
      operation.invokedNs = moved(operation.invokedNs);
      if (operation.returnedNs !== undefined) operation.returnedNs = moved(operation.returnedNs);
    }
  }),
  mutation("two operations of one process overlap", "run.sequential", (run) => {
    const [one, other] = [first(okOf(run, "complete")), lastOf(okOf(run, "stats"))];
    one.process = other.process;
    one.returnedNs = String(BigInt(other.invokedNs) + 1n);
  }),
  mutation("a process goes on after an unknown outcome", "run.sequential", (run) => {
    const { process } = first(run.operations, ({ type }) => type === "info");
    const later = lastOf(run.operations.filter(({ type }) => type === "ok"));
    later.process = process;
  }),
  mutation("a doubt is recorded as a failure", "run.classified", (run) => {
    const operation = first(run.operations, ({ type }) => type === "fail");
    operation.error = { code: "timeout", definite: false };
  }),
  mutation("too few mutations were answered", "run.okMutations", (run) => {
    run.plan = { ...run.plan, okMutationsMin: 100_000 };
  }),
  mutation("too little was answered during faults", "run.okDuringFaults", (run) => {
    run.plan = { ...run.plan, okDuringFaultsMin: 1 };
  }),
  mutation("a fault was not applied", "run.faults", (run) => {
    run.faults = run.faults.map((fault) => ({ ...fault, applied: false }));
  }),
  mutation("one fault is told twice in place of two", "run.faults", (run) => {
    run.faults = run.faults.map(() => first(run.faults));
  }),
  mutation("a fault lasted no time", "run.faults", (run) => {
    run.faults = run.faults.map((fault) => ({ ...fault, endedNs: fault.startedNs }));
  }),
  mutation("a fault was over as soon as it struck", "run.faults", (run) => {
    run.faults = run.faults.map((fault) => ({ ...fault, struckNs: fault.endedNs }));
  }),
  ...[null, "", {}].map((evidence) =>
    mutation(`the evidence of a fault is ${JSON.stringify(evidence)}`, "run.faults", (run) => {
      run.faults = run.faults.map((fault) => ({ ...fault, evidence }));
    }),
  ),
  mutation("two dispatchers never told their state", "run.states", (run) => {
    run.states = { d1: run.states["d1"] ?? [] };
  }),
  mutation("a dispatcher told no state", "run.states", (run) => {
    run.states = { ...run.states, d2: [] };
  }),
  mutation("a dispatcher told its state long before the end only", "run.states", (run) => {
    run.states = { ...run.states, d3: (run.states["d3"] ?? []).slice(0, 1) };
  }),
  mutation("a planned fault is missing", "run.faults", (run) => {
    run.plan = { ...run.plan, faults: { ...run.plan.faults, partition: 1 } };
  }),
  mutation("a fault struck after the load", "run.faults", (run) => {
    run.faults = run.faults.map((fault) => ({ ...fault, startedNs: "900000000000000", endedNs: "900000000000001" }));
  }),
  mutation("no planned change of leaders came", "run.leaderChanges", (run) => {
    run.plan = { ...run.plan, leaderChangesMin: 100 };
  }),
  mutation("a replica has no dump", "run.wholeLog", (run) => {
    delete run.logs["n3"];
  }),
  mutation("a line cannot be read", "run.records", (run) => {
    run.problems = ["operations.jsonl:7: no JSON"];
  }),
  mutation("an operation has two ends", "run.records", (run) => {
    run.operations.push({ ...first(okOf(run, "complete")), type: "info" });
  }),
];
