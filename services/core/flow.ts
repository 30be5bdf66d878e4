/** What an item that depends on others knows of them. Replaced as a whole, so that a snapshot may keep it. */
import type { Dependency, FailurePolicy } from "../../contracts/flows.ts";
import { DEPENDENCY_BYTES, DEPENDENCY_RESULTS_BYTES_MAX } from "../../contracts/limits.ts";
import { hashDependency } from "./hash.ts";
import { type Hash64, HashSum } from "./hasher.ts";
import { jsonLength } from "./sizes.ts";

/** `high`, `low`: hash of what it says. `open` and `resultBytes` follow from the dependencies. */
export interface ItemFlow extends Hash64 {
  readonly policy: FailurePolicy;
  readonly dependencies: readonly Dependency[];
  /** Dependencies that have not ended. */
  readonly open: number;
  /** Of the results that are kept, as JSON. */
  readonly resultBytes: number;
}

/** What an item waits by, told without the item. */
interface Waiting {
  readonly extra: { readonly redrives: number; readonly flow: ItemFlow | undefined } | undefined;
}

/** The flow of an item that is not leased before its dependencies allow it; undefined for all others. A redrive makes it run whatever they do. */
export function holdingFlow({ extra }: Waiting): ItemFlow | undefined {
  if (extra?.flow === undefined || extra.redrives > 0) return undefined;
  return extra.flow.open > 0 || failedOf(extra.flow) !== undefined ? extra.flow : undefined;
}

/** The dependency because of which an item is not to run; undefined where there is none, or where it runs all the same. */
export function failedOf({ policy, dependencies }: ItemFlow): Dependency | undefined {
  if (policy === "run") return undefined;
  return dependencies.find(({ outcome }) => outcome !== "pending" && outcome !== "completed");
}

/** Whether the leader is to end an item that waits, or to make it a dead letter. */
export function isDoomed(item: Waiting): boolean {
  const flow = holdingFlow(item);
  return flow !== undefined && failedOf(flow) !== undefined;
}

/** Puts a flow together. */
export function makeFlow(policy: FailurePolicy, dependencies: readonly Dependency[]): ItemFlow {
  const sum = new HashSum();
  let open = 0;
  let resultBytes = 0;
  for (const [index, dependency] of dependencies.entries()) {
    const { high, low } = hashDependency(policy, index, dependency);
    sum.add(high, low);
    if (dependency.outcome === "pending") open += 1;
    if (dependency.result !== undefined) resultBytes += jsonLength(dependency.result);
  }
  return { policy, dependencies, open, resultBytes, high: sum.high, low: sum.low };
}

/** How a dependency ended. `isForgotten`: it left a result that is not kept any more. */
export interface DependencyEnd {
  readonly outcome: Exclude<Dependency["outcome"], "pending">;
  readonly result?: string | undefined;
  readonly isForgotten?: boolean;
}

/** The flow after one of its open dependencies has ended. Its result is kept while there is room. */
export function settleFlow(flow: ItemFlow, index: number, { outcome, result, isForgotten }: DependencyEnd): ItemFlow {
  const before = flow.dependencies[index] as Dependency;
  const bytes = result === undefined ? 0 : jsonLength(result);
  const fits = flow.resultBytes + bytes <= DEPENDENCY_RESULTS_BYTES_MAX;
  const after: Dependency = {
    itemId: before.itemId,
    outcome,
    ...(result !== undefined && fits ? { result } : undefined),
    ...(isForgotten === true || !fits ? { truncated: true } : undefined),
  };
  const sum = new HashSum();
  sum.add(flow.high, flow.low);
  const old = hashDependency(flow.policy, index, before);
  sum.subtract(old.high, old.low);
  const { high, low } = hashDependency(flow.policy, index, after);
  sum.add(high, low);
  return {
    policy: flow.policy,
    dependencies: flow.dependencies.with(index, after),
    open: flow.open - 1,
    resultBytes: flow.resultBytes + (fits ? bytes : 0),
    ...{ high: sum.high, low: sum.low },
  };
}

/** Bytes of an item's dependencies in a reply, rounded up. */
export function flowLength(flow: ItemFlow | undefined): number {
  return flow === undefined ? 0 : flow.dependencies.length * DEPENDENCY_BYTES + flow.resultBytes;
}
