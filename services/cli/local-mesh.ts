/**
 * A NATS server and a dispatcher of this command alone, on a data folder. Both end with this process, also when it is killed, and the
 * dispatcher is started again when it dies: the server keeps its address, so that clients go on where they were.
 */
import { closeSync, openSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { OperatingError } from "../../contracts/errors.ts";
import { type BoundChild, findWrappers, startBoundChild } from "../../infra/nats-server/bound-child.ts";
import { type NatsServer, startNatsServer } from "../../infra/nats-server/embedded.ts";
import { pickFreePort } from "../../infra/nats-server/free-port.ts";
import { prepareDataFolder } from "../runtime/data-folder.ts";
import { processScript } from "./process-script.ts";

/** The same places as the mesh host uses, so that a folder can be served by either, one after the other. */
const NATS_FOLDER = "nats";
const DISPATCHER_FOLDER = "dispatcher";
const LOG_FILE = "dispatcher.log";
const LOCK_FILE = "dispatcher.lock";

const HOST = "127.0.0.1";
const RESTART_MS = 200;
/** A dispatcher that ends this soon, this often in a row, will not come up by being started again. ms. */
const QUICK_END_MS = 5_000;
const QUICK_ENDS_MAX = 3;
const STOP_TIMEOUT_MS = 10_000;
/** How long the server of a killed run may hold the folder before it counts as in use. ms. */
const FOLDER_WAIT_MS = 5_000;
const LOG_TAIL_LINES = 5;
/** The folder may be held by a dying server, and a port may be taken between its picking and its use. */
const PASSING_CODES: ReadonlySet<string> = new Set(["nats_server_store_in_use", "nats_server_port_taken"]);

export interface LocalMeshOptions {
  readonly dataDir: string;
  readonly region: string;
  readonly shard: string;
  /** Takes a line for the person at the terminal. */
  readonly report: (line: string) => void;
}

export class LocalMesh {
  readonly url: string;
  /** Aborts when the dispatcher cannot be kept running; its reason says why. */
  readonly failed: AbortSignal;
  readonly #server: NatsServer;
  readonly #folder: string;
  readonly #options: LocalMeshOptions;
  readonly #failure = new AbortController();
  #dispatcher: BoundChild | undefined;
  #isStopping = false;
  #over: Promise<void> = Promise.resolve();

  /** Throws: OperatingError when the folder is in use or unusable, or no server can be had (all definite). */
  static async start(options: LocalMeshOptions): Promise<LocalMesh> {
    const folder = prepareDataFolder(options.dataDir);
    const server = await startServer(join(folder, NATS_FOLDER), options.report);
    const mesh = new LocalMesh(server, folder, options);
    await mesh.#startDispatcher();
    mesh.#over = mesh.#keepRunning();
    return mesh;
  }

  private constructor(server: NatsServer, folder: string, options: LocalMeshOptions) {
    this.#server = server;
    this.#folder = folder;
    this.#options = options;
    this.url = server.url;
    this.failed = this.#failure.signal;
  }

  /** Stops the dispatcher, then the server. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    this.#dispatcher?.child.kill("SIGTERM");
    const timer = setTimeout(() => this.#dispatcher?.child.kill("SIGKILL"), STOP_TIMEOUT_MS);
    await this.#over;
    clearTimeout(timer);
    await this.#server.stop();
  }

  async #startDispatcher(): Promise<void> {
    const { region, shard } = this.#options;
    const logDescriptor = openSync(this.#path(LOG_FILE), "a");
    try {
      this.#dispatcher = await startBoundChild({
        command: process.execPath,
        args: [
          ...[processScript("dispatcher"), "--nats-url", this.url, "--region", region, "--shards", shard],
          ...["--peer-id", "dispatcher--ingest", "--data-dir", this.#path(DISPATCHER_FOLDER)],
          ...(this.#server.httpUrl === undefined ? [] : ["--nats-monitor-url", this.#server.httpUrl]),
        ],
        logDescriptor,
        lockFile: this.#path(LOCK_FILE),
        wrappers: await findWrappers(),
      });
    } finally {
      closeSync(logDescriptor);
    }
  }

  #path(name: string): string {
    return join(this.#folder, name);
  }

  /** Resolves when the last dispatcher has ended. */
  async #keepRunning(): Promise<void> {
    let quickEnds = 0;
    for (;;) {
      const startedAt = performance.now();
      await this.#dispatcher?.ended;
      if (this.#isStopping) return;
      quickEnds = performance.now() - startedAt < QUICK_END_MS ? quickEnds + 1 : 0;
      if (quickEnds > QUICK_ENDS_MAX || !this.#server.running) return this.#failure.abort(this.#whyNot());
      this.#options.report("the dispatcher ended; it is started again");
      await delay(RESTART_MS);
      if (this.#isStopping) return;
      await this.#startDispatcher();
    }
  }

  #whyNot(): OperatingError {
    const what = this.#server.running ? "the dispatcher does not stay up" : "the NATS server has ended";
    const tail = readFileSync(this.#path(LOG_FILE), "utf8").trimEnd().split("\n").slice(-LOG_TAIL_LINES);
    return new OperatingError(
      "local_mesh_failed",
      [`${what}; the end of ${this.#path(LOG_FILE)}:`, ...tail].join("\n"),
      { definite: true },
    );
  }
}

/** The server of a run that was killed a moment ago may still be on its way out. */
async function startServer(storeDir: string, report: (line: string) => void): Promise<NatsServer> {
  const deadline = performance.now() + FOLDER_WAIT_MS;
  for (;;) {
    try {
      return await startNatsServer({ storeDir, report, httpPort: await pickFreePort(HOST) });
    } catch (error) {
      const isPassing = error instanceof OperatingError && PASSING_CODES.has(error.code);
      if (!isPassing || performance.now() > deadline) throw error;
      await delay(RESTART_MS);
    }
  }
}
