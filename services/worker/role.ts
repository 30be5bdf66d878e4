/** The worker as a role: per shard a client, a LeaseWorker and the catalog that its items are applied to. */
import { setTimeout as delay } from "node:timers/promises";
import { OperatingError } from "../../contracts/errors.ts";
import type { Reporter } from "../../contracts/ports.ts";
import { bindCatalog, openCatalog } from "../catalog/mod.ts";
import { LeaseClient } from "../client/lease-client.ts";
import { LeaseWorker } from "../client/lease-worker.ts";
import { RefusedError } from "../client/refusal.ts";
import { catalogFile, prepareDataFolder } from "../runtime/data-folder.ts";
import { identityOf } from "../runtime/identity.ts";
import type { Readiness, Role } from "../runtime/role.ts";
import { natsServers } from "../runtime/settings.ts";
import { LAKEHOUSE_RESOURCE_TYPES, lakehouseHandler } from "./lakehouse.ts";

export interface WorkerSettings {
  readonly natsUrl: string;
  readonly region: string;
  readonly shards: readonly string[];
  readonly peerId: string;
  readonly dataDir: string;
  readonly concurrency: number;
  readonly prefetch: number;
  /** How long `stop` may take in all; handlers under way get most of it. ms. */
  readonly stopTimeoutMs: number;
}

interface WorkerProgress {
  /** Completions that the shards have acknowledged to this worker. */
  readonly completed: number;
  /** Of these the ones that changed the catalog now; the rest were applied before and only completed again. */
  readonly applied: number;
  readonly failed: number;
  readonly deadLettered: number;
  readonly lost: number;
}

export interface WorkerRole extends Role {
  progress(): WorkerProgress;
  /** How many of these items the catalog of the shard holds as applied. */
  appliedCount(shard: string, itemIds: readonly string[]): number;
}

/** How long a stop leaves for closing after the handlers. ms. */
const CLOSE_MS = 2_500;
/** Pause before a shard without a leader is asked again for its log id. ms. */
const LEADER_WAIT_MS = 500;
/** Pause before the store is tried again for an item whose lease is kept alive meanwhile. ms. */
const STORE_RETRY_MS = 1_000;

export function createWorkerRole(settings: WorkerSettings, deps: { readonly reporter: Reporter }): WorkerRole {
  return new LakehouseWorker(settings, deps.reporter);
}

type Catalog = ReturnType<typeof openCatalog>;

class LakehouseWorker implements WorkerRole {
  readonly name = "worker";
  readonly #settings: WorkerSettings;
  readonly #reporter: Reporter;
  readonly #stop = new AbortController();
  readonly #clients: LeaseClient[] = [];
  readonly #workers: LeaseWorker[] = [];
  readonly #catalogs = new Map<string, Catalog>();
  readonly #counts = { completed: 0, applied: 0, failed: 0, deadLettered: 0, lost: 0 };
  #detail = "starting";
  /** Why the store cannot be written; undefined while it can. */
  #storeProblem: string | undefined;
  #isStarted = false;
  #stopped: Promise<void> | undefined;

  constructor(settings: WorkerSettings, reporter: Reporter) {
    this.#settings = settings;
    this.#reporter = reporter;
  }

  async start(): Promise<void> {
    const { natsUrl, shards, peerId, dataDir } = this.#settings;
    prepareDataFolder(dataDir);
    for (const shard of shards) {
      const client = await LeaseClient.connect({ servers: natsServers(natsUrl), shard, ...identityOf(peerId) });
      this.#clients.push(client);
      const catalog = this.#openCatalog(shard, await this.#logIdOf(client));
      this.#stop.signal.throwIfAborted();
      const worker = this.#createWorker(client, catalog);
      this.#workers.push(worker);
      worker.start();
    }
    this.#isStarted = true;
    this.#detail = `${peerId} leases from ${shards.join(", ")}`;
  }

  stop(): Promise<void> {
    this.#stop.abort(new OperatingError("shutting_down", "the worker stops", { definite: true }));
    this.#stopped ??= this.#close();
    return this.#stopped;
  }

  ready(): Readiness {
    if (this.#storeProblem !== undefined) return { ready: false, detail: this.#storeProblem };
    return { ready: this.#isStarted && !this.#stop.signal.aborted, detail: this.#detail };
  }

  progress(): WorkerProgress {
    return { ...this.#counts };
  }

  appliedCount(shard: string, itemIds: readonly string[]): number {
    const catalog = this.#catalogs.get(shard);
    return catalog === undefined ? 0 : itemIds.filter((itemId) => catalog.hasEffect(itemId)).length;
  }

  async #close(): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker.stop()));
    await Promise.all(this.#clients.map((client) => client.close()));
    for (const catalog of this.#catalogs.values()) catalog.close();
  }

  #openCatalog(shard: string, logId: string): Catalog {
    const catalog = openCatalog(catalogFile(this.#settings.dataDir, this.#settings.region, shard));
    this.#catalogs.set(shard, catalog);
    bindCatalog(catalog, logId);
    return catalog;
  }

  /** Waits for a leader: a worker may well be started before its dispatcher. */
  async #logIdOf(client: LeaseClient): Promise<string> {
    while (true) {
      try {
        return (await client.stats({ signal: this.#stop.signal })).logId;
      } catch (error) {
        this.#stop.signal.throwIfAborted();
        if (!(error instanceof OperatingError || error instanceof RefusedError)) throw error;
        if (error instanceof RefusedError && !error.retryable) throw refusedStart(client.shard, error);
        this.#detail = `no dispatcher serves shard ${client.shard}`;
        this.#reporter.warn("waiting_for_leader", { shard: client.shard, code: error.code, reason: error.message });
        await delay(LEADER_WAIT_MS, undefined, { signal: this.#stop.signal }).catch(() => {});
      }
    }
  }

  /**
   * Repeats what the store could not do (full, busy, unwritable) for as long as the lease is ours: that is no failure of the item, and
   * counting it as one would end in a dead letter for every item of a full disk.
   */
  async #withStore<T>(shard: string, signal: AbortSignal, apply: () => Promise<T>): Promise<T> {
    while (true) {
      try {
        const value = await apply();
        this.#storeProblem = undefined;
        return value;
      } catch (error) {
        if (!(error instanceof OperatingError && error.code.startsWith("store_"))) throw error;
        if (this.#storeProblem === undefined)
          this.#reporter.error("store_unusable", { shard, code: error.code, error });
        this.#storeProblem = error.message;
        await delay(STORE_RETRY_MS, undefined, { signal }).catch(() => {});
        if (signal.aborted) throw error;
      }
    }
  }

  #createWorker(client: LeaseClient, catalog: Catalog): LeaseWorker {
    const { concurrency, prefetch, stopTimeoutMs } = this.#settings;
    const { shard } = client;
    const apply = lakehouseHandler(catalog);
    const worker = new LeaseWorker(client, {
      handler: async (lease, context) => {
        const result = await this.#withStore(shard, context.signal, () => apply(lease, context));
        if (result === APPLIED) this.#counts.applied += 1;
        return result;
      },
      concurrency,
      prefetch,
      resourceTypes: [...LAKEHOUSE_RESOURCE_TYPES],
      drainTimeoutMs: Math.max(0, stopTimeoutMs - CLOSE_MS),
      waitMs: LEASE_WAIT_MS,
    });
    return worker
      .on("completed", () => {
        this.#counts.completed += 1;
      })
      .on("failed", ({ lease, error, outcome }) => {
        this.#counts[outcome === "deadLettered" ? "deadLettered" : "failed"] += 1;
        this.#reporter.error("item_failed", {
          shard,
          itemId: lease.itemId,
          resourceId: lease.item.resourceId,
          outcome,
          error,
        });
      })
      .on("lost", ({ lease, reason }) => {
        this.#counts.lost += 1;
        this.#reporter.warn("lease_lost", { shard, itemId: lease.itemId, token: lease.token, reason });
      })
      .on("error", ({ error, lease }) => {
        this.#reporter.warn("worker_error", { shard, itemId: lease?.itemId, error });
      });
  }
}

function refusedStart(shard: string, refused: RefusedError): OperatingError {
  return new OperatingError(refused.code, `shard ${shard}: ${refused.message}`, { definite: true, cause: refused });
}

const APPLIED = JSON.stringify({ outcome: "applied" });
/** A stop waits for the last long poll to come back: a short one keeps stops short, and an idle worker asks every second. ms. */
const LEASE_WAIT_MS = 1_000;
