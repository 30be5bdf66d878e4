/** Faults of the dispatcher processes: killed, paused, blocked, stopped in order one after the other. */
import { isStopped } from "../../infra/nats-server/process-state.ts";
import { pause } from "../drill.ts";
import type { DrillProcess } from "../driver/drill-process.ts";
import { blockEventLoop } from "../driver/inspector.ts";
import type { Mesh } from "../driver/mesh.ts";
import { type FaultKind, keptFor, numberParam, type PlannedFault, type Strike } from "./fault.ts";

/** How long a process that is started again is waited for; it is needed by the end of the run only. ms. */
const START_BOUND_MS = 10_000;
const STOP_BOUND_MS = 15_000;

/** The dispatchers that a role means at this moment. */
export function dispatchersOf(mesh: Mesh, role: string, draw: () => number): readonly DrillProcess[] {
  const all = [...mesh.dispatchers.values()];
  if (role === "all") return all;
  const { leader } = mesh.leadership;
  const found = all.filter(({ name }) => (name === leader) === (role === "leader"));
  const chosen = found[Math.floor(draw() * found.length)];
  if (chosen === undefined) throw new Error(`no dispatcher is ${role} at this moment`);
  return [chosen];
}

/** Kills the processes, and starts them again in the end. */
export async function killProcesses(processes: readonly DrillProcess[]): Promise<Strike> {
  const struck = await Promise.all(
    processes.map(async (process) => {
      const { name, pid } = process;
      return { name, pid, signal: (await process.kill())?.signal ?? "it did not run" };
    }),
  );
  return {
    target: namesOf(processes),
    end: async () => {
      const start = performance.now();
      await Promise.race([Promise.all(processes.map((process) => process.start())), pause(START_BOUND_MS)]);
      const startedMs = Math.round(performance.now() - start);
      const restarted = processes.map(({ name, pid }) => ({ name, pid }));
      return {
        applied: struck.every(({ signal }) => signal === "SIGKILL"),
        evidence: { struck, restarted, startedMs },
      };
    },
  };
}

/** Freezes the process until the end. */
export async function pauseProcess(process: DrillProcess): Promise<Strike> {
  const { name, pid } = process;
  process.isStill = true;
  const stoodStill = await process.pause();
  return {
    target: name,
    end: async () => {
      const stillStands = process.isRunning && process.pid === pid && (await isStopped(pid));
      process.resume();
      process.isStill = false;
      return { applied: stoodStill && stillStands, evidence: { pid, stoodStill, stillStands } };
    },
  };
}

async function pauseDispatcher(mesh: Mesh, { target }: PlannedFault, draw: () => number): Promise<Strike> {
  const [process] = dispatchersOf(mesh, target, draw) as [DrillProcess];
  return pauseProcess(process);
}

async function blockDispatcher(mesh: Mesh, fault: PlannedFault, draw: () => number): Promise<Strike> {
  const [process] = dispatchersOf(mesh, fault.target, draw) as [DrillProcess];
  process.isStill = true;
  const blocked = keptFor(
    blockEventLoop(process, fault.durationMs).finally(() => {
      process.isStill = false;
    }),
  );
  return {
    target: process.name,
    end: async () => {
      const blockedMs = await blocked;
      return { applied: blockedMs >= fault.durationMs, evidence: { pid: process.pid, blockedMs } };
    },
  };
}

async function rollDispatchers(mesh: Mesh, fault: PlannedFault): Promise<Strike> {
  const processes = [...mesh.dispatchers.values()];
  const roll = async () => {
    const steps = [];
    for (const process of processes) {
      const end = await process.stop(STOP_BOUND_MS);
      const start = performance.now();
      await Promise.race([process.start(), pause(START_BOUND_MS)]);
      steps.push({ name: process.name, ...end, startedMs: Math.round(performance.now() - start) });
      await pause(numberParam(fault, "restMs"));
    }
    return steps;
  };
  const rolled = keptFor(roll());
  return {
    target: namesOf(processes),
    end: async () => {
      const steps = await rolled;
      return { applied: steps.every(({ code }) => code === 0), evidence: { steps } };
    },
  };
}

const namesOf = (processes: readonly DrillProcess[]): string => processes.map(({ name }) => name).join("+");

export const DISPATCHER_FAULTS = {
  "kill-dispatcher": {
    description: "SIGKILL; started again after a while",
    area: "dispatchers",
    durationMs: [500, 4_000],
    targets: ["leader", "leader", "standby", "all"],
    // A successor that the broker tells of the death led within 0.5 s; all three were back 4.4 s after the order to start, 5.8 s on busy cores.
    writeGapMs: 3_000,
    stopsWrites: { all: 8_000 },
    movesLeader: true,
    strike: async (mesh, { target }, draw) => killProcesses(dispatchersOf(mesh, target, draw)),
  },
  "pause-dispatcher": {
    description: "SIGSTOP, later SIGCONT",
    area: "dispatchers",
    durationMs: [3_000, 9_000],
    targets: ["leader", "leader", "standby"],
    // Silence has to be told from slowness: 1.0 to 1.6 s.
    writeGapMs: 4_000,
    movesLeader: true,
    strike: pauseDispatcher,
  },
  "block-dispatcher": {
    description: "its event loop is kept busy, through the inspector",
    area: "dispatchers",
    durationMs: [3_000, 6_000],
    targets: ["leader"],
    // As a pause: 1.1 to 1.4 s.
    writeGapMs: 4_000,
    movesLeader: true,
    strike: blockDispatcher,
  },
  "roll-dispatchers": {
    description: "SIGTERM and start, one dispatcher after the other",
    area: "dispatchers",
    durationMs: [8_000, 12_000],
    targets: ["all"],
    params: { restMs: [500, 2_000] },
    // Leadership is handed over: 0.5 s.
    writeGapMs: 3_000,
    movesLeader: true,
    strike: rollDispatchers,
  },
} as const satisfies Readonly<Record<string, FaultKind>>;
