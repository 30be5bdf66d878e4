/** Records who serves a store folder, beside the kernel lock: the lock is the truth where there is one, the record says who holds it. */
import { readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";

export interface StoreHolder {
  readonly pid: number;
  /** From `/proc`, in clock ticks since boot: tells a process from a later one with the same id. Empty where there is no `/proc`. */
  readonly startTicks: string;
  readonly url: string;
  readonly serverName: string;
}

const RECORD_NAME = "nats-server.json";

/** Writes the record whole or not at all. */
export async function recordHolder(storeDir: string, holder: Omit<StoreHolder, "startTicks">): Promise<void> {
  const path = join(storeDir, RECORD_NAME);
  const text = JSON.stringify({ ...holder, startTicks: await startTicksOf(holder.pid) });
  await writeFile(`${path}.${holder.pid}`, text);
  await rename(`${path}.${holder.pid}`, path);
}

/** Removes the record of a server that has ended; another server's record stays. */
export async function removeHolder(storeDir: string, pid: number): Promise<void> {
  if ((await readRecord(storeDir))?.pid === pid) await rm(join(storeDir, RECORD_NAME), { force: true });
}

/** Who serves the folder now; undefined when nobody does or the one on record has ended (a stale record after a SIGKILL). */
export async function liveHolder(storeDir: string): Promise<StoreHolder | undefined> {
  const holder = await readRecord(storeDir);
  if (holder === undefined || !isAlive(holder.pid)) return undefined;
  return (await startTicksOf(holder.pid)) === holder.startTicks ? holder : undefined;
}

async function readRecord(storeDir: string): Promise<StoreHolder | undefined> {
  try {
    const record = JSON.parse(await readFile(join(storeDir, RECORD_NAME), "utf8")) as Partial<StoreHolder>;
    const { pid, startTicks, url, serverName } = record;
    if (typeof pid !== "number" || typeof startTicks !== "string") return undefined;
    return { pid, startTicks, url: url ?? "unknown", serverName: serverName ?? "unknown" };
  } catch {
    // No record, or not one of ours: nobody is known to hold the folder.
    return undefined;
  }
}

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

async function startTicksOf(pid: number): Promise<string> {
  const status = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "");
  // The second field is the program's name in brackets and may hold spaces; the start time is field 22.
  return status.slice(status.lastIndexOf(")") + 2).split(" ")[19] ?? "";
}
