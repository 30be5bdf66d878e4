/** Faults of the replicator process: killed, and paused. */
import { killProcesses, pauseProcess } from "./dispatcher-faults.ts";
import type { FaultKind } from "./fault.ts";

export const REPLICATOR_FAULTS = {
  "kill-replicator": {
    description: "SIGKILL; started again after a while",
    area: "replicator",
    durationMs: [500, 4_000],
    targets: ["r1"],
    // Nobody waits for it.
    writeGapMs: 0,
    strike: async ({ replicator }) => killProcesses([replicator]),
  },
  "pause-replicator": {
    description: "SIGSTOP, later SIGCONT",
    area: "replicator",
    durationMs: [2_000, 5_000],
    targets: ["r1"],
    // Nobody waits for it.
    writeGapMs: 0,
    strike: async ({ replicator }) => pauseProcess(replicator),
  },
} as const satisfies Readonly<Record<string, FaultKind>>;
