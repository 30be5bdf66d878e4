/**
 * Creates a shard's log, once. Any number of provisioners may run at once and die anywhere: the first frame that the stream accepts at
 * its beginning is the log, everybody else takes it over, and the registry entry comes last.
 */
import type { NatsConnection } from "@nats-io/transport-node";
import { OperatingError } from "../../contracts/errors.ts";
import type { ShardOptions, ShardOptionsPatch } from "../../contracts/options.ts";
import type { Kv, LogInfo } from "../../contracts/ports.ts";
import {
  CHAIN_HEADER,
  CHECKPOINT_BUCKET,
  EXPECTED_SEQUENCE_HEADER,
  logStream,
  logSubject,
  REGISTRY_BUCKET,
  registryKey,
} from "../../contracts/subjects.ts";
import { chainOf } from "../runtime/frame-codec.ts";
import { API_CODES, API_READ_TIMEOUT_MS, apiFailure, askApiAsync, publishAsync } from "./api.ts";
import { FirstFrame } from "./first-frame.ts";
import { headerBlock } from "./header-block.ts";
import { Inbox } from "./inbox.ts";
import { findOrigin, identityError, type LogOrigin, streamState } from "./log-origin.ts";
import { ensureBucket, NatsKv } from "./nats-kv.ts";
import { patiently } from "./patience.ts";
import { type RegistryEntry, readEntry } from "./registry.ts";
import type { Finding } from "./server-check.ts";
import { registerHome, requireHome } from "./shard-home.ts";
import { type Difference, streamConfig, streamDifferences, streamFindings } from "./stream-config.ts";
import type { StreamState } from "./stream-info.ts";

export interface ProvisionRequest {
  readonly region: string;
  readonly shard: string;
  readonly replicas: number;
  /** Limit of the stream; -1 for none. Bytes. */
  readonly maxBytes: number;
  /** Options that the log starts with, over the defaults. Of an existing log they are only compared. */
  readonly options: ShardOptionsPatch;
  /** Peer id of the process that provisions. */
  readonly writer: string;
  newLogId(): string;
  /** The log that the caller's data folder has known: where it is gone, none is created in its place. */
  readonly remembered?: string | undefined;
  /** Log time of the first frame. ms; the server's clock when absent. */
  readonly at?: number;
  /** How long to wait for JetStream while it cannot answer. ms; 30,000 when absent, 0 for one try. */
  readonly patienceMs?: number;
}

export interface VerifyRequest {
  readonly region: string;
  readonly shard: string;
  /** Compared where given; a difference is reported, never repaired. */
  readonly replicas?: number;
  readonly maxBytes?: number;
  readonly options?: ShardOptionsPatch;
  readonly patienceMs?: number;
}

/** A shard's log as it stands. */
export interface ShardLog {
  /** Whether this call wrote the first frame. */
  readonly created: boolean;
  readonly logId: string;
  readonly origin: LogOrigin;
  readonly info: LogInfo;
  /** The registry's entry; undefined when only the registry does not know the log yet. */
  readonly entry: RegistryEntry | undefined;
  readonly differences: readonly Difference[];
  /** What the stream's configuration breaks. One `refuse` among them: do not lead. */
  readonly findings: readonly Finding[];
}

/**
 * Makes sure that the shard has its log, and says which one it is.
 *
 * Result: the log, `created` if this call began it; an existing one is returned as it is.
 * Throws: `invalid_options`; `shard_home_taken` (another region's); `log_identity` (the registry knows a log that the stream is not); `registry_entry`; and, indefinite or not,
 * what JetStream answers after `patienceMs`. Calling again is always safe.
 */
export async function provisionShard(connection: NatsConnection, request: ProvisionRequest): Promise<ShardLog> {
  const first = new FirstFrame(request);
  return withServices(connection, request.patienceMs, async (inbox, kv) => {
    await ensureBucket(inbox, {
      bucket: REGISTRY_BUCKET,
      description: "OmniRelay shard registry: which log each shard has, and a hint who leads it",
      replicas: request.replicas,
    });
    await ensureBucket(inbox, {
      bucket: CHECKPOINT_BUCKET,
      description: "OmniRelay checkpoints: how far each follower of a shard's log has come",
      replicas: request.replicas,
    });
    const place = await requireHome(inbox, kv, request.region, request.shard);
    const known = (await readEntry(kv, request.region, request.shard))?.entry;
    if (known === undefined && request.remembered === undefined) await createStream(inbox, request);
    const { origin, state } = await beginLog(inbox, request, known, first);
    const entry = known ?? (await register(inbox, kv, request, origin, place));
    return provisionOf({ request, origin, state, entry, created: first.isStoredAs(origin.chain) });
  });
}

/**
 * The same without creating anything, for processes that may not provision.
 * Throws as `provisionShard`, and `log_not_provisioned` (definite) where there is nothing, or only an empty stream.
 */
export async function verifyShard(connection: NatsConnection, request: VerifyRequest): Promise<ShardLog> {
  const { region, shard } = request;
  return withServices(connection, request.patienceMs, async (inbox, kv) => {
    await requireHome(inbox, kv, region, shard);
    const entry = await readEntryIfAny(kv, region, shard);
    const state = await streamState(inbox, region, shard);
    const origin = state === undefined ? undefined : await findOrigin(inbox, region, shard, state.info);
    if (state === undefined || origin === undefined) {
      if (entry !== undefined) throw lostLog(region, shard, `the registry knows log ${entry.logId}`, state);
      throw notProvisioned(region, shard);
    }
    requireSameLog(region, shard, entry, origin);
    return provisionOf({ request, origin, state, entry, created: false });
  });
}

async function withServices<Result>(
  connection: NatsConnection,
  patienceMs: number | undefined,
  step: (inbox: Inbox, kv: Kv) => Promise<Result>,
): Promise<Result> {
  const inbox = new Inbox(connection);
  const kv = new NatsKv(connection, REGISTRY_BUCKET, API_READ_TIMEOUT_MS);
  try {
    return await patiently(() => step(inbox, kv), patienceMs);
  } finally {
    kv.close();
    inbox.close();
  }
}

/** A stream of that name with another configuration is somebody's who was here before: it is judged like any existing one. */
async function createStream(inbox: Inbox, request: ProvisionRequest): Promise<void> {
  const config = streamConfig(request);
  const stream = logStream(request.region, request.shard);
  const created = await askApiAsync(inbox, `STREAM.CREATE.${stream}`, config);
  if (created.kind === "ok") return;
  if (created.kind === "api_error" && created.error.errCode === API_CODES.streamNameInUse) return;
  throw apiFailure(created, `creating ${stream}`, false);
}

/** Finds the log's first frame, or writes ours on the condition that nothing has come since we looked. */
async function beginLog(
  inbox: Inbox,
  request: ProvisionRequest,
  known: RegistryEntry | undefined,
  first: FirstFrame,
): Promise<{ readonly origin: LogOrigin; readonly state: StreamState }> {
  const { region, shard } = request;
  for (;;) {
    const state = await streamState(inbox, region, shard);
    const origin = state === undefined ? undefined : await findOrigin(inbox, region, shard, state.info);
    if (state !== undefined && origin !== undefined) {
      requireSameLog(region, shard, known, origin);
      return { origin, state };
    }
    if (known !== undefined) throw lostLog(region, shard, `the registry knows log ${known.logId}`, state);
    if (request.remembered !== undefined)
      throw lostLog(region, shard, `the data folder knows log ${request.remembered}`, state);
    if (state === undefined)
      throw identityError(region, shard, "the stream was deleted while its log was being created");
    if (state.info.lastSequence > 0 && state.info.firstSequence > 1)
      throw identityError(region, shard, "the stream has been emptied, and nothing says which log it held");
    await appendFirst(inbox, request, first.payload(state.info.serverTimeMs), state.info.lastSequence);
  }
}

async function appendFirst(
  inbox: Inbox,
  request: ProvisionRequest,
  first: Uint8Array,
  expectedLast: number,
): Promise<void> {
  const { region, shard } = request;
  const headers = headerBlock([
    { name: EXPECTED_SEQUENCE_HEADER, value: String(expectedLast) },
    { name: CHAIN_HEADER, value: chainOf(first) },
  ]);
  const outcome = await publishAsync(inbox, logSubject(region, shard), first, headers);
  if (outcome.kind === "ok") return;
  const errCode = outcome.kind === "api_error" ? outcome.error.errCode : 0;
  // Another provisioner was first; the next look finds its frame.
  if (errCode === API_CODES.wrongLastSequence || errCode === API_CODES.wrongLastSequenceUnknown) return;
  throw apiFailure(outcome, `writing the first frame of ${logStream(region, shard)}`, false);
}

/** `place`: where the entries of all regions stood before the log was begun. */
async function register(
  inbox: Inbox,
  kv: Kv,
  request: ProvisionRequest,
  origin: LogOrigin,
  place: number,
): Promise<RegistryEntry> {
  const { region, shard } = request;
  const entry: RegistryEntry = { logId: origin.logId, region, shard, createdAt: origin.at };
  if (await registerHome(inbox, entry, place)) return entry;
  await requireHome(inbox, kv, region, shard);
  const other = (await readEntry(kv, region, shard))?.entry;
  if (other === undefined)
    throw new OperatingError("jetstream_timeout", `the registry entry of ${registryKey(region, shard)} came and went`, {
      definite: true,
    });
  requireSameLog(region, shard, other, origin);
  return other;
}

/** A bucket that does not exist holds no entry. */
async function readEntryIfAny(kv: Kv, region: string, shard: string): Promise<RegistryEntry | undefined> {
  try {
    return (await readEntry(kv, region, shard))?.entry;
  } catch (error) {
    if (error instanceof OperatingError && error.code === "stream_missing") return undefined;
    throw error;
  }
}

function requireSameLog(region: string, shard: string, entry: RegistryEntry | undefined, origin: LogOrigin): void {
  if (entry === undefined || entry.logId === origin.logId) return;
  throw identityError(
    region,
    shard,
    `the registry knows log ${entry.logId}, but the stream holds log ${origin.logId}: it was recreated, or is another shard's`,
  );
}

function lostLog(region: string, shard: string, witness: string, state: StreamState | undefined): OperatingError {
  const what = state === undefined ? "the stream is missing" : "the stream holds no frame";
  return identityError(region, shard, `${what}, but ${witness}`);
}

function notProvisioned(region: string, shard: string): OperatingError {
  return new OperatingError(
    "log_not_provisioned",
    `shard ${shard} in region ${region} has no log yet; start one dispatcher with --provision, or run omnirelay shard create`,
    { definite: true, details: { region, shard } },
  );
}

interface Found {
  readonly request: VerifyRequest;
  readonly origin: LogOrigin;
  readonly state: StreamState;
  readonly entry: RegistryEntry | undefined;
  readonly created: boolean;
}

function provisionOf({ request, origin, state, entry, created }: Found): ShardLog {
  const { region, shard } = request;
  const { info, config } = state;
  const shape = {
    region,
    shard,
    replicas: request.replicas ?? info.replicas,
    maxBytes: request.maxBytes ?? info.bytesMax,
  };
  const differences = [
    ...streamDifferences(streamConfig(shape), config),
    ...optionDifferences(request.options, origin.created?.options),
    ...(entry === undefined
      ? [{ where: "registry", name: "entry", wanted: origin.logId, found: undefined } as const]
      : []),
  ];
  return {
    created,
    logId: origin.logId,
    origin,
    info,
    entry,
    differences,
    findings: streamFindings(region, shard, config),
  };
}

/** Options are state: what the log began with stays until `configure` changes it, whatever a process is started with. */
function optionDifferences(
  wanted: ShardOptionsPatch | undefined,
  found: ShardOptions | undefined,
): readonly Difference[] {
  if (wanted === undefined || found === undefined) return [];
  const names = Object.keys(wanted) as (keyof ShardOptions)[];
  return names
    .filter((name) => wanted[name] !== undefined && wanted[name] !== found[name])
    .map((name) => ({ where: "options", name, wanted: wanted[name], found: found[name] }));
}
