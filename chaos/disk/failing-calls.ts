/** Makes system calls of a running process fail by strace, as a failing disk would; the process needs no help and may be of any kind. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { pause } from "../drill.ts";

export interface FailingCallsOptions {
  /** Of the process whose calls fail, all threads. */
  readonly pid: number;
  /** `fsync,fdatasync`. */
  readonly calls: string;
  readonly error: "EIO" | "ENOSPC";
  /** Only calls on these files fail; absent: all. They exist. */
  readonly paths?: readonly string[];
  /** Takes strace's own record of the calls that failed. */
  readonly logFile: string;
}

const ATTACH_MS_MAX = 10_000;
const POLL_MS = 10;

/** Calls fail from `start` to `end`; the process goes on as it was afterwards. */
export class FailingCalls {
  readonly #child: ChildProcess;
  readonly #logFile: string;

  /** Resolves when the process is under strace's hand. Throws when it cannot be. */
  static async start({ pid, calls, error, paths = [], logFile }: FailingCallsOptions): Promise<FailingCalls> {
    const child = spawn(
      "strace",
      [
        ...["-f", "-qq", "-o", logFile, "-e", `trace=${calls}`, "-e", "signal=none"],
        ...["-e", `inject=${calls}:error=${error}`, ...paths.flatMap((path) => ["-P", path]), "-p", String(pid)],
      ],
      { stdio: ["ignore", "ignore", "pipe"] },
    );
    let words = "";
    child.stderr?.on("data", (data: Buffer) => {
      words += data.toString();
    });
    const startMs = performance.now();
    while (tracerOf(pid) !== child.pid) {
      if (child.exitCode !== null || performance.now() - startMs > ATTACH_MS_MAX) {
        child.kill("SIGKILL");
        throw new Error(`strace did not attach to process ${pid}: ${words.trim()}`);
      }
      await pause(POLL_MS);
    }
    return new FailingCalls(child, logFile);
  }

  private constructor(child: ChildProcess, logFile: string) {
    this.#child = child;
    this.#logFile = logFile;
  }

  /** Calls that have failed so far. */
  get count(): number {
    return readFileSync(this.#logFile, "utf8").split("(INJECTED)").length - 1;
  }

  /** Lets the process go. Does nothing when strace has ended, with the process or by an earlier call. */
  async end(): Promise<void> {
    const child = this.#child;
    if (child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, "exit");
    child.kill("SIGTERM");
    await exited;
  }
}

/** Process id of who traces the process; 0 for nobody. */
function tracerOf(pid: number): number {
  try {
    return Number(/^TracerPid:\s*(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0);
  } catch {
    return 0; // it has ended
  }
}
