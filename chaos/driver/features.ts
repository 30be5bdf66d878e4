/** Which features of the queue the load of a run uses: drawn from its seed, none and all of them among the draws. */
import { randomFrom } from "../drill.ts";

export const FEATURES = [
  ...(["priorities", "delays", "ends", "lease_lengths", "retries", "failure_terms", "unique_keys"] as const),
  ...(["cancels", "redrives", "reports", "quotas", "schedules", "drains", "evictions", "pauses"] as const),
] as const;
export type Feature = (typeof FEATURES)[number];

/** Another series of draws than those of the plan and of the workload. */
const SERIES = 15_485_863;
/** Parts of the runs; in the others each feature is there or not. */
const NONE = 0.2;
const ALL = 0.3;

export function drawFeatures(seed: number): readonly Feature[] {
  const draw = randomFrom(seed + SERIES);
  const kind = draw();
  if (kind < NONE) return [];
  return kind < NONE + ALL ? FEATURES : FEATURES.filter(() => draw() < 0.5);
}
