/** Real processes for tests: started, watched line by line, killed; none outlives its test. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";

const ROOT = join(import.meta.dirname, "../..");
/** How long a line is waited for. ms. */
const LINE_TIMEOUT_MS = 30_000;

export interface RunningProcess {
  readonly child: ChildProcess;
  /** Everything that it wrote to standard output and standard error so far. */
  readonly lines: readonly string[];
  /** The first line, written already or to come, that holds the text. Fails when the process ends before. */
  line(text: string): Promise<string>;
  /** Its exit code once it has ended and all its lines have come; null when a signal ended it. */
  readonly ended: Promise<number | null>;
  /** Sends a signal; SIGKILL and SIGTERM wait for the end. */
  signal(signal: NodeJS.Signals): Promise<void>;
  write(line: string): void;
}

export type Cleanup = (dispose: () => Promise<void>) => void;

/** Starts a script of the project, or of a test, under this Node. */
export function startProcess(script: string, args: readonly string[], cleanup: Cleanup): RunningProcess {
  const child = spawn(process.execPath, [join(ROOT, script), ...args], {
    cwd: ROOT,
    stdio: ["pipe", "pipe", "pipe"],
    env: { ...process.env, NODE_NO_WARNINGS: "1" },
  });
  const lines: string[] = [];
  const listeners = new Set<() => void>();
  const tell = (): void => {
    for (const listener of [...listeners]) listener();
  };
  for (const stream of [child.stdout, child.stderr])
    createInterface({ input: stream }).on("line", (line) => {
      lines.push(line);
      tell();
    });
  const exited = once(child, "exit").then(tell);
  const ended = once(child, "close").then(() => child.exitCode);
  const isOver = (): boolean => child.exitCode !== null || child.signalCode !== null;
  const running: RunningProcess = {
    child,
    lines,
    ended,
    line: (text) =>
      new Promise((resolve, reject) => {
        const timer = setTimeout(
          () => done(new Error(`no line with ${text} in ${LINE_TIMEOUT_MS} ms:\n${lines.join("\n")}`)),
          LINE_TIMEOUT_MS,
        );
        const done = (outcome: string | Error): void => {
          clearTimeout(timer);
          listeners.delete(look);
          if (outcome instanceof Error) reject(outcome);
          else resolve(outcome);
        };
        const look = (): void => {
          const found = lines.find((line) => line.includes(text));
          if (found !== undefined) done(found);
          else if (isOver()) done(new Error(`${script} ended before a line with ${text}:\n${lines.join("\n")}`));
        };
        listeners.add(look);
        look();
      }),
    signal: async (signal) => {
      if (isOver()) return;
      child.kill(signal);
      if (signal === "SIGKILL" || signal === "SIGTERM") await exited;
    },
    write: (line) => void child.stdin.write(`${line}\n`),
  };
  cleanup(async () => {
    child.kill("SIGCONT");
    await running.signal("SIGKILL");
  });
  return running;
}
