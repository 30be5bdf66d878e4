/** The seeder as a role: enqueues the synthetic mutations in order, each once, however often it is started or interrupted. */
import { setTimeout as delay } from "node:timers/promises";
import { OperatingError } from "../../contracts/errors.ts";
import type { Reporter } from "../../contracts/ports.ts";
import { LAKEHOUSE_RESOURCE_TYPE, type LakehouseMutation } from "../catalog/mod.ts";
import type { EnqueueInput } from "../client/entries.ts";
import { LeaseClient } from "../client/lease-client.ts";
import type { Refusal } from "../client/refusal.ts";
import { identityOf } from "../runtime/identity.ts";
import type { Readiness, Role } from "../runtime/role.ts";
import { natsServers } from "../runtime/settings.ts";
import { mutations, shardOfTable } from "./mutations.ts";

export interface SeederSettings {
  readonly natsUrl: string;
  readonly shards: readonly string[];
  /** Principal, or principal and name. */
  readonly peerId: string;
  /** How many to enqueue; undefined for ever. */
  readonly items?: number | undefined;
  /** Items per second at most; undefined: 20 for ever, no limit for a number of items. */
  readonly rate?: number | undefined;
  readonly batch: number;
  readonly seed: string;
  readonly catalogs: number;
  readonly tables: number;
}

interface SeederProgress {
  /** Items that this run added. */
  readonly enqueued: number;
  /** Items that were there already, from an earlier run with the same seed. */
  readonly duplicates: number;
  readonly refused: number;
  /** Shard -> ids of the items that it holds now; only of a run with an end. */
  readonly itemIds: ReadonlyMap<string, readonly string[]>;
}

export interface SeederRole extends Role {
  progress(): SeederProgress;
  /** Resolves when all items are enqueued or refused, or the role was stopped; never for one without an end. */
  done(): Promise<void>;
}

const RATE_ENDLESS_DEFAULT = 20;
/** Pause before a batch whose outcome is not known is sent again, under the same request ids. ms. */
const RETRY_MS = 500;

export function createSeederRole(settings: SeederSettings, deps: { readonly reporter: Reporter }): SeederRole {
  return new Seeder(settings, deps.reporter);
}

/** One mutation with its place in the story. */
interface Entry {
  readonly shard: string;
  readonly input: EnqueueInput;
}

class Seeder implements SeederRole {
  readonly name = "seeder";
  readonly #settings: SeederSettings;
  readonly #reporter: Reporter;
  readonly #stop = new AbortController();
  readonly #clients = new Map<string, LeaseClient>();
  readonly #itemIds = new Map<string, string[]>();
  readonly #counts = { enqueued: 0, duplicates: 0, refused: 0 };
  #run: Promise<void> | undefined;

  constructor(settings: SeederSettings, reporter: Reporter) {
    this.#settings = settings;
    this.#reporter = reporter;
  }

  async start(): Promise<void> {
    const { natsUrl, shards, peerId } = this.#settings;
    for (const shard of shards) {
      this.#itemIds.set(shard, []);
      this.#clients.set(
        shard,
        await LeaseClient.connect({ servers: natsServers(natsUrl), shard, ...identityOf(peerId) }),
      );
    }
    // It rejects for a defect only, which then ends the process.
    this.#run = this.#seed();
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#run?.catch(() => {});
    await Promise.all([...this.#clients.values()].map((client) => client.close()));
  }

  ready(): Readiness {
    const { enqueued, duplicates } = this.#counts;
    if (this.#run === undefined) return { ready: false, detail: "starting" };
    return { ready: true, detail: `${enqueued} items enqueued, ${duplicates} were there already` };
  }

  progress(): SeederProgress {
    return { ...this.#counts, itemIds: this.#itemIds };
  }

  async done(): Promise<void> {
    await this.#run;
  }

  async #seed(): Promise<void> {
    const { items, batch, rate = items === undefined ? RATE_ENDLESS_DEFAULT : undefined } = this.#settings;
    const story = mutations(this.#settings);
    const size = rate === undefined ? batch : Math.min(batch, rate);
    const startedAt = performance.now();
    for (let sent = 0; !this.#stop.signal.aborted && sent < (items ?? Number.POSITIVE_INFINITY); ) {
      const count = Math.min(size, (items ?? Number.POSITIVE_INFINITY) - sent);
      const entries = Array.from({ length: count }, (_, index) => this.#entry(sent + index, story.next().value));
      await Promise.all([...this.#clients.keys()].map((shard) => this.#enqueue(shard, entries)));
      sent += count;
      // What was there already is no load, so a run that goes on after a restart catches up with itself at once.
      if (rate !== undefined) await this.#wait(startedAt + (this.#counts.enqueued / rate) * 1_000 - performance.now());
    }
    if (items !== undefined && !this.#stop.signal.aborted) this.#reporter.info("seeded", { items, ...this.#counts });
  }

  #entry(ordinal: number, mutation: LakehouseMutation): Entry {
    const { seed, shards } = this.#settings;
    const { table } = mutation;
    return {
      shard: shardOfTable(table, shards),
      input: {
        resourceType: LAKEHOUSE_RESOURCE_TYPE,
        resourceId: table,
        partitionKey: table,
        exclusivity: "partition",
        body: JSON.stringify(mutation),
        requestId: `${seed}-${ordinal}`,
      },
    };
  }

  /**
   * Enqueues the entries of one shard in order, again and again until each is done or refused for good. One request at a time: a later
   * one could overtake it, and a table's mutations must stay in order.
   */
  async #enqueue(shard: string, entries: readonly Entry[]): Promise<void> {
    const client = this.#clients.get(shard);
    let open = entries.filter((entry) => entry.shard === shard).map(({ input }) => input);
    while (client !== undefined && open.length > 0 && !this.#stop.signal.aborted) {
      open = await this.#enqueueOnce(client, open);
      if (open.length > 0) await this.#wait(RETRY_MS);
    }
  }

  /** Sends what is open; returns what has to be sent again: from the first retryable refusal on, for the order's sake. */
  async #enqueueOnce(client: LeaseClient, open: readonly EnqueueInput[]): Promise<EnqueueInput[]> {
    try {
      const results = await client.enqueueMany(open, { signal: this.#stop.signal });
      const retryAt = results.findIndex((result) => result.kind === "refused" && result.error.retryable);
      const settled = retryAt === -1 ? results : results.slice(0, retryAt);
      for (const result of settled) {
        if (result.kind === "refused") this.#refuse(client.shard, result.error);
        else {
          this.#counts[result.value.duplicate ? "duplicates" : "enqueued"] += 1;
          if (this.#settings.items !== undefined) this.#itemIds.get(client.shard)?.push(result.value.itemId);
        }
      }
      return open.slice(settled.length);
    } catch (error) {
      if (this.#stop.signal.aborted) return [];
      if (!(error instanceof OperatingError)) throw error;
      this.#reporter.warn("enqueue_retried", {
        shard: client.shard,
        items: open.length,
        code: error.code,
        reason: error.message,
      });
      return [...open];
    }
  }

  #refuse(shard: string, refusal: Refusal): void {
    this.#counts.refused += 1;
    const fix =
      refusal.code === "conflict"
        ? "this seed was used with other --catalogs or --tables: give another --seed"
        : undefined;
    this.#reporter.error("enqueue_refused", {
      shard,
      code: refusal.code,
      reason: refusal.message,
      ...(fix === undefined ? {} : { fix }),
    });
  }

  async #wait(ms: number): Promise<void> {
    if (ms <= 0) return;
    await delay(ms, undefined, { signal: this.#stop.signal }).catch(() => {});
  }
}
