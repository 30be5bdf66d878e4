/** Pumps of the benchmark: production code, with what they tell kept as figures. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { NatsConnection } from "@nats-io/transport-node";
import type { Reporter } from "../../contracts/ports.ts";
import { SinkConfig } from "../../contracts/sinks.ts";
import { CHECKPOINT_BUCKET } from "../../contracts/subjects.ts";
import { JetStreamLog } from "../../services/jetstream/jetstream-log.ts";
import { NatsKv } from "../../services/jetstream/nats-kv.ts";
import { createSinkKinds, Pump, type Sink } from "../../services/replication/mod.ts";
import { createClock } from "../../services/runtime/clock.ts";
import { createIds } from "../../services/runtime/ids.ts";

export interface BenchSink {
  readonly name: string;
  readonly kind: string;
  /** By the folder that is the sink's alone. */
  readonly options: (folder: string) => object;
}

/** The sinks that ship and need nothing but this machine. */
export const SINKS: readonly BenchSink[] = [
  { name: "memory", kind: "memory", options: () => ({}) },
  { name: "sqlite", kind: "sqlite", options: (folder) => ({ path: join(folder, "events.db") }) },
  { name: "json-lines", kind: "json-lines", options: (folder) => ({ folder }) },
  { name: "changefeed", kind: "changefeed", options: () => ({}) },
];

export interface RunningPump {
  readonly pump: Pump;
  /** From the log time of each batch's newest event to its effect, once per event. ms. */
  readonly delays: number[];
  close(): Promise<void>;
}

const REPORTER: Reporter = {
  info: () => undefined,
  warn: (event, fields) => void process.stderr.write(`${event} ${JSON.stringify(fields)}\n`),
  error: (event, fields) => void process.stderr.write(`${event} ${JSON.stringify(fields)}\n`),
};

export interface PumpPlan {
  readonly connection: NatsConnection;
  readonly region: string;
  readonly shard: string;
  readonly folder: string;
  readonly sink: BenchSink;
  readonly start?: "earliest" | "latest";
  /** Around the sink, for one that is to be disturbed. */
  readonly wrap?: (sink: Sink) => Sink;
}

/** Starts a pump of a new sink. */
export function startPump({
  connection,
  region,
  shard,
  folder,
  sink,
  start,
  wrap = (inner) => inner,
}: PumpPlan): RunningPump {
  const clock = createClock();
  const ids = createIds();
  const dataDir = join(folder, `${sink.name}-${ids.id("folder")}`);
  mkdirSync(dataDir, { recursive: true });
  const name = `bench-${ids.id("sink").toLowerCase().slice(0, 12)}`;
  const config = SinkConfig.parse({ name, kind: sink.kind, options: sink.options(dataDir), ...(start && { start }) });
  const [planned] = createSinkKinds().plan([config], [shard]);
  if (planned === undefined) throw new Error(`there is no sink ${sink.name}`);
  const log = new JetStreamLog(connection, { region, shard });
  const checkpoints = new NatsKv(connection, CHECKPOINT_BUCKET);
  const delays: number[] = [];
  const pump = new Pump({
    ...{ config, region, shard, log, checkpoints, clock, ids, reporter: REPORTER, instance: name },
    createSink: () => wrap(planned.create({ reporter: REPORTER, clock, dataDir, connection })),
    metrics: () => ({
      delivered: (count, delayMs) => {
        for (let index = 0; index < count; index += 1) delays.push(delayMs);
      },
      failed: () => undefined,
      parked: () => undefined,
      close: () => undefined,
    }),
    park: async () => Promise.reject(new Error("nothing is to be parked")),
  });
  pump.start();
  return {
    pump,
    delays,
    close: async () => {
      await pump.stop();
      log.close();
      checkpoints.close();
    },
  };
}

/** Resolves when the pump has brought everything up to a sequence. */
export async function broughtTo({ pump }: RunningPump, sequence: number): Promise<void> {
  while (pump.status().sequence < sequence) await new Promise((resolve) => setTimeout(resolve, 5));
}
