/** What the system says about processes, ours or not: the tree below one, and what they have used. Empty or 0 for one that has ended. */
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";

/** Linux counts the time of a process in hundredths of a second. ms. */
const TICK_MS = 10;

/** The process and all below it. */
export function treeOf(pid: number): readonly number[] {
  const tree = [pid];
  for (const one of tree)
    for (const thread of list(`/proc/${one}/task`))
      tree.push(...words(`/proc/${one}/task/${thread}/children`).map(Number));
  return tree;
}

/** Processor time of the process and all below it, those that have ended included. ms, in steps of 10. */
export function cpuMsOf(pid: number): number {
  const [root = 0, ...children] = treeOf(pid).map((one, index) => ticksOf(one, index === 0));
  return (root + children.reduce((sum, ticks) => sum + ticks, 0)) * TICK_MS;
}

/** Processor time that the whole machine has used, with what its host took from it. ms. */
export function machineCpuMs(): number {
  const [, user, nice, system, , , irq, softirq, steal] = words("/proc/stat").map(Number);
  return [user, nice, system, irq, softirq, steal].reduce<number>((sum, ticks) => sum + (ticks ?? 0), 0) * TICK_MS;
}

function ticksOf(pid: number, withEnded: boolean): number {
  const stat = text(`/proc/${pid}/stat`);
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  // utime, stime, and those of children that were waited for.
  return fields.slice(11, withEnded ? 15 : 13).reduce((sum, field) => sum + Number(field), 0);
}

/** Bytes that the process and those below it had written to disks. */
export function bytesWrittenBy(pid: number): number {
  return treeOf(pid).reduce(
    (sum, one) => sum + Number(/^write_bytes: (\d+)/m.exec(text(`/proc/${one}/io`))?.[1] ?? 0),
    0,
  );
}

/** Memory of the process and all below it that is theirs alone, or the whole of a single one. Bytes. */
export function rssBytesOf(pid: number): number {
  const tree = treeOf(pid);
  const field = tree.length === 1 ? "Rss" : "Pss"; // PostgreSQL's processes share their buffers
  return tree.reduce(
    (sum, one) =>
      sum +
      Number(new RegExp(`^${field}:\\s+(\\d+) kB`, "m").exec(text(`/proc/${one}/smaps_rollup`))?.[1] ?? 0) * 1_024,
    0,
  );
}

/** What the files of a folder take. Bytes. */
export function bytesInFolder(folder: string): number {
  let bytes = 0;
  for (const name of list(folder)) {
    const path = join(folder, name);
    const stat = statSync(path, { throwIfNoEntry: false });
    if (stat?.isDirectory() === true) bytes += bytesInFolder(path);
    else bytes += (stat?.blocks ?? 0) * 512;
  }
  return bytes;
}

/**
 * Runs an action while this process is bound to one processor, which the processes that it starts inherit. `any` leaves them free.
 * Only the thread that starts them is bound, which is enough and easily undone.
 */
export async function onProcessor<Result>(processor: number | "any", action: () => Promise<Result>): Promise<Result> {
  if (processor === "any") return action();
  const before = availableParallelism();
  bind(String(processor));
  try {
    return await action();
  } finally {
    bind(`0-${before - 1}`);
  }
}

const bind = (processors: string): void => {
  execFileSync("taskset", ["-c", "-p", processors, String(process.pid)], { stdio: "ignore" });
};

const words = (path: string): string[] =>
  text(path)
    .split(" ")
    .filter((word) => word !== "");

function text(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return ""; // it has ended meanwhile
  }
}

function list(folder: string): readonly string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}
