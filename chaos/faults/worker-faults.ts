/** Faults of the worker processes: killed, and paused for longer than their leases last. */
import type { DrillProcess } from "../driver/drill-process.ts";
import type { Mesh } from "../driver/mesh.ts";
import { LEASE_MS } from "../driver/workload.ts";
import { killProcesses, pauseProcess } from "./dispatcher-faults.ts";
import type { FaultKind } from "./fault.ts";

function workerOf({ workers }: Mesh, name: string): DrillProcess {
  const worker = workers.get(name);
  if (worker === undefined) throw new Error(`there is no worker ${name}`);
  return worker;
}

export const WORKER_FAULTS = {
  "kill-worker": {
    description: "SIGKILL; started again after a while",
    area: "workers",
    durationMs: [500, 4_000],
    targets: ["w1", "w2"],
    // Clients go on writing.
    writeGapMs: 1_000,
    strike: async (mesh, { target }) => killProcesses([workerOf(mesh, target)]),
  },
  "pause-worker": {
    description: "SIGSTOP for longer than its leases last, later SIGCONT: it goes on with leases that others may hold",
    area: "workers",
    durationMs: [LEASE_MS + 1_500, LEASE_MS + 4_000],
    targets: ["w1", "w2"],
    // Clients go on writing.
    writeGapMs: 1_000,
    strike: async (mesh, { target }) => pauseProcess(workerOf(mesh, target)),
  },
} as const satisfies Readonly<Record<string, FaultKind>>;
