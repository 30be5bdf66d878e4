/** Bugs of drains, of items that are made anew from exports, and of evictions that the simulator must find. */
import { CORE, type Plant, plant } from "./plant.ts";

export const PLANTS_OF_DRAINS: readonly Plant[] = [
  plant(
    "granted_while_draining",
    `${CORE}/lease.ts`,
    '  if (state.drain !== undefined) return replyEmpty(state, "draining");\n',
    "",
    "Q5",
  ),
  plant(
    "drain_marks_a_redrive",
    `${CORE}/apply-ends.ts`,
    "state.drain === undefined ? 0 : state.sequence",
    "state.drain === undefined ? 0 : state.drain.sequence",
    "Q1",
  ),
  plant(
    "drained_lease_counts_as_released",
    `${CORE}/apply-lease.ts`,
    'kind: event.reason ?? "released"',
    'kind: event.reason === "evicted" ? "evicted" : "released"',
    "L7",
  ),
  plant(
    "drain_lost_in_a_snapshot",
    `${CORE}/snapshot-load.ts`,
    "  if (header.drain !== undefined) state.drain",
    "  if (header.drain?.discarding === true) state.drain",
    "S1",
  ),
  plant("discarded_while_leased", `${CORE}/drain.ts`, "  if (active > 0)\n", "  if (active > 1)\n", "L7"),
  plant(
    "item_restored_twice",
    `${CORE}/restore-items.ts`,
    "  if (made !== undefined) return duplicate(made);\n",
    "  if (made !== undefined && !(made instanceof EndedRecord)) return duplicate(made);\n",
    "crash",
  ),
  plant(
    "item_restored_although_it_was_cancelled",
    `${CORE}/restore-items.ts`,
    'own.ending !== "discarded"',
    'own.ending === "completed"',
    "R1",
  ),
  plant(
    "restored_item_forgets_its_charges",
    `${CORE}/apply-drain.ts`,
    "  if (entry.charged > 0) item.charged = entry.charged;\n",
    "",
    "F7",
  ),
  plant(
    "page_of_a_drain_tells_a_redrive",
    `${CORE}/drain-page.ts`,
    "isMarked(drain, item) ? itemRecordLength",
    "item.sequence <= drain.sequence ? itemRecordLength",
    "F7",
  ),
  plant(
    "discarded_item_told_as_cancelled",
    `${CORE}/cancel.ts`,
    'if (status !== "cancelled") return',
    'if (status !== "cancelled" && status !== "discarded") return',
    "L7",
  ),
];
