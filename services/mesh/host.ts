/** The mesh host: any set of roles in one process, started in order and stopped in the reverse order, with a NATS server where none is named. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { OperatingError } from "../../contracts/errors.ts";
import type { Reporter } from "../../contracts/ports.ts";
import type { NatsServer } from "../../infra/nats-server/embedded.ts";
import { createControlPlaneRole } from "../control-plane/role.ts";
import { createDispatcherRole } from "../dispatcher/role.ts";
import type { PlannedSink } from "../replication/mod.ts";
import { createReplicatorRole } from "../replicator/role.ts";
import { prepareDataFolder } from "../runtime/data-folder.ts";
import { partPeerId } from "../runtime/identity.ts";
import { EXIT_CODES, type ProcessRole } from "../runtime/lifecycle.ts";
import type { Logger } from "../runtime/logger.ts";
import type { MeshSettings } from "../runtime/process-settings.ts";
import type { Readiness, Role } from "../runtime/role.ts";
import { HTTP_PORT_DEFAULT, natsServers } from "../runtime/settings.ts";
import { createTelemetry } from "../runtime/telemetry.ts";
import { createSeederRole, type SeederRole } from "../seeder/role.ts";
import { createWorkerRole, type WorkerRole } from "../worker/role.ts";
import { startEmbeddedNats } from "./embedded-nats.ts";
import { runToEnd } from "./run-to-end.ts";

/** The data folder of a mesh that was given none and runs until it is stopped. */
const DATA_DIR = ".omnirelay";
/** How long a role may take to stop when there is no server that it could tell. ms. */
const LOST_STOP_MS = 500;

/** What the parts of a run share. */
export interface Mesh {
  readonly settings: MeshSettings;
  readonly reporter: Reporter;
  readonly natsUrl: string;
  readonly natsServer: {
    readonly url: string;
    readonly embedded: boolean;
    readonly version: string | null;
    readonly syncInterval: string | null;
  };
  readonly seeder: SeederRole;
  readonly workers: readonly WorkerRole[];
  /** Whether nothing was in the data folder before. */
  readonly isFresh: boolean;
  readonly startedAtMs: number;
}

export class MeshHost implements ProcessRole {
  readonly name = "mesh";
  readonly #settings: MeshSettings;
  readonly #sinks: readonly PlannedSink[];
  readonly #reporter: Logger;
  /** In the order of their starts; `stop` goes backwards. */
  readonly #roles: Role[] = [];
  readonly #workers: WorkerRole[] = [];
  readonly #stop = new AbortController();
  readonly #telemetry = createTelemetry();
  #seeder: SeederRole | undefined;
  #server: Promise<NatsServer> | undefined;
  #natsServer: Mesh["natsServer"] | undefined;
  #temporaryDir: string | undefined;
  /** The embedded server ended before its time: nothing can be settled or given back any more. */
  #isServerLost = false;
  #startedAtMs = 0;
  #isStarted = false;
  #stopped: Promise<void> | undefined;

  constructor(settings: MeshSettings, sinks: readonly PlannedSink[], reporter: Logger) {
    this.#settings = settings;
    this.#sinks = sinks;
    this.#reporter = reporter;
  }

  async start(): Promise<void> {
    const dataDir = prepareDataFolder(this.#dataDir());
    const nats = await this.#nats(dataDir);
    this.#natsServer = nats.server;
    this.#startedAtMs = performance.now();
    for (const role of this.#createRoles(dataDir, nats.server.url, nats.monitorUrl)) {
      this.#stop.signal.throwIfAborted();
      this.#roles.push(role);
      await role.start();
      this.#reporter.info("role_started", { role: role.name, detail: role.ready().detail });
    }
    this.#isStarted = true;
  }

  stop(): Promise<void> {
    this.#stop.abort(new OperatingError("shutting_down", "the mesh stops", { definite: true }));
    this.#stopped ??= this.#close();
    return this.#stopped;
  }

  ready(): Readiness {
    if (!this.#isStarted) return { ready: false, detail: "starting" };
    const statuses = this.#roles.map((role) => ({ name: role.name, ...role.ready() }));
    const detail = statuses.map(({ name, detail: text }) => `${name}: ${text}`).join("; ");
    return { ready: statuses.every(({ ready }) => ready), detail };
  }

  /** With --exit when the items are done; else only when the embedded server ends, which is an error. */
  async finished(): Promise<number> {
    const ended = this.#serverEnded();
    if (!this.#settings.exit || this.#seeder === undefined || this.#natsServer === undefined) return ended;
    const mesh: Mesh = {
      settings: this.#settings,
      reporter: this.#reporter,
      natsUrl: this.#natsServer.url,
      natsServer: this.#natsServer,
      seeder: this.#seeder,
      workers: this.#workers,
      isFresh: this.#temporaryDir !== undefined,
      startedAtMs: this.#startedAtMs,
    };
    return Promise.race([runToEnd(mesh, this.#stop.signal), ended]);
  }

  /** A run that was to end with all its items done, and was stopped before. */
  codeWhenStopped(): number {
    return this.#settings.exit ? EXIT_CODES.failed : EXIT_CODES.ok;
  }

  #dataDir(): string {
    const { dataDir, exit } = this.#settings;
    if (dataDir !== undefined) return dataDir;
    if (!exit) return DATA_DIR;
    this.#temporaryDir = mkdtempSync(join(tmpdir(), "omnirelay-"));
    return this.#temporaryDir;
  }

  async #nats(dataDir: string): Promise<{ server: Mesh["natsServer"]; monitorUrl: string | undefined }> {
    const { natsUrl, natsMonitorUrl, syncInterval } = this.#settings;
    if (natsUrl !== undefined)
      return {
        server: { url: natsUrl, embedded: false, version: null, syncInterval: null },
        monitorUrl: natsMonitorUrl,
      };
    this.#server = startEmbeddedNats({ dataDir, syncInterval }, this.#reporter);
    const { url, version, httpUrl } = await this.#server;
    this.#reporter.info("nats_server_started", { url, version, syncInterval });
    return { server: { url, embedded: true, version, syncInterval }, monitorUrl: natsMonitorUrl ?? httpUrl };
  }

  #createRoles(dataDir: string, natsUrl: string, natsMonitorUrl: string | undefined): readonly Role[] {
    const { roles, peerId, workers } = this.#settings;
    const part = (
      name: string,
    ): { reporter: Logger; settings: MeshSettings & { natsUrl: string; peerId: string; dataDir: string } } => ({
      reporter: this.#reporter.child({ role: name }),
      settings: { ...this.#settings, natsUrl, natsMonitorUrl, dataDir, peerId: partPeerId(peerId, name) },
    });
    const created: Role[] = [];
    if (roles.includes("dispatcher")) {
      const { reporter, settings } = part("dispatcher");
      created.push(
        createDispatcherRole(
          { ...settings, natsUrl: natsServers(natsUrl), dataDir: join(dataDir, "dispatcher") },
          { reporter },
        ),
      );
    }
    if (roles.includes("control-plane")) {
      const { reporter, settings } = part("control-plane");
      const others = () =>
        this.#roles
          .filter(({ name }) => name !== "control-plane")
          .map((role) => ({ name: role.name, ...role.ready() }));
      // A run with an end is over before anybody knows its port: it must not fail because another mesh has the usual one.
      const httpPort = settings.httpPort ?? (settings.exit ? 0 : HTTP_PORT_DEFAULT);
      created.push(
        createControlPlaneRole({ ...settings, httpPort }, { reporter, roles: others, telemetry: this.#telemetry }),
      );
    }
    if (roles.includes("replicator")) {
      const { reporter, settings } = part("replicator");
      const own = { ...settings, dataDir: join(dataDir, "replicator") };
      created.push(createReplicatorRole(own, { reporter, sinks: this.#sinks, telemetry: this.#telemetry }));
    }
    for (let index = 1; roles.includes("worker") && index <= workers; index += 1) {
      const { reporter, settings } = part(`worker-${index}`);
      this.#workers.push(createWorkerRole(settings, { reporter }));
    }
    created.push(...this.#workers);
    if (roles.includes("seeder")) {
      const { reporter, settings } = part("seeder");
      this.#seeder = createSeederRole(settings, { reporter });
      created.push(this.#seeder);
    }
    return created;
  }

  /** Rejects when the embedded server ends while we still need it. */
  async #serverEnded(): Promise<never> {
    const server = await this.#server;
    if (server !== undefined) {
      const exit = await server.exited;
      this.#isServerLost = true;
      if (!this.#stop.signal.aborted)
        throw new OperatingError(
          "nats_server_ended",
          `the embedded nats-server ended (${JSON.stringify(exit)}): see ${server.logFile}`,
          {
            definite: false,
            details: { exit },
          },
        );
    }
    return new Promise<never>(() => {});
  }

  /** Seeder, workers, control plane, dispatcher, then the server that they all used. A part that fails to stop keeps none from it. */
  async #close(): Promise<void> {
    const failures: unknown[] = [];
    const attempt = async (name: string, stop: () => Promise<void>): Promise<void> => {
      try {
        await (this.#isServerLost ? Promise.race([stop(), delay(LOST_STOP_MS)]) : stop());
        this.#reporter.debug("role_stopped", { role: name });
      } catch (error) {
        this.#reporter.error("role_stop_failed", { role: name, error });
        failures.push(error);
      }
    };
    const backwards = this.#roles.toReversed();
    for (const name of new Set(backwards.map((role) => role.name))) {
      // The workers stop side by side: each may take as long as its handlers.
      const group = backwards.filter((role) => role.name === name);
      await Promise.all(group.map((role) => attempt(name, () => role.stop())));
    }
    await this.#telemetry.close();
    const server = await this.#server?.catch(() => undefined);
    if (server !== undefined) await attempt("nats-server", () => server.stop());
    if (this.#temporaryDir !== undefined) rmSync(this.#temporaryDir, { recursive: true, force: true });
    if (failures.length > 0) throw failures[0];
  }
}
