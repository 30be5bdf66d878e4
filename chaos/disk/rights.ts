/** What a drill needs of the machine beyond Node and a nats-server, and in words what is missing: a drill that cannot run says why, and never passes. */
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { findProgram } from "../../infra/nats-server/command.ts";
import type { DrillReport } from "../drill.ts";

/** `volume`: file systems of our own in loop-mounted images. `trace`: failing the system calls of a process. */
export type Right = "volume" | "trace";

const DAEMON_FOLDERS = ["/usr/sbin", "/sbin"];
const PROGRAMS: Readonly<Record<Right, readonly string[]>> = {
  volume: ["mkfs.ext4", "mount", "umount", "cp", "truncate"],
  trace: ["strace"],
};
const TRIAL_TIMEOUT_MS = 10_000;

/** Why this machine cannot run a drill that needs these rights; undefined when it can. */
export async function missingRight(...rights: readonly Right[]): Promise<string | undefined> {
  if (process.platform !== "linux") return `this drill needs Linux, and this is ${process.platform}`;
  for (const right of rights) {
    for (const program of PROGRAMS[right])
      if ((await findProgram(program, process.env["PATH"], DAEMON_FOLDERS)) === undefined)
        return `there is no ${program} on this machine`;
    const reason = right === "volume" ? volumeProblem() : traceProblem();
    if (reason !== undefined) return reason;
  }
  return undefined;
}

function volumeProblem(): string | undefined {
  if (process.getuid?.() !== 0) return "mounting a volume needs root";
  if (!existsSync("/dev/loop-control")) return "there are no loop devices here (/dev/loop-control)";
  return undefined;
}

/** Tracing another process may be forbidden by the kernel or a container's profile: only a trial tells. */
function traceProblem(): string | undefined {
  try {
    execFileSync("strace", ["-e", "trace=none", "-o", "/dev/null", "true"], {
      timeout: TRIAL_TIMEOUT_MS,
      stdio: ["ignore", "ignore", "pipe"],
    });
    return process.getuid?.() === 0 ? undefined : "attaching to a running process needs root";
  } catch (error) {
    const words = String((error as { readonly stderr?: Buffer }).stderr ?? error).trim();
    return `strace cannot trace here: ${words}`;
  }
}

/** Of a drill that did not run. It has a problem, so that nobody takes it for passed. */
export function skippedReport(reason: string): DrillReport & { readonly skipped: string } {
  return { lost: 0, doubled: 0, skipped: reason, problems: [`SKIPPED: ${reason}`] };
}
