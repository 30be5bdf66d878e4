/** Records who serves a store folder, beside the kernel lock: the lock is the truth where there is one, the record says who holds it. */
import { readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { isAlive, startTicksOf } from "./process-state.ts";

export interface StoreHolder {
  readonly pid: number;
  /** See `startTicksOf`. */
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
