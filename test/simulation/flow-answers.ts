/** Judges what clients are told of items that depend on others. */
import { flowText } from "../../chaos/checker/naive-flows.ts";
import { isEnded, type NaiveItem } from "../../chaos/checker/naive-item.ts";
import type { EnqueueItem } from "../../contracts/commands.ts";
import type { Dependency } from "../../contracts/flows.ts";
import type { Entry, Must } from "./answer-oracle.ts";

/** An item that was enqueued depends on those that its entry named, also by their places. */
export function judgeNames(
  item: NaiveItem | undefined,
  asked: EnqueueItem | undefined,
  entry: Entry,
  results: readonly Entry[],
  must: Must,
): void {
  // On a repeat another item may be what an entry before it was answered with.
  if (entry["duplicate"] === true || item === undefined) return;
  const named = (asked?.dependsOn ?? []).map((one) => ("index" in one ? results[one.index]?.["itemId"] : one.itemId));
  const known = (item.flow?.dependencies ?? []).map(({ itemId }) => itemId);
  must(named.join() === known.join(), "R2", `${item.itemId} depends on ${known.join()}, not ${named.join()}`);
  const policy = asked?.dependsOn && (asked.onDependencyFailure ?? "deadLetter");
  must(item.flow?.policy === policy, "R2", `the policy of ${item.itemId} is ${item.flow?.policy}`);
}

/** What a worker is told of the dependencies of its item. `isNow`: as of the end of the log. */
export function judgeTold(item: NaiveItem | undefined, entry: Entry, isNow: boolean, must: Must): void {
  // Of one that was redriven dependencies may end at any time.
  if (item === undefined || (!isNow && item.redrives.length > 0)) return;
  const told = flowText(entry["dependencies"] as readonly Dependency[] | undefined);
  const known = flowText(item.flow?.dependencies);
  must(told === known, "F7", `the dependencies of ${item.itemId} are ${known}`);
}

/** An entry was refused because an item that it names, itself or by an entry before it, is not known. */
export function judgeUnknown(byId: ReadonlyMap<string, NaiveItem>, asked: EnqueueItem | undefined, must: Must): void {
  const isGone = (itemId: string): boolean => isEnded(byId.get(itemId)?.status ?? "completed");
  const mayBe = asked?.dependsOn?.some((one) => "index" in one || isGone(one.itemId));
  must(mayBe === true, "F7", "every item that it names is there");
}
