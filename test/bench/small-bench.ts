/** Runs the suite in its small size for a test: every row either ran, or says what is missing on this machine. */
import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import type { Results } from "./results.ts";

const run = promisify(execFile);

/** Throws, with what it said, when a run failed or an item was lost. */
export async function smallBench(...args: readonly string[]): Promise<Results> {
  const script = join(import.meta.dirname, "main.ts");
  const all = [script, "--size", "small", "--json", "--placement", "free", ...args];
  const { stdout } = await run(process.execPath, all, { maxBuffer: 2 ** 24 });
  return JSON.parse(stdout) as Results;
}

/** What a test skips with: the rows that could not run for want of their server; undefined when all of them ran. */
export function leftOut({ notRun }: Results): string | undefined {
  const missing = notRun.filter(({ reason }) => reason.includes("not installed"));
  return missing.length === 0 ? undefined : [...new Set(missing.map(({ reason }) => reason))].join("; ");
}
