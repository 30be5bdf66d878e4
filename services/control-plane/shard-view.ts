/** What the control plane knows of a shard: the leader's own figures and the registry's entry, asked for at most once per moment. */
import { OperatingError } from "../../contracts/errors.ts";
import type { Kv } from "../../contracts/ports.ts";
import type { LeaseClient } from "../client/lease-client.ts";
import { RefusedError } from "../client/refusal.ts";
import { type RegistryEntry, readEntry } from "../jetstream/registry.ts";

export interface ShardView {
  readonly shard: string;
  readonly region: string;
  /** Whether a leader answered within the time. */
  readonly serving: boolean;
  /** Why not; undefined when it serves. */
  readonly reason: string | undefined;
  readonly logId: string | null;
  readonly leader: string | null;
  readonly term: number | null;
  readonly sequence: number | null;
  readonly pending: number | null;
  readonly active: number | null;
  readonly deadLettered: number | null;
  readonly paused: boolean | null;
  readonly enqueued: number | null;
  readonly completed: number | null;
  /** What the registry says; advisory. null when it knows nothing or could not be read. */
  readonly registry: { readonly logId: string; readonly leader: string | null; readonly term: number | null } | null;
}

/** How long a leader may take to answer before the shard counts as not served. ms. */
const ANSWER_MS = 1_500;
/** How long an answer is shown again instead of asking anew. ms. */
const FRESH_MS = 500;

/** One shard, watched on demand: any number of readers cost the leader one request per half second. */
export class ShardWatch {
  readonly #client: LeaseClient;
  readonly #kv: Kv;
  readonly #region: string;
  #latest: { readonly atMs: number; readonly view: Promise<ShardView> } | undefined;

  constructor(client: LeaseClient, kv: Kv, region: string) {
    this.#client = client;
    this.#kv = kv;
    this.#region = region;
  }

  view(): Promise<ShardView> {
    const now = performance.now();
    if (this.#latest === undefined || now - this.#latest.atMs > FRESH_MS)
      this.#latest = { atMs: now, view: this.#ask() };
    return this.#latest.view;
  }

  async #ask(): Promise<ShardView> {
    const [stats, registry] = await Promise.all([
      answerOf(this.#stats()),
      answerOf(readEntry(this.#kv, this.#region, this.#client.shard)),
    ]);
    const entry = registry.value?.entry;
    const { value } = stats;
    return {
      shard: this.#client.shard,
      region: value?.region ?? this.#region,
      serving: value !== undefined,
      reason: value === undefined ? `no leader answers: ${stats.problem ?? "unknown"}` : undefined,
      logId: value?.logId ?? entry?.logId ?? null,
      leader: value?.leader ?? null,
      term: value?.term ?? null,
      sequence: value?.sequence ?? null,
      pending: value?.pending ?? null,
      active: value?.active ?? null,
      deadLettered: value?.deadLettered ?? null,
      paused: value?.paused ?? null,
      enqueued: value?.enqueued ?? null,
      completed: value?.completed ?? null,
      registry: registryOf(entry),
    };
  }

  #stats(): ReturnType<LeaseClient["stats"]> {
    return this.#client.stats({ timeoutMs: ANSWER_MS, attemptTimeoutMs: ANSWER_MS });
  }
}

function registryOf(entry: RegistryEntry | undefined): ShardView["registry"] {
  return entry === undefined ? null : { logId: entry.logId, leader: entry.leader ?? null, term: entry.term ?? null };
}

/** The value, or in words why there is none; a defect is thrown on. */
async function answerOf<T>(asked: Promise<T>): Promise<{ readonly value?: T; readonly problem?: string }> {
  try {
    return { value: await asked };
  } catch (error) {
    if (error instanceof OperatingError || error instanceof RefusedError) return { problem: error.message };
    throw error;
  }
}
