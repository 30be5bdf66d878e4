/** The replicator as a role: a pump for each sink and shard, none of which waits for another. */
import type { NatsConnection } from "@nats-io/transport-node";
import { OperatingError } from "../../contracts/errors.ts";
import type { Kv, Reporter } from "../../contracts/ports.ts";
import type { SinkConfig } from "../../contracts/sinks.ts";
import { CHECKPOINT_BUCKET } from "../../contracts/subjects.ts";
import { LeaseClient } from "../client/lease-client.ts";
import { RefusedError } from "../client/refusal.ts";
import { connectNats } from "../jetstream/connect.ts";
import { Inbox } from "../jetstream/inbox.ts";
import { JetStreamLog } from "../jetstream/jetstream-log.ts";
import { ensureBucket, NatsKv } from "../jetstream/nats-kv.ts";
import { Parking } from "../replication/parking.ts";
import { Pump, type PumpStatus } from "../replication/pump.ts";
import { ReplicationMetrics } from "../replication/replication-metrics.ts";
import type { PlannedSink } from "../replication/sink-kinds.ts";
import { createSinkKinds } from "../replication/sinks/mod.ts";
import { createClock } from "../runtime/clock.ts";
import { prepareDataFolder } from "../runtime/data-folder.ts";
import { identityOf } from "../runtime/identity.ts";
import { createIds } from "../runtime/ids.ts";
import type { Readiness, Role } from "../runtime/role.ts";
import { natsServers } from "../runtime/settings.ts";
import type { Telemetry } from "../runtime/telemetry.ts";
import { identityOfFolder } from "./folder-identity.ts";
import { withModules } from "./sink-modules.ts";

export interface ReplicatorSettings {
  readonly natsUrl: string;
  readonly region: string;
  readonly shards: readonly string[];
  readonly peerId: string;
  readonly dataDir: string;
  /** Of streams and buckets that are made. */
  readonly replicas: number;
}

export interface SinkSettings {
  readonly shards: readonly string[];
  /** As they were written. */
  readonly sinks: readonly unknown[];
  readonly sinkModules: readonly string[];
}

/**
 * The sinks of the settings, checked: to be asked for before anything is started.
 * Throws: OperatingError `sinks_invalid`, with all that is wrong, and `sink_module_invalid`; definite.
 */
export async function planSinks({ shards, sinks, sinkModules }: SinkSettings): Promise<readonly PlannedSink[]> {
  return (await withModules(createSinkKinds(), sinkModules)).plan(sinks, shards);
}

export interface ReplicatorDeps {
  readonly sinks: readonly PlannedSink[];
  readonly reporter: Reporter;
  readonly telemetry: Telemetry;
}

export interface ReplicatorRole extends Role {
  status(): readonly PumpStatus[];
}

/** How often a shard is asked again to register a follower while nobody leads it. ms. */
const REGISTER_RETRY_MS = 2_000;

export function createReplicatorRole(settings: ReplicatorSettings, deps: ReplicatorDeps): ReplicatorRole {
  return new Replicator(settings, deps);
}

class Replicator implements ReplicatorRole {
  readonly name = "replicator";
  readonly #settings: ReplicatorSettings;
  readonly #deps: ReplicatorDeps;
  readonly #stop = new AbortController();
  readonly #pumps: Pump[] = [];
  readonly #closers: (() => Promise<void> | void)[] = [];
  readonly #registering: Promise<void>[] = [];
  #isStarted = false;
  #stopped: Promise<void> | undefined;

  constructor(settings: ReplicatorSettings, deps: ReplicatorDeps) {
    this.#settings = settings;
    this.#deps = deps;
  }

  async start(): Promise<void> {
    const { dataDir, natsUrl, peerId } = this.#settings;
    if (this.#deps.sinks.length > 0) {
      prepareDataFolder(dataDir);
      const connection = await connectNats({ servers: natsServers(natsUrl), name: `omnirelay ${peerId}` });
      this.#closers.push(() => connection.close());
      await this.#startPumps(connection);
    }
    this.#isStarted = true;
  }

  stop(): Promise<void> {
    this.#stop.abort(new OperatingError("shutting_down", "the replicator stops", { definite: true }));
    this.#stopped ??= this.#close();
    return this.#stopped;
  }

  status(): readonly PumpStatus[] {
    return this.#pumps.map((pump) => pump.status());
  }

  /** A sink that cannot write does not make the process unready: the others go on, and a restart would mend nothing. */
  ready(): Readiness {
    if (!this.#isStarted || this.#stop.signal.aborted) return { ready: false, detail: "starting or stopping" };
    const all = this.status();
    if (all.length === 0) return { ready: true, detail: "no sinks" };
    const troubled = all.filter(({ problem, state }) => problem !== undefined && state !== "standby");
    const words = troubled.map(
      ({ sink, shard, state, problem }) => `${sink} of ${shard} is ${state}: ${problem?.message}`,
    );
    return { ready: true, detail: [`${all.length} pumps`, ...words].join("; ") };
  }

  async #startPumps(connection: NatsConnection): Promise<void> {
    const { region, shards, peerId, dataDir, replicas } = this.#settings;
    const { reporter, telemetry, sinks } = this.#deps;
    await ensureCheckpoints(connection, replicas);
    const bucket = new NatsKv(connection, CHECKPOINT_BUCKET);
    const checkpoints = remade(bucket, () => ensureCheckpoints(connection, replicas), reporter);
    const parking = new Parking(connection, replicas);
    const metrics = new ReplicationMetrics(telemetry.meter);
    const clock = createClock();
    const ids = createIds();
    const folder = identityOfFolder(dataDir, ids);
    const instance = `${peerId}/${folder.id}/${ids.id("instance")}`;
    this.#closers.push(
      () => folder.close(),
      () => parking.close(),
      () => bucket.close(),
    );
    for (const { config, create } of sinks)
      for (const shard of config.shards ?? shards) {
        const log = new JetStreamLog(connection, { region, shard });
        this.#closers.push(() => log.close());
        const labels = { sink: config.name, "shard.id": shard, region };
        const pump = new Pump({
          ...{ config, region, shard, log, checkpoints, clock, ids, reporter, instance },
          createSink: () => create({ reporter, clock, dataDir, connection }),
          metrics: (lag) => metrics.of(labels, lag),
          park: (scope, event, reason) => parking.park(scope, event, reason),
        });
        this.#pumps.push(pump);
        pump.start();
        if (config.register) this.#registering.push(this.#register(connection, config, shard));
      }
  }

  /** Until the shard keeps its log for the sink. Nothing waits for it: what is stored can be read at once. */
  async #register(connection: NatsConnection, { name, keepBytes, keepMs }: SinkConfig, shard: string): Promise<void> {
    const { reporter } = this.#deps;
    const client = await LeaseClient.connect({ connection, shard, ...identityOf(this.#settings.peerId) });
    try {
      while (!this.#stop.signal.aborted) {
        try {
          const followers = { [name]: { kind: "sink", keepBytes, keepMs } } as const;
          await client.configure({}, { followers, signal: this.#stop.signal });
          return;
        } catch (error) {
          if (this.#stop.signal.aborted) return;
          if (!(error instanceof OperatingError || error instanceof RefusedError)) throw error;
          reporter.warn("follower_not_registered", { sink: name, shard, code: error.code, reason: error.message });
          if (error instanceof RefusedError && !error.retryable) return;
          await new Promise((done) => setTimeout(done, REGISTER_RETRY_MS));
        }
      }
    } finally {
      await client.close();
    }
  }

  async #close(): Promise<void> {
    await Promise.all(this.#pumps.map((pump) => pump.stop()));
    await Promise.all(this.#registering);
    for (const close of this.#closers.toReversed()) await close();
  }
}

async function ensureCheckpoints(connection: NatsConnection, replicas: number): Promise<void> {
  const inbox = new Inbox(connection);
  try {
    const description = "OmniRelay checkpoints: how far each follower of a shard's log has come";
    await ensureBucket(inbox, { bucket: CHECKPOINT_BUCKET, description, replicas });
  } finally {
    inbox.close();
  }
}

/** The bucket, made again when somebody has removed it: without it no sink may bring anything. */
function remade(bucket: Kv, make: () => Promise<void>, reporter: Reporter): Kv {
  let isMaking = false;
  const makeOnce = (): void => {
    if (isMaking) return;
    isMaking = true;
    void make()
      .catch((error: unknown) => reporter.warn("checkpoints_not_made", { error }))
      .finally(() => {
        isMaking = false;
      });
  };
  return {
    get: (key, callback) =>
      bucket.get(key, (outcome) => {
        if (outcome.kind === "failed" && outcome.error.code === "stream_missing") makeOnce();
        callback(outcome);
      }),
    put: (key, value, revision, callback) => bucket.put(key, value, revision, callback),
  };
}
