/** Tells a log that answers questions but takes no appends: a full or failing disk leaves a server that says that it is healthy. */
import type { Alarm } from "../../../contracts/ports.ts";

/** Far above any append that merely is slow, and below what an operator's probe waits for. ms. */
const WEDGED_MS = 4_000;

/** `unackedMs`: how long the frame in flight has been without an answer. */
export function wedgeAlarms(unackedMs: number): readonly Alarm[] {
  if (unackedMs < WEDGED_MS) return [];
  const seconds = Math.floor(unackedMs / 1_000);
  const message = `no append has been answered for ${seconds} s: see whether the stream has a leader, and its server's disk; a server whose disk failed takes appends again only after a restart`;
  return [{ code: "log_wedged", message, isServing: false }];
}
