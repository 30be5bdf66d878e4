/** Counts how often servers force their files to the disk, by strace; slow for them, so never in a run that is timed. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { findProgram } from "../../infra/nats-server/command.ts";
import { treeOf } from "./servers/processes.ts";

const ATTACH_MS_MAX = 10_000;
const POLL_MS = 10;

export interface FsyncCount {
  /** Lets the processes go and returns how many calls of fsync and fdatasync there were. */
  end(): Promise<number>;
}

/** Why it cannot be counted here; undefined where it can. */
export const straceMissing = async (): Promise<string | undefined> =>
  (await findProgram("strace", process.env["PATH"])) === undefined ? "strace is not installed" : undefined;

/** Throws when the processes cannot be traced. */
export async function countFsyncs(pids: readonly number[]): Promise<FsyncCount> {
  const all = pids.flatMap(treeOf);
  const args = ["-f", "-c", "-U", "calls,name", "-e", "trace=fsync,fdatasync", "-e", "signal=none"];
  const child = spawn("strace", [...args, ...all.flatMap((pid) => ["-p", String(pid)])], {
    stdio: ["ignore", "ignore", "pipe"],
    detached: true,
  });
  let text = "";
  child.stderr.on("data", (data: Buffer) => {
    text += data.toString();
  });
  const endsMs = performance.now() + ATTACH_MS_MAX;
  while (!all.every((pid) => isTraced(pid))) {
    if (child.exitCode !== null || performance.now() > endsMs) {
      child.kill("SIGKILL");
      throw new Error(`strace did not attach: ${text.trim()}`);
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
  return {
    end: async () => {
      const closed = once(child, "close");
      child.kill("SIGINT");
      await closed;
      return [...text.matchAll(/^\s*(\d+)\s+(?:fsync|fdatasync)$/gm)].reduce(
        (sum, [, calls]) => sum + Number(calls),
        0,
      );
    },
  };
}

function isTraced(pid: number): boolean {
  try {
    return !/^TracerPid:\s*0$/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return true; // it has ended
  }
}
