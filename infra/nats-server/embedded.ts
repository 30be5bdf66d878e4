/** Runs a real nats-server as a child process: for one-machine use by `services/mesh`, and for tests and drills that stop, kill and pause it. */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { join, resolve } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { OperatingError } from "../../contracts/errors.ts";
import { findWrappers } from "./bound-child.ts";
import type { ClusterSettings } from "./config.ts";
import { pickFreePort } from "./free-port.ts";
import {
  hasEnded,
  type LaunchedServer,
  type LaunchRequest,
  launchServer,
  type ServerExit,
  startFailed,
} from "./launch.ts";
import { isStopped } from "./process-state.ts";
import { inspectServerBinary, provisionNatsServer, reportToStandardError } from "./provision.ts";

export interface NatsServerOptions {
  /** Folder of the streams, the lock, the log and the record of who serves it. Made when absent. */
  readonly storeDir: string;
  /** Client port. 0 or absent: a free one, the same again after `restart()`. */
  readonly port?: number;
  /** Address to listen on. Default 127.0.0.1. */
  readonly host?: string;
  /** `always` (default): fsync before each acknowledgement. Or an interval such as `2m`: a power cut loses what was acknowledged since. */
  readonly syncInterval?: string;
  /** No white space; unique in a cluster. Default: `omnirelay-` and a random part. */
  readonly serverName?: string;
  /** Largest message. Bytes. Absent: the server's default, 1 MiB. */
  readonly maxPayloadBytes?: number;
  /** Port for monitoring over HTTP. Absent: none. */
  readonly httpPort?: number;
  /** Makes the server a member of a cluster. It is then ready when it listens; JetStream waits for the others. */
  readonly cluster?: ClusterSettings;
  /** Text in nats-server's own format, appended to the configuration: accounts, TLS, leaf nodes, limits. */
  readonly extraConfig?: string;
  /** Default `<storeDir>/nats-server.log`; appended to. */
  readonly logFile?: string;
  /** Path of the server. Absent: `provisionNatsServer()` finds or fetches one. */
  readonly binary?: string;
  /** See `VersionDemand`. Replicas are assumed in a cluster only. */
  readonly allowUnfencedReplicas?: boolean;
  /** Longest wait until the server answers. A store with much to recover needs more. ms. Default 30,000. */
  readonly readyTimeoutMs?: number;
  /** Takes a line of progress or warning. Default: standard error. */
  readonly report?: (line: string) => void;
}

/** A server under our control. It is `running` from a start until its process ends, for whatever reason. */
export interface NatsServer extends AsyncDisposable {
  readonly url: string;
  readonly host: string;
  readonly port: number;
  /** Base address of the monitoring pages; undefined without `httpPort`. */
  readonly httpUrl: string | undefined;
  readonly serverName: string;
  /** As the server itself says in its greeting. */
  readonly version: string;
  readonly storeDir: string;
  readonly logFile: string;
  /** Process id of the running, else of the last, server. */
  readonly pid: number;
  readonly running: boolean;
  /** Resolves when the process of the latest start has ended; also when it ends by itself. */
  readonly exited: Promise<ServerExit>;
  /** Ends it in an orderly way (SIGTERM), by SIGKILL when that takes too long. Does nothing when it does not run. */
  stop(): Promise<void>;
  /** Ends it by SIGKILL. Does nothing when it does not run. */
  kill(): Promise<void>;
  /** Freezes the process (SIGSTOP) and returns when it stands still: connections stay open and nothing answers. */
  pause(): Promise<void>;
  /** Lets a frozen process go on (SIGCONT). */
  resume(): void;
  /** Stops it if it runs, and starts it on the same port and store. */
  restart(): Promise<void>;
}

const READY_TIMEOUT_MS_DEFAULT = 30_000;
/** Longest wait for an orderly end; a server that syncs its stores needs well under a second. ms. */
const STOP_BOUND_MS = 10_000;
/** Pause between two looks at whether a paused server stands still, which takes microseconds. ms. */
const PAUSE_POLL_MS = 1;
/** How often another free port is tried when somebody took the one we had picked. */
const PORT_ATTEMPTS_MAX = 5;

/**
 * Starts a server and returns when it answers, JetStream included.
 *
 * It dies with the thread that started it, even by SIGKILL (see `Wrappers` for the limits), and it does not see a Ctrl-C at the terminal.
 * Throws: OperatingError, all definite: `nats_server_not_provisioned`, `nats_server_store_in_use`, `nats_server_port_taken`,
 * `nats_server_start_failed`, `nats_server_start_timeout`.
 */
export async function startNatsServer(options: NatsServerOptions): Promise<NatsServer> {
  const binary = await binaryFor(options);
  const wrappers = await findWrappers();
  const serverName = options.serverName ?? `omnirelay-${randomUUID().slice(0, 8)}`;
  const isPortOurs = options.port === undefined || options.port === 0;
  for (let attempt = 1; ; attempt += 1) {
    const port = isPortOurs ? await pickFreePort(options.host ?? "127.0.0.1") : (options.port ?? 0);
    const request = launchRequest({ ...options, port, serverName }, binary, wrappers);
    try {
      return new EmbeddedServer(request, await launchServer(request));
    } catch (error) {
      const isWorthAnother = isPortOurs && attempt < PORT_ATTEMPTS_MAX && isTaken(error, port);
      if (!isWorthAnother) throw error;
    }
  }
}

class EmbeddedServer implements NatsServer {
  readonly host: string;
  readonly port: number;
  readonly url: string;
  readonly httpUrl: string | undefined;
  readonly serverName: string;
  readonly storeDir: string;
  readonly logFile: string;
  readonly #request: LaunchRequest;
  #launched: LaunchedServer;
  /** The end of the latest `stop` or `restart`: they run one after the other. */
  #turn: Promise<void> = Promise.resolve();

  constructor(request: LaunchRequest, launched: LaunchedServer) {
    const { host, port, httpPort, serverName, storeDir } = request.settings;
    this.host = host;
    this.port = port;
    this.url = request.url;
    this.httpUrl = httpPort === undefined ? undefined : `http://${reachable(host)}:${httpPort}`;
    this.serverName = serverName;
    this.storeDir = storeDir;
    this.logFile = request.logFile;
    this.#request = request;
    this.#launched = launched;
  }

  get version(): string {
    return this.#launched.greeting.version;
  }

  get pid(): number {
    return this.#launched.pid;
  }

  get running(): boolean {
    return !hasEnded(this.#launched.child);
  }

  get exited(): Promise<ServerExit> {
    return this.#launched.exited;
  }

  stop(): Promise<void> {
    return this.#inTurn(() => endChild(this.#launched));
  }

  async kill(): Promise<void> {
    const { child, exited } = this.#launched;
    if (this.running) child.kill("SIGKILL");
    await exited;
  }

  async pause(): Promise<void> {
    assert(this.running, "only a running server can be paused");
    const { child, pid } = this.#launched;
    child.kill("SIGSTOP");
    // The signal is on its way when kill() returns; a server still answering then would spoil a drill that counts on its silence.
    while (!hasEnded(child) && !(await isStopped(pid))) await delay(PAUSE_POLL_MS);
  }

  resume(): void {
    assert(this.running, "only a running server can be resumed");
    this.#launched.child.kill("SIGCONT");
  }

  restart(): Promise<void> {
    return this.#inTurn(async () => {
      await endChild(this.#launched);
      this.#launched = await launchServer(this.#request);
    });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  #inTurn(action: () => Promise<void>): Promise<void> {
    const result = this.#turn.then(action);
    // A failed restart is its caller's to see; the next one in the queue starts from whatever state that left.
    this.#turn = result.catch(() => {});
    return result;
  }
}

async function endChild({ child, exited }: LaunchedServer): Promise<void> {
  if (hasEnded(child)) {
    await exited;
    return;
  }
  child.kill("SIGTERM");
  // A paused process takes the signal only when it goes on.
  child.kill("SIGCONT");
  const bound = new AbortController();
  const timer = delay(STOP_BOUND_MS, "late" as const, { signal: bound.signal }).catch(() => "ended" as const);
  if ((await Promise.race([exited, timer])) === "late") child.kill("SIGKILL");
  bound.abort();
  await exited;
}

type Resolved = NatsServerOptions & { readonly port: number; readonly serverName: string };

function launchRequest(options: Resolved, binary: string, wrappers: LaunchRequest["wrappers"]): LaunchRequest {
  const { port, serverName, maxPayloadBytes, httpPort, cluster, extraConfig } = options;
  const host = options.host ?? "127.0.0.1";
  const storeDir = resolve(options.storeDir);
  return {
    binary,
    wrappers,
    address: { host: reachable(host), port },
    url: `nats://${reachable(host)}:${port}`,
    logFile: resolve(options.logFile ?? join(storeDir, "nats-server.log")),
    readyTimeoutMs: options.readyTimeoutMs ?? READY_TIMEOUT_MS_DEFAULT,
    waitForJetStream: cluster === undefined,
    settings: {
      serverName,
      host,
      port,
      storeDir,
      syncInterval: options.syncInterval ?? "always",
      ...(maxPayloadBytes === undefined ? {} : { maxPayloadBytes }),
      ...(httpPort === undefined ? {} : { httpPort }),
      ...(cluster === undefined ? {} : { cluster }),
      ...(extraConfig === undefined ? {} : { extraConfig }),
    },
  };
}

async function binaryFor(options: NatsServerOptions): Promise<string> {
  const { binary, report = reportToStandardError, allowUnfencedReplicas = false } = options;
  const demand = { replicated: options.cluster !== undefined, allowUnfencedReplicas };
  if (binary === undefined) return (await provisionNatsServer({ ...demand, report })).path;
  await inspectServerBinary(binary, demand, report).catch((error: unknown) => {
    throw startFailed(error instanceof Error ? error.message : String(error), { cause: error });
  });
  return binary;
}

/** Where a server that listens on every address is reached from this machine. */
function reachable(host: string): string {
  return host === "0.0.0.0" || host === "::" ? "127.0.0.1" : host;
}

function isTaken(error: unknown, port: number): boolean {
  return error instanceof OperatingError && error.code === "nats_server_port_taken" && error.details["port"] === port;
}
