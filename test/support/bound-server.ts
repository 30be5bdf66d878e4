/** A foreign server as a child of this process, which dies with it: for PostgreSQL and Redis; nats-server has its own way. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { chownSync, closeSync, openSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { findWrappers } from "../../infra/nats-server/bound-child.ts";

/** Servers that refuse root get `nobody`, who exists everywhere and owns nothing. */
const NOBODY = 65_534;
const STOP_BOUND_MS = 10_000;
const READY_TRIES = 400;
const READY_RETRY_MS = 25;

export interface BoundServerRequest {
  readonly command: string;
  readonly args: readonly string[];
  /** Where it runs, and keeps `server.log`. */
  readonly folder: string;
  /** Run it as `nobody` when we are root. */
  readonly asNobody?: boolean;
  /** Asked again and again until it does not throw: whether the server answers. */
  readonly ready: () => Promise<void>;
}

export interface BoundServer {
  readonly pid: number;
  /** Ends it by the signal, by SIGKILL when that takes too long. Does nothing when it has ended. */
  end(signal: NodeJS.Signals): Promise<void>;
}

/** User and group for a server that must not run as root; empty when we are not root. */
export const nobody = (): { uid?: number; gid?: number } =>
  process.getuid?.() === 0 ? { uid: NOBODY, gid: NOBODY } : {};

/** Makes a folder that of `nobody`, where that is who the server will run as. */
export function giveToNobody(folder: string): void {
  const { uid, gid } = nobody();
  if (uid !== undefined && gid !== undefined) chownSync(folder, uid, gid);
}

/** Starts it and returns when it answers. Throws, with the end of its log, when it does not. */
export async function startBoundServer(request: BoundServerRequest): Promise<BoundServer> {
  const { command, args, folder, asNobody = false, ready } = request;
  const { setpriv } = await findWrappers();
  const logFile = join(folder, "server.log");
  const log = openSync(logFile, "a");
  const { uid } = asNobody ? nobody() : {};
  const identity = uid === undefined ? [] : [`--reuid=${uid}`, `--regid=${uid}`, "--clear-groups"];
  const words = setpriv === undefined ? [command] : [setpriv, "--pdeathsig", "KILL", ...identity, command];
  const [program = command, ...before] = words;
  // A session of its own: a Ctrl-C at the terminal is ours to act on.
  const child = spawn(program, [...before, ...args], {
    cwd: folder,
    detached: true,
    stdio: ["ignore", log, log],
    ...(setpriv === undefined && asNobody ? nobody() : {}),
  });
  closeSync(log);
  await once(child, "spawn");
  try {
    await untilReady(child, ready);
  } catch (error) {
    await end(child, "SIGKILL");
    const words = readFileSync(logFile, "utf8").trim().split("\n").slice(-5).join(" | ");
    throw new Error(`${command} did not start: ${words}`, { cause: error });
  }
  return { pid: child.pid ?? 0, end: (signal) => end(child, signal) };
}

async function untilReady(child: ChildProcess, ready: () => Promise<void>): Promise<void> {
  for (let tries = 1; ; tries += 1)
    try {
      return await ready();
    } catch (error) {
      if (tries === READY_TRIES || hasEnded(child)) throw error;
      await new Promise((resolve) => setTimeout(resolve, READY_RETRY_MS));
    }
}

const hasEnded = (child: ChildProcess): boolean => child.exitCode !== null || child.signalCode !== null;

async function end(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (hasEnded(child)) return;
  const exited = once(child, "exit");
  child.kill(signal);
  const timer = setTimeout(() => child.kill("SIGKILL"), STOP_BOUND_MS);
  await exited;
  clearTimeout(timer);
}
