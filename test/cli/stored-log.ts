/** A log in a real stream without a dispatcher: frames of a `ShardWorld`, chained and published, and what operators and faults do to it. */
import { headers, type NatsConnection } from "@nats-io/transport-node";
import type { Frame } from "../../contracts/frame.ts";
import type { LogMessage } from "../../contracts/ports.ts";
import { CHAIN_HEADER, logStream, logSubject } from "../../contracts/subjects.ts";
import { apply } from "../../services/core/apply.ts";
import { stateHash } from "../../services/core/hash.ts";
import { SnapshotCut } from "../../services/core/snapshot-cut.ts";
import type { ShardState } from "../../services/core/state.ts";
import { connectNats } from "../../services/jetstream/connect.ts";
import { SnapshotBucket } from "../../services/jetstream/object-snapshots.ts";
import { ObjectSnapshotStore, type SnapshotLabel, type SnapshotStore } from "../../services/persistence/mod.ts";
import { chainOf, encodeFrame } from "../../services/runtime/frame-codec.ts";
import { ShardWorld } from "../core/shard-world.ts";
import { api, createStream } from "../jetstream/stream-subject.ts";
import { natsServer } from "../support/nats.ts";
import type { Cleanup } from "../support/process.ts";
import { type CliResult, cli } from "./fake-terminal.ts";

const ADDRESS = { region: "local", shard: "default" };
const SUBJECT = logSubject(ADDRESS.region, ADDRESS.shard);
const STREAM = logStream(ADDRESS.region, ADDRESS.shard);

/** Items in every status, ended records and lease requests, with state hashes in between: 40 frames or more. */
export function richWorld(): ShardWorld {
  const world = new ShardWorld({ at: 1_700_000_000_000, options: { maxAttempts: 2 } });
  for (let round = 0; round < 4; round += 1) {
    world.seed(8, { body: '{"rows":[1,2]}', attributes: { zone: "b", área: "norte" } });
    for (let index = 0; index < 3; index += 1) world.send("complete", { leases: [world.take()] });
    world.seed(2, { exclusivity: "partition", partitionKey: `p${round}`, requestId: `q${round}`, maxAttempts: 7 });
    world.send("lease", { maxItems: 2, requestId: `l${round}` });
    world.send("fail", { leases: [{ ...world.take(), reason: "no", code: "x", requeue: false }] });
    world.expire(world.take().itemId);
    writeHash(world);
    world.at += 1_000;
  }
  return world;
}

/** A frame with the state hash, as a leader writes it now and then. */
export function writeHash(world: ShardWorld): void {
  world.frame((sink) => {
    const event = { type: "stateHash", hash: stateHash(world.state) } as const;
    apply(world.state, event, { at: world.at, actor: undefined });
    sink.push(event);
  });
}

/** The frames as stored messages, each continuing the one before it. */
export function chained(frames: readonly Frame[], after: readonly LogMessage[] = []): readonly LogMessage[] {
  const messages = [...after];
  for (const frame of frames) {
    const last = messages.at(-1);
    const payload = encodeFrame({ ...frame, prev: last === undefined ? "" : chainOf(last.payload) });
    const streamSequence = messages.length + 1;
    messages.push({ streamSequence, subject: SUBJECT, payload, chainHeader: chainOf(payload), pending: -1 });
  }
  return messages;
}

/** The whole text of a cut, as dispatchers write it into dumps. */
export function textOf(state: ShardState): string {
  const cut = new SnapshotCut(state);
  let text = "";
  for (let slice = cut.next(7); slice !== undefined; slice = cut.next(7)) text += slice;
  return text;
}

export class StoredLog {
  readonly connection: NatsConnection;
  readonly url: string;
  /** What was published as the log; a stranger's messages stand beside it. */
  messages: readonly LogMessage[] = [];
  readonly store: SnapshotStore;
  readonly bucket: SnapshotBucket;

  static async create(cleanup: Cleanup, frames: readonly Frame[]): Promise<StoredLog> {
    const server = await natsServer({ cleanup, syncInterval: "2m" });
    const connection = await connectNats({ servers: server.url, name: "stored log" });
    cleanup(() => connection.close());
    await createStream(connection, ADDRESS, 1, { deny_delete: false });
    const bucket = await SnapshotBucket.open(connection, { replicas: 1 });
    const log = new StoredLog(connection, server.url, bucket);
    await log.append(frames);
    return log;
  }

  private constructor(connection: NatsConnection, url: string, bucket: SnapshotBucket) {
    this.connection = connection;
    this.url = url;
    this.bucket = bucket;
    this.store = new ObjectSnapshotStore(bucket);
  }

  async append(frames: readonly Frame[]): Promise<void> {
    const before = this.messages.length;
    this.messages = chained(frames, this.messages);
    for (const message of this.messages.slice(before)) await this.publish(message.payload, message.chainHeader);
  }

  async removeStream(): Promise<void> {
    await api(this.connection, `STREAM.DELETE.${STREAM}`, undefined);
  }

  /** Frames behind so many messages of strangers. */
  async appendBehind(strangers: number, frames: readonly Frame[]): Promise<void> {
    const before = this.messages.length;
    const messages = chained(frames, this.messages).slice(before);
    for (const { payload, chainHeader } of messages) await this.publish(payload, chainHeader);
    this.messages = [
      ...this.messages,
      ...messages.map((message) => ({ ...message, streamSequence: message.streamSequence + strangers })),
    ];
  }

  /** Makes the stream again with the first messages of the log, after it was deleted. */
  async recreate(count: number): Promise<void> {
    await createStream(this.connection, ADDRESS, 1, { deny_delete: false });
    for (const message of this.messages.slice(0, count)) await this.publish(message.payload, message.chainHeader);
  }

  /** Any message on the log's subject. */
  async publish(payload: Uint8Array | string, chainHeader = ""): Promise<void> {
    const header = headers();
    if (chainHeader !== "") header.set(CHAIN_HEADER, chainHeader);
    await this.connection.request(SUBJECT, payload, { headers: header, timeout: 10_000 });
  }

  /** Keeps the log from this stream sequence on. */
  async trim(keepFrom: number): Promise<void> {
    await api(this.connection, `STREAM.PURGE.${STREAM}`, { seq: keepFrom });
  }

  async remove(seq: number): Promise<void> {
    await api(this.connection, `STREAM.MSG.DELETE.${STREAM}`, { seq });
  }

  /** Publishes a snapshot whose label and text may say whatever a test wants. */
  async putSnapshot(
    state: ShardState,
    streamSequence: number,
    change: Partial<SnapshotLabel> = {},
    text = textOf(state),
  ) {
    const { payload } = this.messages[streamSequence - 1] ?? { payload: new Uint8Array(0) };
    const frame = JSON.parse(new TextDecoder().decode(payload)) as Frame;
    const { term, first, at } = frame;
    const { logId, sequence, logVersion } = state;
    const place = { ...ADDRESS, logId, streamSequence, sequence, chain: chainOf(payload), term, first, at };
    const writer = this.store.begin();
    await writer.write(text);
    return writer.publish({ ...place, hash: stateHash(state), logVersion, createdAtMs: Date.now(), ...change });
  }

  /** Runs a command line against this server. */
  ask(...args: readonly string[]): Promise<CliResult> {
    return cli(...args, "--nats-url", this.url);
  }

  /** The same with `--json`, read. */
  // biome-ignore lint/suspicious/noExplicitAny: a test that asks a wrong field fails by its expectation
  async askJson(...args: readonly string[]): Promise<any> {
    return JSON.parse((await this.ask(...args, "--json")).out);
  }
}
