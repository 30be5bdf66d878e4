/** The registry of all kinds of faults, by name. */
import { existsSync } from "node:fs";
import { DISPATCHER_FAULTS } from "./dispatcher-faults.ts";
import type { FaultKind } from "./fault.ts";
import { LINK_FAULTS } from "./link-faults.ts";
import { NATS_FAULTS } from "./nats-faults.ts";
import { REPLICATOR_FAULTS } from "./replicator-faults.ts";
import { WORKER_FAULTS } from "./worker-faults.ts";

export const FAULT_KINDS: Readonly<Record<string, FaultKind>> = {
  ...DISPATCHER_FAULTS,
  ...LINK_FAULTS,
  ...NATS_FAULTS,
  ...WORKER_FAULTS,
  ...REPLICATOR_FAULTS,
};
export const FAULT_NAMES: readonly string[] = Object.keys(FAULT_KINDS);

export function faultKind(name: string): FaultKind {
  const kind = Object.hasOwn(FAULT_KINDS, name) ? FAULT_KINDS[name] : undefined;
  if (kind === undefined) throw new Error(`no fault is called ${name}`);
  return kind;
}

/** Why this machine cannot strike or show a fault; undefined when it can. */
export function missingRight(name: string, platform: string = process.platform): string | undefined {
  if (platform === "win32") return "processes cannot be paused, and hear no signals, on Windows";
  if (name.startsWith("pause-") && !existsSync("/proc/self/stat"))
    return "there is no /proc here to show that a paused process stands still";
  return undefined;
}
