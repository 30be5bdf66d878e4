/** Bugs of quotas and turns that the simulator must find. */
import { CORE, type Plant, plant } from "./plant.ts";

export const PLANTS_OF_SHARES: readonly Plant[] = [
  plant(
    "quota_of_a_key_not_looked_at",
    `${CORE}/lanes.ts`,
    "      else if (lane.meter !== undefined && lane.meter.freeAt(at) !== 0) this.parkLane(lane, lane.meter, at);",
    "      else if (false && lane.meter !== undefined) this.parkLane(lane, lane.meter, at);",
    "crash",
  ),
  plant(
    "quota_admits_one_more",
    `${CORE}/meters.ts`,
    "this.leased >= quota.leasesMax",
    "this.leased > quota.leasesMax",
    "Q7",
  ),
  plant("burst_one_too_large", `${CORE}/meters.ts`, "(burst - 1) * intervalUs", "burst * intervalUs", "Q7"),
  plant(
    "freed_slot_not_told",
    `${CORE}/meters.ts`,
    "    meter.leased -= 1;\n    this.onFreed(meter);",
    "    meter.leased -= 1;",
    "V1",
  ),
  plant(
    "rate_never_flows_again",
    `${CORE}/lanes.ts`,
    "if (Number.isFinite(parked.rank)) this.refills.push(parked);",
    "if (parked.rank < 0) this.refills.push(parked);",
    "V1",
  ),
  plant(
    "raised_quota_not_told",
    `${CORE}/meters.ts`,
    "      meter.quota = this.quotaOf(meter);\n      this.onFreed(meter);",
    "      meter.quota = this.quotaOf(meter);",
    "V1",
  ),
  plant(
    "leases_of_a_snapshot_not_counted",
    `${CORE}/snapshot-load.ts`,
    "  state.ready.lanes.meters.restore(item);\n",
    "",
    "Q7",
  ),
  plant(
    "bucket_lost_in_a_snapshot",
    `${CORE}/snapshot-format.ts`,
    "  for (const { kind, name, fullAtUs } of lanes.meters.buckets.entries)",
    "  for (const { kind, name, fullAtUs } of lanes.meters.buckets.entries.slice(1))",
    "crash",
  ),
  plant("turns_by_weight_upside_down", `${CORE}/fair-shares.ts`, "Math.floor(STEP / weight)", "STEP * weight", "Q5"),
  plant(
    "group_saves_up_turns",
    `${CORE}/fair-shares.ts`,
    "const time = Math.max(turns.time, own.rank);",
    "const time = own.rank;",
    "crash",
  ),
];
