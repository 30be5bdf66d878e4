/** What the operating system says about a process that need not be our child; `/proc` is asked in this file only. */
import { readdir, readFile } from "node:fs/promises";

/** Whether a process with this id exists now; also one that ended and that nobody has waited for. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // EPERM: it lives and belongs to another user.
    return error instanceof Error && "code" in error && error.code === "EPERM";
  }
}

/** When the process started, in clock ticks since boot: tells it from a later one with the same id. Empty where there is no `/proc`. */
export async function startTicksOf(pid: number): Promise<string> {
  return (await statFields(`/proc/${pid}/stat`))[19] ?? "";
}

/** Whether all threads of the process stand still after a SIGSTOP. True where there is no `/proc` to ask. */
export async function isStopped(pid: number): Promise<boolean> {
  const threads = await readdir(`/proc/${pid}/task`).catch(() => []);
  const states = await Promise.all(threads.map((thread) => statFields(`/proc/${pid}/task/${thread}/stat`)));
  return states.every(([state]) => state === "T" || state === undefined);
}

/** The fields after the program's name, which stands in brackets and may hold spaces. The first is the state; the 20th the start time. */
async function statFields(path: string): Promise<readonly string[]> {
  const status = await readFile(path, "utf8").catch(() => "");
  return status === "" ? [] : status.slice(status.lastIndexOf(")") + 2).split(" ");
}
