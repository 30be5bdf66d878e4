/**
 * Writes down each replica's own copy of the log. An unreplicated consumer lives on one of the stream's servers and reads that server's store,
 * and the server says on which: so consumers are made until each server has had one.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  AckPolicy,
  type ConsumerInfo,
  DeliverPolicy,
  JetStreamApiError,
  type JetStreamManager,
  type JsMsg,
  jetstreamManager,
} from "@nats-io/jetstream";
import { type NatsConnection, nuid } from "@nats-io/transport-node";
import { logStream } from "../../contracts/subjects.ts";
import { API_CODES } from "../../services/jetstream/api.ts";
import { pause } from "../drill.ts";
import { type LogRecord, RUN_FILES } from "../operations.ts";

export interface DumpRequest {
  readonly connection: NatsConnection;
  readonly region: string;
  readonly shard: string;
  /** Names of the servers. */
  readonly servers: readonly string[];
  /** Where the dumps go, one file each. */
  readonly folder: string;
}

/** A consumer is placed at random: enough tries that each server gets one but for a chance of one in a million. */
const TRIES_PER_SERVER = 25;
const PAGE = 500;
const NS_PER_MS = 1_000_000;
const ABANDONED_MS = 30_000;
/** How long a copy may bring nothing new before it counts as ended. ms. */
const PATIENCE_MS = 10_000;

/** How long a cluster that has no leader at this moment is asked again. ms. */
const AVAILABLE_MS = 30_000;
const RETRY_MS = 500;

/** Answers how many messages each server's copy has. Throws when a server's copy cannot be read. */
export function dumpReplicas(request: DumpRequest): Promise<Readonly<Record<string, number>>> {
  return whenAvailable(() => dump(request));
}

async function dump(request: DumpRequest): Promise<Readonly<Record<string, number>>> {
  const { connection, region, shard, servers, folder } = request;
  const stream = logStream(region, shard);
  const manager = await jetstreamManager(connection);
  const { state } = await manager.streams.info(stream);
  const consumers = await consumersOn(manager, stream, servers);
  const counts: Record<string, number> = {};
  for (const server of servers) {
    const consumer = consumers.get(server);
    if (consumer === undefined) throw new Error(`no consumer of ${stream} was placed on ${server}`);
    const records = await readAll(manager, consumer, state.last_seq);
    const text = records.map((record) => `${JSON.stringify(record)}\n`).join("");
    writeFileSync(join(folder, `${RUN_FILES.log}${server}.jsonl`), text);
    counts[server] = records.length;
  }
  return counts;
}

const consumerConfig = () => ({
  name: nuid.next(),
  deliver_policy: DeliverPolicy.All,
  ack_policy: AckPolicy.None,
  inactive_threshold: ABANDONED_MS * NS_PER_MS,
  mem_storage: true,
  num_replicas: 1,
});

async function consumersOn(
  manager: JetStreamManager,
  stream: string,
  servers: readonly string[],
): Promise<ReadonlyMap<string, ConsumerInfo>> {
  const found = new Map<string, ConsumerInfo>();
  for (let tries = servers.length * TRIES_PER_SERVER; tries > 0 && found.size < servers.length; tries -= 1) {
    const info = await manager.consumers.add(stream, consumerConfig());
    const server = info.cluster?.leader ?? "";
    if (servers.includes(server) && !found.has(server)) found.set(server, info);
    else await manager.consumers.delete(stream, info.name);
  }
  return found;
}

/** Everything that a stream holds, by one consumer. What has no end within the patience is shorter than it should be. */
export function readStream(connection: NatsConnection, stream: string): Promise<readonly LogRecord[]> {
  return whenAvailable(async () => {
    const manager = await jetstreamManager(connection);
    const { state } = await manager.streams.info(stream);
    return readAll(manager, await manager.consumers.add(stream, consumerConfig()), state.last_seq);
  });
}

async function whenAvailable<T>(read: () => Promise<T>): Promise<T> {
  const endMs = performance.now() + AVAILABLE_MS;
  for (;;)
    try {
      return await read();
    } catch (error) {
      const isPassing = error instanceof JetStreamApiError && error.code === API_CODES.clusterNotAvailable;
      if (!isPassing || performance.now() > endMs) throw error;
      await pause(RETRY_MS);
    }
}

/** Up to that sequence, or to where the copy ends. */
async function readAll(manager: JetStreamManager, info: ConsumerInfo, last: number): Promise<readonly LogRecord[]> {
  const consumer = await manager.jetstream().consumers.get(info.stream_name, info.name);
  const records: LogRecord[] = [];
  let progressMs = performance.now();
  while ((records.at(-1)?.streamSequence ?? 0) < last && performance.now() - progressMs < PATIENCE_MS) {
    const page = await consumer.fetch({ max_messages: PAGE, expires: 1_000 });
    for await (const message of page) {
      // What came later need not be on every server yet.
      if (message.seq <= last) records.push(recordOf(message));
      progressMs = performance.now();
      if (message.seq >= last) page.stop();
    }
  }
  return records;
}

function recordOf(message: JsMsg): LogRecord {
  const names = message.headers?.keys() ?? [];
  const headers = Object.fromEntries(names.map((name) => [name, message.headers?.get(name) ?? ""]));
  return { streamSequence: message.seq, subject: message.subject, headers, payload: message.string() };
}
