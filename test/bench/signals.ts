/** What a benchmark leaves behind, also when it is ended from outside: nothing. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** With the exit code that a shell gives for each. A terminal that is closed hangs up. */
const SIGNALS = [["SIGHUP", 129] as const, ["SIGINT", 130] as const, ["SIGTERM", 143] as const];

/** Runs `end` at a signal, and then ends the process. Never resolves: whoever fails because of `end` waits for it. */
export function endAtSignals(end: () => Promise<unknown>): Promise<never> {
  return new Promise(() => {
    for (const [signal, code] of SIGNALS)
      process.once(signal, () => {
        process.stderr.write(`${signal}: ending the servers\n`);
        void end().finally(() => process.exit(code));
      });
  });
}

export type End = () => unknown;

/**
 * Runs a benchmark in a temporary folder. `ends`: what it has started, ended in the opposite order when it is over, fails, or a signal comes; then
 * the folder goes.
 */
export async function inFolder(prefix: string, run: (folder: string, ends: End[]) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), prefix));
  const ends: End[] = [];
  const end = async (): Promise<void> => {
    for (let last = ends.pop(); last !== undefined; last = ends.pop()) await last();
    rmSync(folder, { recursive: true, force: true });
  };
  let isSignalled = false;
  const signalled = endAtSignals(() => {
    isSignalled = true;
    return end();
  });
  try {
    await run(folder, ends);
  } finally {
    // Its servers are being ended under it: what it throws is a consequence.
    if (isSignalled) await signalled;
    await end();
  }
}
