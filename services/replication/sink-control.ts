/** What operators do with a sink: their wishes stand in its checkpoint, written by compare-and-set, and its pump follows them. */
import { randomUUID } from "node:crypto";
import type { NatsConnection } from "@nats-io/transport-node";
import { OperatingError } from "../../contracts/errors.ts";
import type { Checkpoint } from "../../contracts/followers.ts";
import type { KvEntry, KvOutcome } from "../../contracts/ports.ts";
import type { SinkCheckpoint } from "../../contracts/sinks.ts";
import { CHECKPOINT_BUCKET, checkpointKey } from "../../contracts/subjects.ts";
import { JetStreamLog } from "../jetstream/jetstream-log.ts";
import { NatsKv } from "../jetstream/nats-kv.ts";
import { readEntry } from "./checkpoint-keeper.ts";
import { earliestPlace, type LogAddress, latestPlace, placeOf } from "./log-access.ts";

export interface SinkAddress extends LogAddress {
  readonly sink: string;
}

/** Where a sink is to go on: with an event, with what happened since a time, or at an end of what is stored. */
export type SeekTarget = "earliest" | "latest" | { readonly sequence: number } | { readonly atMs: number };

export type SinkWish = { readonly kind: "pause" | "resume" } | { readonly kind: "seek"; readonly to: SeekTarget };

const TRIES_MAX = 20;

/**
 * Writes a wish and answers the checkpoint with it; the pump follows within two seconds, or when it is started.
 * Throws: OperatingError `sink_unknown` (definite: no process has ever run it), `log_trimmed`, `checkpoint_ahead`, `log_empty`,
 * `stream_missing` (the shard has no log), `checkpoint_unreadable` (definite), `checkpoint_busy`, and what JetStream answers.
 */
export async function wishOfSink(
  connection: NatsConnection,
  address: SinkAddress,
  wish: SinkWish,
): Promise<SinkCheckpoint> {
  const kv = new NatsKv(connection, CHECKPOINT_BUCKET);
  try {
    const to = wish.kind === "seek" ? await findPlace(connection, address, wish.to) : undefined;
    return await changeCheckpoint(kv, address, (entry) => wished(entry, wish.kind, to));
  } finally {
    kv.close();
  }
}

function wished(entry: SinkCheckpoint, kind: SinkWish["kind"], to: Checkpoint | undefined): SinkCheckpoint {
  const id = randomUUID();
  if (kind === "pause") return { ...entry, paused: true };
  if (to !== undefined) return { ...entry, seek: { id, to } };
  const { paused: _, ...rest } = entry;
  return entry.state === "stopped" ? { ...rest, resume: id } : rest;
}

async function findPlace(connection: NatsConnection, address: LogAddress, to: SeekTarget): Promise<Checkpoint> {
  const log = new JetStreamLog(connection, address);
  try {
    if (to === "earliest") return await earliestPlace(log, address);
    return to === "latest" ? await latestPlace(log, address) : await placeOf(log, address, to);
  } finally {
    log.close();
  }
}

async function changeCheckpoint(
  kv: NatsKv,
  address: SinkAddress,
  change: (entry: SinkCheckpoint) => SinkCheckpoint,
): Promise<SinkCheckpoint> {
  const { sink, region, shard } = address;
  const key = checkpointKey(sink, region, shard);
  for (let attempt = 1; attempt <= TRIES_MAX; attempt += 1) {
    const found = await new Promise<KvOutcome<KvEntry | undefined>>((resolve) => kv.get(key, resolve));
    if (found.kind === "failed")
      throw found.error.code === "stream_missing" ? unknownSink(address, NO_BUCKET) : found.error;
    if (found.kind === "conflict" || found.value === undefined) throw unknownSink(address, "");
    const { value, revision } = found.value;
    const entry = change(readEntry(key, value));
    const bytes = new TextEncoder().encode(JSON.stringify(entry));
    const put = await new Promise<KvOutcome<number>>((resolve) => kv.put(key, bytes, revision, resolve));
    if (put.kind === "ok") return entry;
    if (put.kind === "failed") throw put.error;
  }
  throw new OperatingError(
    "checkpoint_busy",
    `the checkpoint of ${sink} changes faster than it can be written; try again`,
    {
      definite: true,
    },
  );
}

const NO_BUCKET = `no replicator has run here: there is no bucket ${CHECKPOINT_BUCKET}; `;
function unknownSink({ sink, region, shard }: SinkAddress, why: string): OperatingError {
  const message = `${why}no process has run the sink ${sink} for shard ${shard} of region ${region}`;
  return new OperatingError("sink_unknown", message, { definite: true, details: { sink, region, shard } });
}
