/** The logs of a dispatcher's shards: found or created one by one; one that cannot be had keeps none of the others from being served. */
import type { NatsConnection } from "@nats-io/transport-node";
import { OperatingError } from "../../contracts/errors.ts";
import { SHARD_OPTIONS_DEFAULT, type ShardOptions, type ShardOptionsPatch } from "../../contracts/options.ts";
import type { Ids, Reporter, Store } from "../../contracts/ports.ts";
import { provisionShard, type ShardLog, verifyShard } from "../jetstream/provision.ts";
import type { Finding } from "../jetstream/server-check.ts";
import type { DispatcherSettings } from "./dispatcher-settings.ts";
import { rememberedLog } from "./node/identity.ts";

/** Verdicts on a shard's log: they stay until somebody has mended it and starts the dispatcher again. Anything else may pass. */
const VERDICTS: ReadonlySet<string> = new Set(["log_identity", "registry_entry", "server_refused", "shard_home_taken"]);

export class ShardLogs {
  /** What checks of server and streams have found. */
  readonly findings: Finding[] = [];
  /** By shard, why its log cannot be had. */
  readonly refused = new Map<string, OperatingError>();
  readonly #settings: DispatcherSettings;
  readonly #reporter: Reporter;
  readonly #ids: Ids;
  #isClosed = false;

  constructor(settings: DispatcherSettings, reporter: Reporter, ids: Ids) {
    this.#settings = settings;
    this.#reporter = reporter;
    this.#ids = ids;
  }

  /** The refused ones that are worth another try. */
  get open(): readonly string[] {
    return [...this.refused].filter(([, { code }]) => !VERDICTS.has(code)).map(([shard]) => shard);
  }

  /** Why shards are not hosted, for people. */
  get problems(): readonly string[] {
    return [...this.refused].map(([shard, { code, message }]) => `${shard}: ${code}: ${message}`);
  }

  /** The ids of the logs of those shards that have theirs; the others are refused. `store`: what the data folder remembers. */
  async find(
    connection: NatsConnection,
    store: Store,
    shards: readonly string[],
  ): Promise<ReadonlyMap<string, string>> {
    const logIds = new Map<string, string>();
    // Side by side: one that cannot be asked for is waited for, and the others need not wait that long one after the other.
    const finding = shards.map(async (shard) => {
      try {
        if (this.#isClosed) return;
        const { logId } = await this.#provision(connection, store, shard);
        logIds.set(shard, logId);
        this.refused.delete(shard);
      } catch (error) {
        this.refuse(shard, error);
      }
    });
    await Promise.all(finding);
    return logIds;
  }

  refuse(shard: string, error: unknown): void {
    if (!(error instanceof OperatingError)) throw error;
    const { code, message } = error;
    this.refused.set(shard, error);
    this.#reporter.error("shard_refused", { shard, code, message });
  }

  /** Keeps what a check found, says it loudly, and refuses what must not be served unless it is allowed by name. */
  judge(findings: readonly Finding[]): void {
    this.findings.push(...findings);
    for (const finding of findings) this.#reporter.warn("server_finding", { ...finding });
    const refused = findings.filter(({ severity }) => severity === "refuse");
    if (refused.length > 0 && this.#settings.allowUnsafeServer !== true)
      throw new OperatingError("server_refused", refused.map(({ message, fix }) => `${message}; ${fix}`).join(" "), {
        definite: true,
        details: { findings: refused },
      });
  }

  /** Looks for no more logs. */
  close(): void {
    this.#isClosed = true;
  }

  async #provision(connection: NatsConnection, store: Store, shard: string): Promise<ShardLog> {
    const { region, replicas, logBytesMax, provision, shardOptions, peerId } = this.#settings;
    const found = provision
      ? await provisionShard(connection, {
          region,
          shard,
          replicas,
          maxBytes: logBytesMax ?? -1,
          options: { ...SHARD_OPTIONS_DEFAULT, ...definedOptions(shardOptions) },
          newLogId: () => this.#ids.id("log"),
          writer: peerId,
          remembered: rememberedLog(store, { region, shard }),
        })
      : await verifyShard(connection, { region, shard });
    for (const difference of found.differences) this.#reporter.warn("shard_differs", { shard, ...difference });
    this.judge(found.findings);
    return found;
  }
}

/** The named options without the keys that hold undefined, which would hide a default. */
function definedOptions(patch: ShardOptionsPatch): Partial<ShardOptions> {
  return Object.fromEntries(Object.entries(patch).filter(([, value]) => value !== undefined));
}
