/** The control plane as a role: what runs, what serves and what the demo has built, over HTTP for people and probes. */
import type { NatsConnection } from "@nats-io/transport-node";
import type { FastifyInstance } from "fastify";
import { z } from "zod";
import { OperatingError } from "../../contracts/errors.ts";
import type { Reporter } from "../../contracts/ports.ts";
import { REGISTRY_BUCKET } from "../../contracts/subjects.ts";
import { RELEASE_VERSION } from "../../contracts/version.ts";
import { LeaseClient } from "../client/lease-client.ts";
import { readCheckpoints } from "../jetstream/checkpoints.ts";
import { connectNats } from "../jetstream/connect.ts";
import { NatsKv } from "../jetstream/nats-kv.ts";
import { NatsNet } from "../jetstream/nats-net.ts";
import { QuorumWatch } from "../jetstream/quorum-watch.ts";
import { checkServer, type Finding } from "../jetstream/server-check.ts";
import { createClock } from "../runtime/clock.ts";
import { createHttpServer, HttpRefusal, listen } from "../runtime/http-server.ts";
import { identityOf } from "../runtime/identity.ts";
import type { Readiness, Role } from "../runtime/role.ts";
import { natsServers } from "../runtime/settings.ts";
import { METRICS_TYPE, type Telemetry } from "../runtime/telemetry.ts";
import { CatalogPages } from "./catalog-pages.ts";
import { ShardWatch } from "./shard-view.ts";

export interface ControlPlaneSettings {
  readonly natsUrl: string;
  readonly natsMonitorUrl?: string | undefined;
  readonly region: string;
  readonly shards: readonly string[];
  readonly peerId: string;
  readonly dataDir: string;
  readonly replicas: number;
  readonly httpHost: string;
  readonly httpPort: number;
}

/** Another role of the same process, for `/healthz` and `/readyz`. */
type RoleStatus = Readiness & { readonly name: string };

export interface ControlPlaneDeps {
  readonly reporter: Reporter;
  /** The other roles of this process; absent when it runs alone. */
  readonly roles?: () => readonly RoleStatus[];
  /** Metrics of this process; absent: none are served. */
  readonly telemetry?: Telemetry;
}

export interface ControlPlaneRole extends Role {
  /** Address that it listens on; undefined before. */
  readonly url: string | undefined;
}

const PAGE_LIMIT_DEFAULT = 100;
const PAGE_LIMIT_MAX = 1_000;
/** How long the server's findings are shown before they are looked for again. ms. */
const FINDINGS_FRESH_MS = 30_000;

const CURSOR_LENGTH_MAX = 512;
const LIMIT_WANTED = { error: `must be one whole number from 1 to ${PAGE_LIMIT_MAX}` };
const CURSOR_WANTED = { error: "must be one cursor of an earlier page" };

const NoQuery = z.strictObject({});
const PageQuery = z.strictObject({
  limit: z
    .string(LIMIT_WANTED)
    .refine((text) => /^\d{1,4}$/.test(text) && Number(text) >= 1 && Number(text) <= PAGE_LIMIT_MAX, LIMIT_WANTED)
    .transform(Number)
    .default(PAGE_LIMIT_DEFAULT),
  cursor: z.string(CURSOR_WANTED).min(1, CURSOR_WANTED).max(CURSOR_LENGTH_MAX, CURSOR_WANTED).optional(),
});

export function createControlPlaneRole(settings: ControlPlaneSettings, deps: ControlPlaneDeps): ControlPlaneRole {
  return new ControlPlane(settings, deps);
}

class ControlPlane implements ControlPlaneRole {
  readonly name = "control-plane";
  readonly #settings: ControlPlaneSettings;
  readonly #deps: ControlPlaneDeps;
  readonly #server: FastifyInstance;
  readonly #catalogs: CatalogPages;
  readonly #clients: LeaseClient[] = [];
  readonly #watches: ShardWatch[] = [];
  readonly #startedAt = performance.now();
  #connection: NatsConnection | undefined;
  #net: NatsNet | undefined;
  #quorum: QuorumWatch | undefined;
  #findings: { readonly atMs: number; readonly list: readonly Finding[] } = {
    atMs: Number.NEGATIVE_INFINITY,
    list: [],
  };
  #stopped: Promise<void> | undefined;
  url: string | undefined;

  constructor(settings: ControlPlaneSettings, deps: ControlPlaneDeps) {
    this.#settings = settings;
    this.#deps = deps;
    this.#server = createHttpServer(deps.reporter);
    this.#catalogs = new CatalogPages(settings.dataDir, settings.region, settings.shards);
  }

  async start(): Promise<void> {
    const { natsUrl, shards, peerId, region, httpHost, httpPort } = this.#settings;
    const connection = await connectNats({ servers: natsServers(natsUrl), name: `omnirelay ${peerId}` });
    this.#connection = connection;
    this.#quorum = new QuorumWatch({ clock: createClock(), reporter: this.#deps.reporter });
    this.#quorum.watch(connection, "control-plane");
    this.#net = new NatsNet(connection);
    const kv = new NatsKv(connection, REGISTRY_BUCKET);
    for (const shard of shards) {
      const client = await LeaseClient.connect({ connection, shard, ...identityOf(peerId) });
      this.#clients.push(client);
      this.#watches.push(new ShardWatch(client, kv, region));
    }
    this.#addRoutes();
    this.url = await listen(this.#server, httpHost, httpPort);
  }

  stop(): Promise<void> {
    this.#stopped ??= this.#close();
    return this.#stopped;
  }

  ready(): Readiness {
    if (this.url === undefined) return { ready: false, detail: "starting" };
    if (this.#net?.isConnected() !== true) return { ready: false, detail: "NATS is not connected" };
    return { ready: true, detail: this.url };
  }

  async #close(): Promise<void> {
    await this.#server.close();
    await Promise.all(this.#clients.map((client) => client.close()));
    this.#quorum?.close();
    this.#net?.close();
    await this.#connection?.close();
    this.#catalogs.close();
  }

  #addRoutes(): void {
    this.#server.get("/healthz", async (request) => {
      checked(NoQuery, request.query);
      const uptimeMs = Math.round(performance.now() - this.#startedAt);
      return { status: "ok", version: RELEASE_VERSION, uptimeMs, roles: this.#roles() };
    });
    this.#server.get("/readyz", async (request, reply) => {
      checked(NoQuery, request.query);
      const readiness = await this.#readiness();
      return reply.code(readiness.ready ? 200 : 503).send(readiness);
    });
    this.#server.get("/omnirelay/control/shards", async (request) => {
      checked(NoQuery, request.query);
      const [shards, serverFindings] = await Promise.all([this.#views(), this.#serverFindings()]);
      return { region: this.#settings.region, shards, serverFindings };
    });
    this.#server.get("/omnirelay/control/replication/checkpoint", async (request) => {
      checked(NoQuery, request.query);
      const { region, shards } = this.#settings;
      return { region, checkpoints: await readCheckpoints(this.#required, region, shards) };
    });
    const { telemetry } = this.#deps;
    if (telemetry !== undefined)
      this.#server.get("/metrics", async (_request, reply) => reply.type(METRICS_TYPE).send(await telemetry.text()));
    this.#server.get("/demo/catalogs", async (request) => {
      const { limit, cursor } = checked(PageQuery, request.query);
      return this.#catalogs.page(limit, cursor);
    });
  }

  get #required(): NatsConnection {
    if (this.#connection === undefined) throw new HttpRefusal(503, "unavailable", "NATS is not connected yet");
    return this.#connection;
  }

  #views(): Promise<Awaited<ReturnType<ShardWatch["view"]>>[]> {
    return Promise.all(this.#watches.map((watch) => watch.view()));
  }

  #roles(): readonly RoleStatus[] {
    return [...(this.#deps.roles?.() ?? []), { name: this.name, ...this.ready() }];
  }

  async #readiness(): Promise<{ ready: boolean; reasons: readonly string[]; shards: readonly object[] }> {
    const views = await this.#views();
    const reasons = [
      ...this.#roles().flatMap(({ name, ready, detail }) => (ready ? [] : [`${name}: ${detail}`])),
      ...views.flatMap(({ shard, reason }) => (reason === undefined ? [] : [`shard ${shard}: ${reason}`])),
    ];
    const shards = views.map(({ shard, serving, leader }) => ({ shard, serving, leader }));
    return { ready: reasons.length === 0, reasons, shards };
  }

  /** What was last found; looked for again when it is old. A server that cannot be asked now leaves the older findings. */
  async #serverFindings(): Promise<readonly Finding[]> {
    const connection = this.#connection;
    if (connection === undefined || performance.now() - this.#findings.atMs < FINDINGS_FRESH_MS)
      return this.#findings.list;
    try {
      const { replicas, natsMonitorUrl } = this.#settings;
      const { findings } = await checkServer(connection, { replicas, monitorUrl: natsMonitorUrl });
      this.#findings = { atMs: performance.now(), list: findings };
    } catch (error) {
      if (!(error instanceof OperatingError)) throw error;
      this.#deps.reporter.warn("server_check_failed", { code: error.code, reason: error.message });
    }
    return this.#findings.list;
  }
}

/** The query as the endpoint wants it. Throws: HttpRefusal 400 that names what is wrong. */
function checked<Schema extends z.ZodType>(schema: Schema, query: unknown): z.output<Schema> {
  const parsed = schema.safeParse(query);
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues.map((issue) =>
    issue.code === "unrecognized_keys"
      ? `there is no parameter ${issue.keys.join(", ")}`
      : `${issue.path.join(".")} ${issue.message}`,
  );
  throw new HttpRefusal(400, "invalid_argument", problems.join("; "));
}
