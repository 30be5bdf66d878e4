/** Starts a server process that ends with its parent and holds a kernel lock on its folder; the only place that knows how each is had. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { findProgram, runCommand } from "./command.ts";

/** The exit code by which `flock` says that somebody else holds the lock. nats-server itself ends with 0 or 1. */
export const FOLDER_BUSY_EXIT_CODE = 75;

/**
 * Programs of util-linux that become the server (they exec it, so the process id stays).
 *
 * `setpriv`: the kernel kills the server when the thread that started it ends, SIGKILL included. Absent (macOS, Alpine's busybox): a
 * watching shell does it, which a SIGKILL of the whole process group would take along.
 * `flock`: the server's process itself holds the lock, so no crash leaves a stale one, also between containers of one host. Absent:
 * only the written record of the holder protects, which two starts in the same moment can get past.
 */
export interface Wrappers {
  readonly setpriv: string | undefined;
  readonly flock: string | undefined;
}

/** How the process ended: one of the two is not null. */
export interface ChildEnd {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface BoundChild {
  readonly child: ChildProcess;
  /** Resolves when the process has ended; never rejects. */
  readonly ended: Promise<ChildEnd>;
}

export interface BoundChildRequest {
  readonly command: string;
  readonly args: readonly string[];
  /** File descriptor for the child's stdout and stderr: a pipe would stall a server whose parent is busy. */
  readonly logDescriptor: number;
  readonly lockFile: string;
  readonly wrappers: Wrappers;
}

const WRAPPER_TIMEOUT_MS = 5_000;
const SYSTEM_FOLDERS = ["/usr/bin", "/bin"];

/** Which of the wrapping programs are here and can do what we need: busybox has both names and lacks the options. */
export async function findWrappers(): Promise<Wrappers> {
  const path = process.env["PATH"];
  const setpriv = await findProgram("setpriv", path, SYSTEM_FOLDERS);
  const flock = await findProgram("flock", path, SYSTEM_FOLDERS);
  return {
    setpriv: await usable(setpriv, ["--pdeathsig", "KILL", "true"]),
    // The running program's own file: locking it for a moment disturbs nobody, because nobody else uses it as a lock.
    flock: await usable(flock, [...flockOptions("--shared"), process.execPath, "true"]),
  };
}

/**
 * Starts the program in a session of its own and returns once it runs.
 *
 * Its own session, because a Ctrl-C at the terminal goes to the whole foreground group: the server would be gone before the process that
 * uses it could finish its work. Must be called from a thread that lives as long as the server shall: with `setpriv` it is the thread that counts.
 * Throws: the spawn error, when the program cannot be started.
 */
export async function startBoundChild(request: BoundChildRequest): Promise<BoundChild> {
  const [command, ...args] = wrappedCommand(request);
  assert(command !== undefined, "a command has a first word");
  const { logDescriptor } = request;
  const child = spawn(command, args, { stdio: ["ignore", logDescriptor, logDescriptor], detached: true });
  // Listened to from the first moment: a server that is refused ends before its caller gets to run again.
  const ended = new Promise<ChildEnd>((resolve) => {
    child.once("exit", (code, signal) => resolve({ code, signal }));
  });
  await once(child, "spawn");
  if (request.wrappers.setpriv === undefined) watchParent(child);
  return { child, ended };
}

function wrappedCommand({ command, args, lockFile, wrappers }: BoundChildRequest): readonly string[] {
  const dieWithParent = wrappers.setpriv === undefined ? [] : [wrappers.setpriv, "--pdeathsig", "KILL"];
  const lock = wrappers.flock === undefined ? [] : [wrappers.flock, ...flockOptions("--exclusive"), lockFile];
  return [...dieWithParent, ...lock, command, ...args];
}

function flockOptions(mode: "--shared" | "--exclusive"): readonly string[] {
  return [mode, "--nonblock", "--no-fork", "--conflict-exit-code", String(FOLDER_BUSY_EXIT_CODE)];
}

/** A shell that waits on a pipe from this process: the pipe closes however this process ends, and the shell then kills the server. */
function watchParent(child: ChildProcess): void {
  const script = 'read -r _; kill -KILL "$1" 2>/dev/null';
  const watcher = spawn("sh", ["-c", script, "sh", String(child.pid)], {
    stdio: ["pipe", "ignore", "ignore"],
    detached: true,
  });
  // Without a shell the server merely outlives a killed parent; that must not fail the start.
  watcher.on("error", () => {});
  watcher.unref();
  child.once("exit", () => watcher.kill("SIGKILL"));
}

async function usable(program: string | undefined, trial: readonly string[]): Promise<string | undefined> {
  if (program === undefined) return undefined;
  try {
    await runCommand(program, trial, { timeoutMs: WRAPPER_TIMEOUT_MS });
    return program;
  } catch {
    // It lacks an option that we need; the caller then does without.
    return undefined;
  }
}
