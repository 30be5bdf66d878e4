/** Starts processes of ours as a user does, reads their lines, and leaves none behind. */
import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

type Line = Readonly<Record<string, unknown>> & { readonly msg?: string };

export interface ProcessEnd {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface StartedProcess {
  readonly pid: number;
  /** Resolves with the first log line of this event, past or to come; rejects when the process ends without it. */
  line(event: string): Promise<Line>;
  kill(signal: NodeJS.Signals): void;
  readonly ended: Promise<ProcessEnd>;
}

const running = new Set<ChildProcess>();

/** Ends what a failed test has left; returns how many that were. */
export async function killLeftProcesses(): Promise<number> {
  const left = [...running];
  for (const child of left) child.kill("SIGKILL");
  await Promise.all(left.map((child) => new Promise((resolve) => child.once("close", resolve))));
  return left.length;
}

/** `script` is a path below the root. Variables of ours in the environment of the tests are left out. */
export function startProcess(
  script: string,
  args: readonly string[],
  env: Record<string, string> = {},
): StartedProcess {
  const inherited = Object.entries(process.env).filter(
    ([name]) => !name.startsWith("OMNIRELAY_") || name === "OMNIRELAY_NATS_SERVER",
  );
  const child = spawn(process.execPath, [...(env["NODE_FLAGS"]?.split(" ") ?? []), script, ...args], {
    cwd: ROOT,
    env: { ...Object.fromEntries(inherited), ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  running.add(child);
  const output = { stdout: "", stderr: "" };
  const lines: Line[] = [];
  const waiters = new Set<() => void>();
  for (const name of ["stdout", "stderr"] as const) {
    createInterface({ input: child[name] }).on("line", (text) => {
      output[name] += `${text}\n`;
      if (text.startsWith("{")) lines.push(JSON.parse(text));
      for (const waiter of waiters) waiter();
    });
  }
  const ended = new Promise<ProcessEnd>((resolve) => {
    child.once("close", (code, signal) => {
      running.delete(child);
      resolve({ code, signal, ...output });
    });
  });
  return {
    pid: child.pid ?? 0,
    ended,
    kill: (signal) => void child.kill(signal),
    line: (event) =>
      new Promise((resolve, reject) => {
        const look = (): void => {
          const found = lines.find(({ msg }) => msg === event);
          if (found === undefined) return;
          waiters.delete(look);
          resolve(found);
        };
        waiters.add(look);
        void ended.then(({ code, stderr }) => reject(new Error(`ended with ${code} before "${event}": ${stderr}`)));
        look();
      }),
  };
}

/** Runs a process to its end. */
export function runToItsEnd(
  script: string,
  args: readonly string[],
  env: Record<string, string> = {},
): Promise<ProcessEnd> {
  return startProcess(script, args, env).ended;
}
