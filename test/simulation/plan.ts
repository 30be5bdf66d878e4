/** What one seed does: sizes, options, and which classes of faults are on; every fault class can be taken away by itself. */
import type { ShardOptionsPatch } from "../../contracts/options.ts";
import type { NodeConfig } from "../../services/dispatcher/node/node-config.ts";
import type { Choices, Draws } from "./choices.ts";

/**
 * `small`: seconds of faults, for thousands of seeds. `big`: minutes of them. `unsynced`: as small, but the servers sync now and then, as they
 * do by default, and lose their power one at a time: the control that acknowledged messages are missed then.
 */
export const PROFILES = ["small", "big", "unsynced"] as const;
/** Draws follow from 32 bits of a seed: higher ones would be runs of lower ones again. */
export const SEED_MAX = 2 ** 32 - 1;
export type Profile = (typeof PROFILES)[number];

const FAULT_CLASSES = [
  "kill",
  "stop",
  "wipe",
  "power_cut",
  "pause",
  "wall_jump",
  "cut",
  "half_open",
  "slow_net",
  "isolate",
  "split",
  "island",
  "election",
  "quorum",
  "wedge",
  "replica_lag",
  "replica_gap",
  "redeliver",
  "fail_followers",
  "server_killed",
  "server_power_cut",
  "cluster_power_cut",
  "stray",
  "copy",
  "junk",
  "beats_forged",
  "words_forged",
  "words_repeated",
  "crash_point",
  "shelf_down",
  "bucket_down",
  "disk_broken",
  "resource_power_cut",
  "client_pause",
  "client_cut",
] as const;
export type FaultClass = (typeof FAULT_CLASSES)[number];
/** What may cost a stream that does not sync its newest messages. */
const LOSING: ReadonlySet<FaultClass> = new Set(["replica_lag", "server_killed", "server_power_cut"]);

/**
 * What items, failures and shards may name of order and time, and what is done to items beside that. `redrives`: dead letters are also
 * purged; `reports`: progress and results; `quotas`: of groups and keys, and fairness; `drains`: also exports and evictions; `old_log`: the log
 * begins with state version 1 and is raised during the run.
 */
const FEATURES = [
  ...(["delays", "ends", "priorities", "lease_lengths", "retries", "failure_terms", "old_log"] as const),
  ...([
    "cancels",
    "redrives",
    "unique_keys",
    "reports",
    "quotas",
    "drains",
    "schedules",
    "watermarks",
    "flows",
  ] as const),
] as const;
export type Feature = (typeof FEATURES)[number];

export interface Plan {
  readonly profile: Profile;
  /** Whether the servers sync each message before they acknowledge it. */
  readonly isSynced: boolean;
  readonly faultMs: number;
  readonly dispatchers: number;
  readonly shards: number;
  readonly callers: number;
  readonly workers: number;
  /** Time between two operations of a caller, in the middle. ms. */
  readonly callEveryMs: number;
  readonly faults: readonly FaultClass[];
  /** Chance of a fault in each slot of the nemesis. */
  readonly faultRate: number;
  /** Chance that one append goes wrong; 0 for never. */
  readonly appendFaults: number;
  readonly hasDrift: boolean;
  readonly isStrict: boolean;
  readonly bytesMax: number;
  readonly shardOptions: ShardOptionsPatch;
  readonly features: ReadonlySet<Feature>;
  /** Options that a log of state version 1 cannot hold. */
  readonly termOptions: ShardOptionsPatch;
  readonly times: Partial<NodeConfig>;
  readonly leaseMs: number;
  /** Added to each way between clients and dispatchers. ms. */
  readonly slowMs: number;
}

export const SLOT_MS = 200;

export function drawPlan(choices: Choices, profile: Profile): Plan {
  const draws = choices.draws("plan");
  const isBig = profile === "big";
  const isSynced = profile !== "unsynced";
  const leaseMs = draws.pick([500, 1_000, 1_500, 2_500, 5_000]);
  const bytesMax = draws.chance(0.2) ? Math.floor(draws.between(80_000, 250_000)) : -1;
  const isTrimming = bytesMax !== -1 || draws.chance(0.4);
  const features = new Set(FEATURES.filter((name) => choices.switch(`switch.${name}`, name === "old_log" ? 0.2 : 0.5)));
  return {
    profile,
    isSynced,
    faultMs: isBig ? draws.between(60_000, 150_000) : draws.between(6_000, 16_000),
    dispatchers: draws.pick([1, 2, 2, 3, 3, 3, ...(isBig ? [4] : [])]),
    shards: draws.chance(isBig ? 0.4 : 0.15) ? 2 : 1,
    callers: 1 + draws.below(isBig ? 4 : 2),
    workers: draws.below(isBig ? 7 : 4) + 1,
    callEveryMs: draws.pick([100, 200, 400]),
    // The chances are drawn even where a class is off, and off by an override as well.
    faults: isSynced ? FAULT_CLASSES.filter((name) => choices.switch(`switch.${name}`, 0.4)) : [...LOSING],
    faultRate: draws.pick([0.03, 0.08, 0.2]),
    appendFaults: choices.switch("switch.append", 0.6) ? draws.pick([0.01, 0.05, 0.15]) : 0,
    hasDrift: choices.switch("switch.drift", 0.5),
    isStrict: draws.chance(0.2),
    bytesMax,
    leaseMs,
    shardOptions: {
      leaseDurationMsDefault: leaseMs,
      ...(draws.chance(0.2) ? { leaseDurationMsMax: 60_000, leaseAgeMsMax: 60_000 } : {}),
      maxAttempts: draws.pick([2, 3, 5, 20]),
      ...(draws.chance(0.2) ? { pendingHigh: 5 + draws.below(30) } : {}),
      ...(draws.chance(0.2) ? { leasesPerPeerMax: 1 + draws.below(5) } : {}),
      ...(draws.chance(0.25) ? { recordsMax: draws.pick([0, 1, 5, 20]) } : {}),
      exclusivity: draws.pick(["none", "resource", "partition"] as const),
      onDeadLetter: draws.pick(["halt", "continue"] as const),
      ...(isTrimming ? { logKeepEvents: draws.pick([0, 10, 50]), logKeepMs: draws.pick([0, 1_000, 5_000]) } : {}),
    },
    times: {
      snapshotEvents: draws.pick([10, 40, 150]),
      snapshotMs: draws.pick([200, 1_000, 4_000]),
      stateHashEvents: draws.pick([4, 12, 40]),
      stateHashMs: 5_000,
    },
    slowMs: draws.chance(0.25) ? draws.between(20, 250) : 0,
    features,
    termOptions: {
      ...drawTermOptions(choices.draws("plan.terms"), features),
      ...(features.has("watermarks") ? drawWatermarks(choices.draws("plan.watermarks")) : {}),
      ...(features.has("reports") ? { resultsMax: choices.draws("plan.reports").pick([0, 2, 10, 1_000]) } : {}),
    },
  };
}

/** Below every high watermark that a run draws. */
const drawWatermarks = (draws: Draws): ShardOptionsPatch => ({
  pendingLow: draws.below(5),
  backpressureCooldownMs: draws.pick([0, 200, 1_500]),
});

function drawTermOptions(draws: Draws, features: ReadonlySet<Feature>): ShardOptionsPatch {
  const ageingMs = draws.pick([0, 0, 200, 1_000, 5_000]);
  const retry = draws.pick(["none", "fixed", "exponential"] as const);
  const retryFirstMs = draws.pick([20, 200, 600]);
  return {
    ...(features.has("priorities") ? { ageingMs } : {}),
    ...(features.has("retries") ? { retry, retryFirstMs, retryMaxMs: retryFirstMs * draws.pick([1, 2, 4]) } : {}),
  };
}
