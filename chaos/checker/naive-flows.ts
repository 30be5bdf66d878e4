/** The rules of flows, written again: what an item waits for, what it is told, and when it is not to run. */
import type { ItemPayload } from "../../contracts/commands.ts";
import type { Dependency, FailurePolicy } from "../../contracts/flows.ts";
import { isEnded, type NaiveItem, type NaiveStatus } from "./naive-item.ts";

/** How a dependency ended as its item was told; `pending` until then. */
interface NaiveDependency {
  readonly itemId: string;
  outcome: Dependency["outcome"];
  result: string | undefined;
}
export interface NaiveFlow {
  readonly policy: FailurePolicy;
  readonly dependencies: readonly NaiveDependency[];
}

type Items = ReadonlyMap<string, NaiveItem>;

/** Of a new item: those that are over by now are told at once. */
export function naiveFlow(
  { onDependencyFailure: policy = "deadLetter" }: Pick<ItemPayload, "onDependencyFailure">,
  named: readonly (Pick<Dependency, "itemId"> & Partial<Dependency>)[] | undefined,
  byId: Items,
): NaiveFlow | undefined {
  if (named === undefined) return undefined;
  const dependencies = named.map(({ itemId, outcome = "pending", result }) => ({ itemId, outcome, result }));
  const flow = { policy, dependencies };
  for (const { itemId } of dependencies) tell(flow, byId.get(itemId));
  return flow;
}

/** Whether everything that it waits for was enqueued. */
export const isFlowKnown = (flow: NaiveFlow | undefined, byId: Items): boolean =>
  flow?.dependencies.every(({ itemId, outcome }) => outcome !== "pending" || byId.has(itemId)) ?? true;

/** Tells an item of another one, if that has ended. */
function tell(flow: NaiveFlow, item: NaiveItem | undefined): void {
  if (item === undefined || !isEnded(item.status)) return;
  const one = flow.dependencies.find(({ itemId, outcome }) => itemId === item.itemId && outcome === "pending");
  if (one === undefined) return;
  one.outcome = item.status as Extract<NaiveStatus, Dependency["outcome"]>;
  one.result = item.status === "completed" ? item.result : undefined;
}

/** What an item's end does to all others. `at`: log time. ms. */
export function tellAll(items: readonly NaiveItem[], ended: NaiveItem, at: number): void {
  for (const item of items) {
    if (item.flow === undefined || isEnded(item.status)) continue;
    const isWaiting = item.status === "pending" && waits(item);
    tell(item.flow, ended);
    if (isWaiting && !waits(item)) item.notBefore = Math.max(item.notBefore, at);
  }
}

const hasFailed = ({ outcome }: NaiveDependency): boolean => outcome !== "pending" && outcome !== "completed";

/** Whether its dependencies hold an item back; nothing holds it back that was ever redriven. */
export function waits({ flow, redrives }: NaiveItem): boolean {
  if (flow === undefined || redrives.length > 0) return false;
  const isOpen = flow.dependencies.some(({ outcome }) => outcome === "pending");
  return isOpen || (flow.policy !== "run" && flow.dependencies.some(hasFailed));
}

/** Whether the leader is to end a pending item for one that it depends on. */
export function isDoomed(item: NaiveItem): boolean {
  return item.status === "pending" && waits(item) && item.flow?.policy !== "run" && failedOf(item) !== undefined;
}

const failedOf = ({ flow }: NaiveItem): NaiveDependency | undefined => flow?.dependencies.find(hasFailed);

/** Whether a doomed item is cancelled; else it becomes a dead letter. What was left behind by a restore takes nothing with it. */
export function isCancelledByFlow(item: NaiveItem): boolean {
  return isDoomed(item) && item.flow?.policy === "cancel" && failedOf(item)?.outcome !== "unknown";
}

/** What a reply tells of the dependencies of an item; results that there was no room for are not known here. */
export function flowText(dependencies: readonly Partial<Dependency>[] | undefined): string {
  return (dependencies ?? []).map(({ itemId, outcome, result }) => `${itemId} ${outcome} ${result ?? ""}`).join();
}
