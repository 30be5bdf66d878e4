/**
 * Takes Delta commits through the mesh: enqueues each as one item, leases them like any worker, and applies them to the catalog under
 * the fence of their lease. Whatever is killed on the way, running it again ends in the same catalog.
 */
import { createHash } from "node:crypto";
import { OperatingError } from "../../contracts/errors.ts";
import { ATTEMPTS_MAX } from "../../contracts/limits.ts";
import {
  applyDeltaCommit,
  commitRequestId,
  DELTA_RESOURCE_TYPE,
  type DeltaCommit,
  DeltaLogError,
  type DeltaTable,
  versionOfRequestId,
} from "../catalog/mod.ts";
import type { Enqueued, Lease, LeaseClient } from "../client/lease-client.ts";
import { type HandlerContext, LeaseWorker } from "../client/lease-worker.ts";
import type { EntryResult } from "../client/refusal.ts";
import { requestRuns } from "../client/request-runs.ts";
import { FatalItemError } from "../client/worker-events.ts";
import type { FencedStore } from "../persistence/mod.ts";
import { itemBytes } from "./enqueue-in-order.ts";
import { ItemTracker } from "./item-tracker.ts";

/** Length of a lease: a commit takes milliseconds, and after a kill the next run waits no longer than this. ms. */
const LEASE_DURATION_MS = 5_000;
/** How long one question for items waits at the leader: it is also how long stopping may take. ms. */
const POLL_WAIT_MS = 500;
/** A lease that ends because we were killed is charged: no number of kills may dead-letter a sound commit, and a bad one is at once. */
const MAX_ATTEMPTS = ATTEMPTS_MAX;
const PAYLOAD_ENCODING = "application/x-ndjson";

export interface IngestOptions {
  /** Commits applied at once. */
  readonly workers: number;
  /** Last event sequence of the log when the run began: an item from before is a duplicate. */
  readonly startSequence: number;
  /** How long nothing may move before it is given up. ms. */
  readonly waitMs: number;
  /** Of the shard: whether a partition stands still behind a dead letter. */
  readonly haltsOnDeadLetter: boolean;
  readonly signal: AbortSignal;
  readonly onProgress: (progress: IngestProgress) => void;
}

interface IngestProgress {
  readonly items: number;
  readonly enqueued: number;
  readonly completed: number;
}

export interface IngestOutcome {
  readonly items: number;
  /** Of the items: those that are completed now, in this run or before. */
  readonly completed: number;
  /** Of the items: those that an earlier run had enqueued. */
  readonly duplicates: number;
  /** What went wrong, one sentence each; empty when every commit is in the catalog. */
  readonly problems: readonly string[];
}

/** One run. Invariant: a commit is sent only after every earlier one of its table was accepted. */
export class DeltaIngest {
  readonly #client: LeaseClient;
  readonly #store: FencedStore;
  readonly #options: IngestOptions;
  readonly #tracker: ItemTracker;
  readonly #problems: string[] = [];
  /** Tables that nothing more is sent of. */
  readonly #refused = new Set<string>();
  /** Leases that are held to the end of the run, because their items could not be applied and may not be given to anybody else. */
  #heldCount = 0;
  #enqueuedCount = 0;
  #duplicates = 0;
  #items = 0;

  constructor(client: LeaseClient, store: FencedStore, options: IngestOptions) {
    this.#client = client;
    this.#store = store;
    this.#options = options;
    const { waitMs, haltsOnDeadLetter, signal } = options;
    this.#tracker = new ItemTracker(client, {
      waitMs,
      haltsOnDeadLetter,
      signal,
      onChange: () => this.#progress(),
    });
  }

  /** Throws: OperatingError when nothing moves any more, when the shard cannot be asked, and the signal's reason. */
  async run(tables: readonly DeltaTable[]): Promise<IngestOutcome> {
    this.#items = tables.reduce((count, table) => count + table.commits.length, 0);
    const worker = new LeaseWorker(this.#client, {
      handler: (lease, context) => this.#apply(lease, context),
      concurrency: this.#options.workers,
      prefetch: this.#options.workers,
      resourceTypes: [DELTA_RESOURCE_TYPE],
      leaseDurationMs: LEASE_DURATION_MS,
      waitMs: POLL_WAIT_MS,
      drainTimeoutMs: 0,
      // Lost answers are repeated by the client and the worker; a run that gets nowhere is ended by the tracker.
      onError: () => {},
    });
    worker.on("completed", ({ lease }) => this.#tracker.completed(lease.itemId));
    worker.on("failed", ({ lease, error, outcome }) => {
      if (outcome === "deadLettered") this.#tracker.deadLettered(lease.itemId, messageOf(error));
      else this.#tracker.failed(lease.itemId, messageOf(error));
    });
    worker.start();
    try {
      await this.#enqueue(tables);
      await this.#tracker.allSettled();
    } finally {
      await worker.stop();
    }
    return {
      items: this.#items,
      completed: this.#tracker.completedCount,
      duplicates: this.#duplicates,
      problems: this.#allProblems(),
    };
  }

  /** The first commits of all tables go first: a table of another lakehouse under the same name is found out before more of it is sent. */
  async #enqueue(tables: readonly DeltaTable[]): Promise<void> {
    await this.#enqueueRuns(tables.flatMap((table) => table.commits.slice(0, 1)));
    await this.#enqueueRuns(tables.flatMap((table) => table.commits.slice(1)));
  }

  async #enqueueRuns(commits: readonly DeltaCommit[]): Promise<void> {
    for (const run of requestRuns(commits, (commit) => itemBytes(itemOf(commit)))) {
      const wanted = run.filter((commit) => !this.#refused.has(commit.table));
      if (wanted.length === 0) continue;
      const results = await this.#client.enqueueMany(wanted.map(itemOf), { signal: this.#options.signal });
      for (const [index, commit] of wanted.entries()) this.#enqueued(commit, results[index]);
      this.#progress();
    }
  }

  #enqueued(commit: DeltaCommit, result: EntryResult<Enqueued> | undefined): void {
    const { table, version, bodyBytes } = commit;
    if (result?.kind === "ok") {
      this.#enqueuedCount += 1;
      // A repeat of our own request, whose answer was lost, is none.
      const isOld = result.value.duplicate && result.value.sequence <= this.#options.startSequence;
      if (isOld) this.#duplicates += 1;
      this.#tracker.track(result.value.itemId, { table, version, bodyBytes }, isOld);
      return;
    }
    if (this.#refused.has(table)) return;
    this.#refused.add(table);
    const why =
      result?.error.code === "conflict"
        ? "a commit with other contents was enqueued under this name before"
        : result?.error.message;
    this.#problems.push(`table ${JSON.stringify(table)}, version ${version}: refused: ${why}`);
  }

  async #apply(lease: Lease, { signal }: HandlerContext): Promise<undefined> {
    const { resourceId: table, requestId = "", body } = lease.item;
    const version = versionOfRequestId(requestId);
    if (version === undefined)
      throw new FatalItemError(`the request id ${JSON.stringify(requestId)} names no version`, {
        code: "not_a_commit",
      });
    const effectId = `${requestId} ${createHash("sha256").update(body).digest("hex")}`;
    try {
      applyDeltaCommit(this.#store, { fenceKey: lease.fenceKey, token: lease.token, effectId }, table, version, body);
    } catch (error) {
      // A stale token: the lease has ended and another holder has written. The shard says so too when the worker settles.
      if (error instanceof OperatingError && error.code === "stale_token") throw error;
      if (error instanceof DeltaLogError) throw new FatalItemError(error.message, { code: error.code, cause: error });
      await this.#hold(table, version, error, signal);
      throw error;
    }
    return undefined;
  }

  /**
   * The commit is sound but cannot be applied here: another catalog had the ones before it, the disk is full, or this program has a
   * defect. Failing it would dead-letter it for good or bring it again at once, a thousand times: so its lease is kept until the run
   * ends, then it is given back.
   */
  async #hold(table: string, version: number, error: unknown, signal: AbortSignal): Promise<void> {
    this.#problems.push(`table ${JSON.stringify(table)}, version ${version}: ${messageOf(error)}`);
    this.#heldCount += 1;
    this.#tracker.stuck(table);
    if (this.#heldCount >= this.#options.workers) this.#tracker.giveUp();
    if (!signal.aborted) await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
    this.#heldCount -= 1;
  }

  #allProblems(): readonly string[] {
    return [...this.#problems, ...this.#tracker.problems()];
  }

  #progress(): void {
    const { onProgress } = this.#options;
    onProgress({ items: this.#items, enqueued: this.#enqueuedCount, completed: this.#tracker.completedCount });
  }
}

function itemOf(commit: DeltaCommit) {
  const { table, version, text } = commit;
  return {
    resourceType: DELTA_RESOURCE_TYPE,
    resourceId: table,
    partitionKey: table,
    requestId: commitRequestId(table, version),
    exclusivity: "partition" as const,
    maxAttempts: MAX_ATTEMPTS,
    payloadEncoding: PAYLOAD_ENCODING,
    body: text,
  };
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
