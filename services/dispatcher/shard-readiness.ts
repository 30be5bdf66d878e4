/** Which shards of a dispatcher are served, and what an operator should know of the others. */
import { OperatingError } from "../../contracts/errors.ts";
import type { NodeStatus } from "./node/node-ports.ts";

/**
 * Whether a dispatcher has begun: something is served, and what is not has halted or waits for somebody else.
 * Throws: OperatingError as the first node, when all have halted and no other shard `mayCome`.
 */
export function hasBegun(statuses: readonly NodeStatus[], peerId: string, mayCome: boolean): boolean {
  const [first] = statuses;
  if (!mayCome && first?.halt !== undefined && statuses.every(({ halt }) => halt !== undefined))
    throw new OperatingError(first.halt.code, `shard ${first.shard}: ${first.halt.message}`, { definite: true });
  const others = statuses.filter((status) => !isServing(status, peerId));
  return others.length < statuses.length && others.every(isHindered);
}

/** Why a shard is not served as it should be. */
export function problemsOf({ shard, mode, halt, alarms }: NodeStatus): string[] {
  const problems = alarms.filter(({ isServing }) => !isServing).map(({ code, message }) => `${code}: ${message}`);
  if (halt !== undefined) problems.unshift(`${halt.code}: ${halt.message}`);
  else if (mode !== "leading" && mode !== "following") problems.unshift(mode);
  return problems.map((problem) => `${shard}: ${problem}`);
}

/** What an operator should know of a shard that is served. */
export function noticesOf({ shard, alarms }: NodeStatus): string[] {
  return alarms.filter(({ isServing }) => isServing).map(({ code, message }) => `${shard}: ${code}: ${message}`);
}

/** Leading, or standing by for a leader that the log names. */
function isServing({ mode, leader }: NodeStatus, peerId: string): boolean {
  return mode === "leading" || (mode === "following" && leader !== "" && leader !== peerId);
}

/** Halted, or kept from starting by something that an operator is told of. */
function isHindered({ mode, halt, alarms }: NodeStatus): boolean {
  return halt !== undefined || (mode === "starting" && alarms.some(({ isServing }) => !isServing));
}
