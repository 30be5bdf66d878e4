/** Which features of the queue the load of a run uses: all, none, or some that follow from its seed. */
import { randomFrom } from "../drill.ts";

export const FEATURES = [
  ...(["priorities", "delays", "ends", "lease_lengths", "retries", "failure_terms", "unique_keys"] as const),
  ...(["cancels", "redrives", "reports", "quotas", "schedules", "drains", "evictions", "pauses"] as const),
] as const;
export type Feature = (typeof FEATURES)[number];

/** Another series of draws than those of the plan and of the workload. */
const SERIES = 15_485_863;
/** Of so many seeds in a row one has none, and one has all. */
const ROUND = 5;

export function drawFeatures(seed: number): readonly Feature[] {
  if (seed % ROUND === 0) return [];
  if (seed % ROUND === 1) return FEATURES;
  const draw = randomFrom(seed + SERIES);
  return FEATURES.filter(() => draw() < 0.5);
}
