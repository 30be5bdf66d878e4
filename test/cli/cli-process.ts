/** Runs the command as a process, as a user does, for tests that kill it or that need its exit code and its two outputs apart. */
import { type ChildProcess, spawn } from "node:child_process";
import { join } from "node:path";

const MAIN = join(import.meta.dirname, "../../services/cli/main.ts");

export interface CliProcess {
  readonly child: ChildProcess;
  /** What came on standard output so far. */
  out(): string;
  /** What came on standard error so far. */
  notes(): string;
  readonly ended: Promise<{
    readonly code: number | null;
    readonly signal: NodeJS.Signals | null;
    readonly out: string;
    readonly notes: string;
  }>;
}

export function startCli(args: readonly string[], cleanup: (dispose: () => Promise<void>) => void): CliProcess {
  // A mesh that the caller's own shell points at is none of ours.
  const { OMNIRELAY_NATS_URL: _url, OMNIRELAY_REGION: _region, ...inherited } = process.env;
  const env = { ...inherited, NODE_NO_WARNINGS: "1" };
  const child = spawn(process.execPath, [MAIN, ...args], { stdio: ["ignore", "pipe", "pipe"], env });
  let out = "";
  let notes = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    out += text;
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    notes += text;
  });
  const ended: CliProcess["ended"] = new Promise((resolve) =>
    child.once("close", (code, signal) => resolve({ code, signal, out, notes })),
  );
  cleanup(async () => {
    child.kill("SIGKILL");
    await ended;
  });
  return { child, out: () => out, notes: () => notes, ended };
}
