/** One life of a server process, from its configuration file to the moment it answers; a restart is a second launch on the same store. */
import type { ChildProcess } from "node:child_process";
import { constants } from "node:fs";
import { type FileHandle, mkdir, mkdtemp, open, readdir, rename, rm, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { OperatingError } from "../../contracts/errors.ts";
import {
  type BoundChild,
  type ChildEnd,
  FOLDER_BUSY_EXIT_CODE,
  startBoundChild,
  type Wrappers,
} from "./bound-child.ts";
import { renderServerConfig, type ServerSettings } from "./config.ts";
import { type Address, askJetStream, readGreeting, type ServerGreeting } from "./probe.ts";
import { isAlive } from "./process-state.ts";
import { liveHolder, recordHolder, removeHolder } from "./store-record.ts";

export interface LaunchRequest {
  readonly binary: string;
  readonly settings: Omit<ServerSettings, "portsFolder">;
  /** Where a client of this machine reaches the server. */
  readonly address: Address;
  readonly url: string;
  readonly logFile: string;
  readonly wrappers: Wrappers;
  readonly readyTimeoutMs: number;
  /** Whether ready includes an answer of the JetStream API. A member of a cluster has none before the others have started. */
  readonly waitForJetStream: boolean;
}

/** How a server process ended. */
export interface ServerExit extends ChildEnd {
  /** The last line of its log, without time and process id. */
  readonly lastLogLine: string;
}

export interface LaunchedServer {
  readonly child: ChildProcess;
  readonly pid: number;
  readonly greeting: ServerGreeting;
  /** Resolves when the process has ended and its files are put away; never rejects. */
  readonly exited: Promise<ServerExit>;
}

/** Pause between two looks at a starting server. ms. */
const POLL_MS = 10;
/** Longest wait for one answer of a starting server; a stopped or swapping one must not use up the whole time. ms. */
const PROBE_TIMEOUT_MS = 1_000;
/** A log above this size is put aside before the server appends to it. Bytes. */
const LOG_BYTES_MAX = 16 * 1024 * 1024;
/** How much of the log's end is searched for the reason of a failure. Bytes. */
const LOG_TAIL_BYTES = 64 * 1024;

/**
 * Starts the server and waits until it answers.
 *
 * Throws: OperatingError, all definite (no server runs afterwards): `nats_server_store_in_use`, `nats_server_port_taken`,
 * `nats_server_start_failed`, `nats_server_start_timeout`. The message ends with the server's own log line.
 */
export async function launchServer(request: LaunchRequest): Promise<LaunchedServer> {
  const { storeDir } = request.settings;
  await mkdir(storeDir, { recursive: true, mode: 0o700 });
  if (request.wrappers.flock === undefined) await refuseLiveHolder(storeDir);
  const folder = await mkdtemp(join(storeDir, `launch-${process.pid}-`));
  try {
    return await launchIn(folder, request);
  } catch (error) {
    await rm(folder, { recursive: true, force: true });
    throw error;
  }
}

async function launchIn(folder: string, request: LaunchRequest): Promise<LaunchedServer> {
  const { settings } = request;
  const configFile = join(folder, "nats-server.conf");
  await writeFile(configFile, renderServerConfig({ ...settings, portsFolder: folder }), { mode: 0o600 });
  const log = await openLog(request.logFile);
  const logStart = (await log.stat()).size;
  const { child, ended } = await spawnServer(request, configFile, log);
  const exited = ended.then((end) => putAway(end, child.pid ?? 0, folder, request, logStart));
  const launch: Launch = { ...request, child, folder, logStart, exited };
  try {
    const greeting = await untilReady(launch);
    const { pid = 0 } = child;
    await recordHolder(settings.storeDir, { pid, url: request.url, serverName: settings.serverName });
    await removeStaleFolders(settings.storeDir);
    return { child, pid, greeting, exited: launch.exited };
  } catch (error) {
    child.kill("SIGKILL");
    await launch.exited;
    throw error;
  }
}

async function spawnServer(request: LaunchRequest, configFile: string, log: FileHandle): Promise<BoundChild> {
  const { binary: command, settings, wrappers } = request;
  const lockFile = join(settings.storeDir, "nats-server.lock");
  try {
    return await startBoundChild({
      command,
      args: ["-c", configFile],
      logDescriptor: log.fd,
      lockFile,
      wrappers,
    });
  } catch (error) {
    throw startFailed(`${command} cannot be started: ${String(error)}`, { cause: error });
  } finally {
    await log.close();
  }
}

interface Launch extends LaunchRequest {
  readonly child: ChildProcess;
  readonly folder: string;
  /** Length of the log before this launch. Bytes. */
  readonly logStart: number;
  readonly exited: Promise<ServerExit>;
}

async function untilReady(launch: Launch): Promise<ServerGreeting> {
  const deadline = performance.now() + launch.readyTimeoutMs;
  let missing = "";
  while (performance.now() < deadline) {
    if (hasEnded(launch.child)) throw await exitError(launch);
    const state = await readiness(launch);
    if (typeof state !== "string") return state;
    missing = state;
    await delay(POLL_MS);
  }
  const lines = await logLinesSince(launch.logFile, launch.logStart);
  throw new OperatingError(
    "nats_server_start_timeout",
    `nats-server was not ready within ${launch.readyTimeoutMs} ms (${missing}); its last log line: ${lines.at(-1) ?? "none"}`,
    { definite: true, details: { logFile: launch.logFile, missing } },
  );
}

/** The greeting when the server is ready, else what is still missing. */
async function readiness(launch: Launch): Promise<ServerGreeting | string> {
  // The ports file proves that *our* process listens: on a taken port a foreign server would answer the greeting just as well.
  const names = await readdir(launch.folder);
  if (!names.some((name) => name.endsWith(".ports"))) return "it does not listen yet";
  try {
    const greeting = await readGreeting(launch.address, PROBE_TIMEOUT_MS);
    if (!launch.waitForJetStream) return greeting;
    const answer = await askJetStream(launch.address, PROBE_TIMEOUT_MS);
    return answer.kind === "ready" ? greeting : `JetStream does not answer: ${answer.reason}`;
  } catch (error) {
    return `it does not answer: ${error instanceof Error ? error.message : String(error)}`;
  }
}

async function exitError(launch: Launch): Promise<OperatingError> {
  const { logFile, settings } = launch;
  const { code, signal } = await launch.exited;
  if (code === FOLDER_BUSY_EXIT_CODE && launch.wrappers.flock !== undefined) return storeInUse(settings.storeDir);
  const lines = await logLinesSince(logFile, launch.logStart);
  const reason = lines.findLast((line) => /\[(FTL|ERR)\]|panic:|bind:/.test(line)) ?? lines.at(-1) ?? "it wrote no log";
  const taken = /:(\d+)[^\d]*bind: address already in use/.exec(reason);
  if (taken !== null) {
    const port = Number(taken[1]);
    return new OperatingError(
      "nats_server_port_taken",
      `port ${port} on ${settings.host} is taken by another process; nats-server says: ${reason}`,
      { definite: true, details: { port, host: settings.host, logLine: reason } },
    );
  }
  const ending = signal === null ? `code ${code}` : signal;
  return startFailed(`nats-server ended with ${ending} while it started; it says: ${reason}`, {
    details: { logFile, logLine: reason },
  });
}

/** The error for a server that did not start for a reason that has no code of its own. */
export function startFailed(
  message: string,
  extra: { readonly cause?: unknown; readonly details?: Readonly<Record<string, unknown>> },
): OperatingError {
  return new OperatingError("nats_server_start_failed", message, { definite: true, ...extra });
}

async function refuseLiveHolder(storeDir: string): Promise<void> {
  if ((await liveHolder(storeDir)) !== undefined) throw await storeInUse(storeDir);
}

async function storeInUse(storeDir: string): Promise<OperatingError> {
  const holder = await liveHolder(storeDir);
  const who =
    holder === undefined
      ? "another nats-server"
      : `nats-server ${holder.serverName} (pid ${holder.pid}, ${holder.url})`;
  return new OperatingError(
    "nats_server_store_in_use",
    `${storeDir} is in use by ${who}: two servers on one store destroy it. Stop that one, or give this one its own folder.`,
    { definite: true, details: { storeDir, ...(holder === undefined ? {} : { holder }) } },
  );
}

async function putAway(
  end: ChildEnd,
  pid: number,
  folder: string,
  { settings, logFile }: LaunchRequest,
  logStart: number,
): Promise<ServerExit> {
  try {
    await rm(folder, { recursive: true, force: true });
    await removeHolder(settings.storeDir, pid);
    const lines = await logLinesSince(logFile, logStart);
    return { ...end, lastLogLine: lines.at(-1) ?? "" };
  } catch {
    // The process has ended whatever becomes of its files; whoever waits for the end must learn of it.
    return { ...end, lastLogLine: "" };
  }
}

/** Whether the process has ended and has been waited for. */
export function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null;
}

async function openLog(path: string): Promise<FileHandle> {
  await mkdir(dirname(path), { recursive: true });
  const size = (await stat(path).catch(() => undefined))?.size ?? 0;
  if (size > LOG_BYTES_MAX) await rename(path, `${path}.previous`);
  return open(path, constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT, 0o600);
}

/** The lines of one launch, at most the last `LOG_TAIL_BYTES`, without process id and time. */
async function logLinesSince(path: string, start: number): Promise<readonly string[]> {
  const file = await open(path, "r").catch(() => undefined);
  if (file === undefined) return [];
  try {
    const { size } = await file.stat();
    const from = Math.max(start, size - LOG_TAIL_BYTES, 0);
    const { buffer, bytesRead } = await file.read({ buffer: Buffer.alloc(Math.max(size - from, 0)), position: from });
    const lines = buffer.toString("utf8", 0, bytesRead).split("\n");
    return lines.map((line) => line.replace(/^\[\d+\] \S+ \S+ /, "").trim()).filter((line) => line !== "");
  } finally {
    await file.close();
  }
}

/** Folders of launches whose parent was killed; one that lives is about to be refused, or is this one. */
async function removeStaleFolders(storeDir: string): Promise<void> {
  for (const name of await readdir(storeDir)) {
    const parent = /^launch-(\d+)-/.exec(name);
    if (parent !== null && !isAlive(Number(parent[1])))
      await rm(join(storeDir, name), { recursive: true, force: true });
  }
}
