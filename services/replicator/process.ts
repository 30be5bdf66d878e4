/** The replicator beside a small HTTP server: whether it is well, how far each sink has come, and its metrics. */
import type { FastifyInstance } from "fastify";
import { createHttpServer, listen } from "../runtime/http-server.ts";
import type { ProcessRole } from "../runtime/lifecycle.ts";
import type { Readiness } from "../runtime/role.ts";
import { METRICS_TYPE } from "../runtime/telemetry.ts";
import { createReplicatorRole, type ReplicatorDeps, type ReplicatorRole, type ReplicatorSettings } from "./role.ts";

export interface ReplicatorProcessSettings extends ReplicatorSettings {
  readonly httpHost: string;
  /** No server when absent. */
  readonly httpPort?: number | undefined;
}

export class ReplicatorProcess implements ProcessRole {
  readonly name = "replicator";
  readonly #settings: ReplicatorProcessSettings;
  readonly #deps: ReplicatorDeps;
  readonly #role: ReplicatorRole;
  #server: FastifyInstance | undefined;
  #url: string | undefined;

  constructor(settings: ReplicatorProcessSettings, deps: ReplicatorDeps) {
    this.#settings = settings;
    this.#deps = deps;
    this.#role = createReplicatorRole(settings, deps);
  }

  async start(): Promise<void> {
    await this.#role.start();
    const { httpHost, httpPort } = this.#settings;
    if (httpPort === undefined) return;
    const server = createHttpServer(this.#deps.reporter);
    this.#server = server;
    server.get("/healthz", () => ({ status: "ok" }));
    server.get("/readyz", (_request, reply) => {
      const readiness = this.#role.ready();
      return reply.code(readiness.ready ? 200 : 503).send(readiness);
    });
    server.get("/omnirelay/control/replication/checkpoint", () => ({ sinks: this.#role.status() }));
    server.get("/metrics", async (_request, reply) => reply.type(METRICS_TYPE).send(await this.#deps.telemetry.text()));
    this.#url = await listen(server, httpHost, httpPort);
  }

  async stop(): Promise<void> {
    await this.#server?.close();
    await this.#role.stop();
    await this.#deps.telemetry.close();
  }

  ready(): Readiness {
    const { ready, detail } = this.#role.ready();
    return { ready, detail: this.#url === undefined ? detail : `${detail}; ${this.#url}` };
  }
}
