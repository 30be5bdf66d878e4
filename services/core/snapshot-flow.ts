/** What an item depends on, in its row of a snapshot: its policy, then the dependencies, each as `[itemId, outcome, result, truncated]`. */
import { z } from "zod";
import { DEPENDENCY_OUTCOMES, type Dependency, FAILURE_POLICIES } from "../../contracts/flows.ts";
import { ItemId } from "../../contracts/ids.ts";
import { DEPENDENCIES_MAX } from "../../contracts/limits.ts";
import { type ItemFlow, makeFlow } from "./flow.ts";

const DependencyRow = z.tuple([
  ItemId,
  z
    .int()
    .min(0)
    .max(DEPENDENCY_OUTCOMES.length - 1),
  z.union([z.string(), z.literal(0)]),
  z.union([z.literal(0), z.literal(1)]),
]);
/** A schema, for few items have one. */
export const FlowRow = z.tuple([
  z
    .int()
    .min(0)
    .max(FAILURE_POLICIES.length - 1),
  z.array(DependencyRow).min(1).max(DEPENDENCIES_MAX),
]);
type FlowRow = Readonly<z.infer<typeof FlowRow>>;

export function flowRow({ policy, dependencies }: ItemFlow): FlowRow {
  return [
    FAILURE_POLICIES.indexOf(policy),
    dependencies.map(({ itemId, outcome, result, truncated }) => [
      itemId,
      DEPENDENCY_OUTCOMES.indexOf(outcome),
      result ?? 0,
      truncated === true ? 1 : 0,
    ]),
  ];
}

export function readFlow([policy, rows]: FlowRow): ItemFlow {
  return makeFlow(FAILURE_POLICIES[policy] ?? "deadLetter", rows.map(dependencyOf));
}

function dependencyOf([itemId, outcome, result, truncated]: FlowRow[1][number]): Dependency {
  return {
    itemId,
    outcome: DEPENDENCY_OUTCOMES[outcome] ?? "pending",
    ...(result === 0 ? undefined : { result }),
    ...(truncated === 0 ? undefined : { truncated: true }),
  };
}
