/** Bugs of items that depend on others that the simulator must find. */
import { CORE, NODE, type Plant, plant } from "./plant.ts";

export const PLANTS_OF_FLOWS: readonly Plant[] = [
  plant(
    "flow_runs_when_the_first_is_completed",
    `${CORE}/flow.ts`,
    "return extra.flow.open > 0 || failedOf(extra.flow) !== undefined ? extra.flow : undefined;",
    "return extra.flow.open === extra.flow.dependencies.length || failedOf(extra.flow) !== undefined ? extra.flow : undefined;",
    "Q5",
  ),
  plant(
    "flow_forgets_who_waits_in_a_snapshot",
    `${CORE}/snapshot-load.ts`,
    "    enterFlow(state, item);\n",
    "",
    "crash",
  ),
  plant(
    "flow_not_told_of_an_end_before_the_enqueue",
    `${CORE}/apply-flow.ts`,
    "    flow = settleFlow(flow, index, endOf(record));",
    '    if (record.ending !== "cancelled") flow = settleFlow(flow, index, endOf(record));',
    "Q1",
  ),
  plant(
    "flow_runs_behind_a_purged_item",
    `${CORE}/flow.ts`,
    'dependencies.find(({ outcome }) => outcome !== "pending" && outcome !== "completed");',
    'dependencies.find(({ outcome }) => outcome !== "pending" && outcome !== "completed" && outcome !== "purged");',
    "Q5",
  ),
  plant(
    "flow_keeps_its_place_of_the_enqueue",
    `${CORE}/apply-flow.ts`,
    "    if (isFree) item.delayedTo = Math.max(item.delayedTo, state.at);\n",
    "",
    "Q5",
  ),
  plant(
    "doomed_items_left_alone",
    `${NODE}/item-times.ts`,
    "  if (state.ready.doomed.size > 0) {",
    "  if (state.ready.doomed.size > 1) {",
    "V1",
  ),
  plant(
    "cancel_of_a_flow_becomes_a_dead_letter",
    `${CORE}/doomed.ts`,
    'if (flow?.policy === "cancel" &&',
    'if (flow?.policy === "cancel" && flow.open === 0 &&',
    "Q6",
  ),
  plant(
    "result_of_the_last_dependency_only",
    `${CORE}/flow.ts`,
    "...(result !== undefined && fits ? { result } : undefined),",
    "...(result !== undefined && fits && flow.open === 1 ? { result } : undefined),",
    "F7",
  ),
  plant(
    "explain_overlooks_what_it_waits_for",
    `${CORE}/explain.ts`,
    "  if (flow !== undefined) holds.push(flowHold(flow));",
    "  if (flow !== undefined && failedOf(flow) !== undefined) holds.push(flowHold(flow));",
    "F7",
  ),
];
