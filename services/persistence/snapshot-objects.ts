/**
 * Snapshots as objects of a bucket, under immutable names. What a bucket must be able to do stands here as a port, so that this library
 * knows neither NATS nor S3; `services/jetstream/object-snapshots.ts` is the bucket on JetStream.
 */
import assert from "node:assert/strict";
import { OperatingError } from "../../contracts/errors.ts";
import {
  CHUNK_DATA_BYTES_MAX,
  checkChunk,
  decodeChunkAsync,
  encodeChunkAsync,
  proveChunkAsync,
  SnapshotSum,
  TextCutter,
} from "./snapshot-chunk.ts";
import {
  aborted,
  assertLabel,
  damaged,
  type EncodedChunk,
  judgeExisting,
  labelText,
  missing,
  readLabel,
  requireUsable,
  SNAPSHOT_FORMAT,
  type SnapshotInfo,
  type SnapshotLabel,
  type SnapshotName,
  type SnapshotStore,
  type SnapshotWriter,
  surplus,
  takenMeanwhile,
} from "./snapshot-store.ts";

/** One object as the bucket lists it. */
export interface BucketObject {
  readonly name: string;
  /** Changes whenever another object takes the name. */
  readonly id: string;
  readonly bytes: number;
  readonly metadata: Readonly<Record<string, string>>;
}

export interface BucketUpload {
  /** Adds bytes. Resolves when there is room for more; the bytes may be kept until then and after. */
  write(bytes: Uint8Array): Promise<void>;
  /** Resolves when all that was written is stored; nothing is listed yet. */
  flush(): Promise<void>;
  /** What the bucket holds of it, after `flush`. */
  readBack(): AsyncIterable<Uint8Array>;
  /** Gives it its name in one step, in place of `replaced`. Undefined: another object has the name. */
  publish(
    name: string,
    metadata: Readonly<Record<string, string>>,
    replaced: BucketObject | undefined,
  ): Promise<BucketObject | undefined>;
  /** Removes what was written, if it can; a sweep does it otherwise. Never fails. */
  abort(): Promise<void>;
}

export interface ObjectBucket {
  /** For people. */
  readonly where: string;
  upload(): BucketUpload;
  /** All published objects whose names begin so. None where there is no bucket. */
  list(prefix: string): Promise<readonly BucketObject[]>;
  /** Pieces of any size. Ends early where bytes are missing. */
  read(object: BucketObject): AsyncIterable<Uint8Array>;
  /** Whether that very object is still there. */
  has(object: BucketObject): Promise<boolean>;
  remove(object: BucketObject): Promise<void>;
  close(): Promise<void>;
}

const SEQUENCE_DIGITS = 20;
/** In front of each chunk: length of its data, length of its text (both uint32, big-endian), SHA-256 of its data. Bytes. */
const HEAD_BYTES = 40;
/** Names of the object's metadata. */
const META = {
  format: "omnirelay-format",
  label: "omnirelay-label",
  root: "omnirelay-root",
  chunks: "omnirelay-chunks",
  textBytes: "omnirelay-text-bytes",
  verifiedAtMs: "omnirelay-verified-at-ms",
} as const;

const prefixOf = (region: string, shard: string): string => `${region}/${shard}/`;
const nameOf = ({ region, shard, sequence }: SnapshotName): string =>
  prefixOf(region, shard) + String(sequence).padStart(SEQUENCE_DIGITS, "0");

export interface ObjectSnapshotOptions {
  /** Waited for after each chunk that is written or read back, so that what shares the thread and the disk gets its turn. Absent: no rest. */
  readonly rest?: () => Promise<void>;
}

/** Packing runs in Node's thread pool, so it may live in any thread. It owns its bucket. */
export class ObjectSnapshotStore implements SnapshotStore {
  readonly #bucket: ObjectBucket;
  readonly #options: ObjectSnapshotOptions;
  readonly #writers = new Set<ObjectWriter>();

  constructor(bucket: ObjectBucket, options: ObjectSnapshotOptions = {}) {
    this.#bucket = bucket;
    this.#options = options;
  }

  begin(): SnapshotWriter {
    const done = (): boolean => this.#writers.delete(writer);
    const writer = new ObjectWriter(this.#bucket, this, done, this.#options.rest);
    this.#writers.add(writer);
    return writer;
  }

  async list(region: string, shard: string): Promise<SnapshotInfo[]> {
    const objects = await this.#bucket.list(prefixOf(region, shard));
    const infos = objects.map((object) => infoOf(object, region, shard, this.#bucket.where));
    return infos.filter((info) => info !== undefined).sort((a, b) => b.label.sequence - a.label.sequence);
  }

  async *open(info: SnapshotInfo): AsyncGenerator<string> {
    let index = 0;
    for await (const chunk of this.chunks(info)) {
      yield await decodeChunkAsync(info.label, index, chunk);
      index += 1;
    }
  }

  async *chunks(info: SnapshotInfo): AsyncGenerator<EncodedChunk> {
    requireUsable(info);
    const object = objectOf(info);
    try {
      yield* chunksOf(this.#bucket.read(object), info);
    } catch (error) {
      const isDamaged = error instanceof OperatingError && error.code === "snapshot_damaged";
      if (isDamaged && !(await this.#bucket.has(object))) throw missing(info.label);
      throw error;
    }
  }

  async verify(info: SnapshotInfo): Promise<void> {
    let index = 0;
    for await (const chunk of this.chunks(info)) {
      await proveChunkAsync(info.label, index, chunk);
      index += 1;
    }
  }

  async remove(info: SnapshotInfo): Promise<void> {
    await this.#bucket.remove(objectOf(info));
  }

  async prune(newest: SnapshotLabel, keep: number): Promise<number> {
    const gone = surplus(await this.list(newest.region, newest.shard), keep, newest);
    for (const info of gone) await this.remove(info);
    return gone.length;
  }

  async close(): Promise<void> {
    const writers = [...this.#writers];
    for (const writer of writers) writer.abort();
    await Promise.all(writers.map((writer) => writer.end()));
    await this.#bucket.close();
  }
}

class ObjectWriter implements SnapshotWriter {
  readonly #bucket: ObjectBucket;
  readonly #upload: BucketUpload;
  readonly #store: ObjectSnapshotStore;
  readonly #done: () => void;
  readonly #rest: ObjectSnapshotOptions["rest"];
  readonly #cutter = new TextCutter();
  readonly #sum = new SnapshotSum();
  #bytes = 0;
  #isBusy = false;
  #ending: Promise<void> | undefined;
  #failure: { readonly error: unknown } | undefined;

  constructor(bucket: ObjectBucket, store: ObjectSnapshotStore, done: () => void, rest: ObjectSnapshotOptions["rest"]) {
    this.#bucket = bucket;
    this.#upload = bucket.upload();
    this.#store = store;
    this.#done = done;
    this.#rest = rest;
  }

  write(text: string): Promise<void> | void {
    const pieces = [...this.#cutter.push(text)];
    if (pieces.length === 0 && this.#failure === undefined) return;
    return this.#alone(async () => {
      for (const piece of pieces) await this.#put(await encodeChunkAsync(piece));
    });
  }

  add(chunk: EncodedChunk): Promise<void> {
    return this.#alone(() => this.#put(chunk));
  }

  async publish(label: SnapshotLabel): Promise<SnapshotInfo> {
    assertLabel(label);
    try {
      return await this.#alone(() => this.#publish(label));
    } finally {
      await this.end();
    }
  }

  abort(): void {
    this.#failure ??= { error: aborted() };
    this.end().catch(() => {});
  }

  /** Removes what was not published. */
  end(): Promise<void> {
    this.#done();
    this.#ending ??= this.#upload.abort();
    return this.#ending;
  }

  async #publish(label: SnapshotLabel): Promise<SnapshotInfo> {
    const rest = this.#cutter.end();
    if (rest !== "") await this.#put(await encodeChunkAsync(rest));
    await this.#upload.flush();
    const { chunks, textBytes } = this.#sum;
    const root = this.#sum.root(label);
    const where = this.#bucket.where;
    const info = { label, id: "", where, bytes: this.#bytes, textBytes, chunks, root, verifiedAtMs: Date.now() };
    let index = 0;
    for await (const chunk of chunksOf(this.#upload.readBack(), info)) {
      await proveChunkAsync(label, index, chunk);
      await this.#rest?.();
      index += 1;
    }
    const existing = (await this.#store.list(label.region, label.shard)).find(
      (one) => one.label.sequence === label.sequence,
    );
    if (existing !== undefined) {
      const verdict = await judgeExisting(existing, label, (one) => this.#store.verify(one));
      if (verdict === "keep") return existing;
    }
    const replaced = existing === undefined ? undefined : objectOf(existing);
    // Its pieces are gone, or going.
    if (this.#ending !== undefined) throw aborted();
    const object = await this.#upload.publish(nameOf(label), metadataOf(info), replaced);
    if (object === undefined) throw takenMeanwhile(label);
    return { ...info, id: object.id };
  }

  async #put(chunk: EncodedChunk): Promise<void> {
    if (this.#ending !== undefined) throw aborted();
    const head = Buffer.alloc(HEAD_BYTES);
    head.writeUInt32BE(chunk.data.length, 0);
    head.writeUInt32BE(chunk.textBytes, 4);
    head.write(chunk.sha256, 8, "hex");
    this.#sum.add(chunk);
    this.#bytes += HEAD_BYTES + chunk.data.length;
    await this.#upload.write(head);
    await this.#upload.write(chunk.data);
    await this.#rest?.();
  }

  async #alone<T>(step: () => Promise<T>): Promise<T> {
    if (this.#failure !== undefined) throw this.#failure.error;
    assert(!this.#isBusy, "await what `write` returned before the next call");
    this.#isBusy = true;
    try {
      return await step();
    } catch (error) {
      this.#failure = { error };
      throw error;
    } finally {
      this.#isBusy = false;
    }
  }
}

/** Takes a stream of bytes apart into chunks and checks them, and the whole at the end. */
async function* chunksOf(pieces: AsyncIterable<Uint8Array>, info: SnapshotInfo): AsyncGenerator<EncodedChunk> {
  const sum = new SnapshotSum();
  let buffered: Buffer = Buffer.alloc(0);
  for await (const piece of pieces) {
    buffered = buffered.length === 0 ? Buffer.from(piece) : Buffer.concat([buffered, piece]);
    while (buffered.length >= HEAD_BYTES) {
      const length = buffered.readUInt32BE(0);
      if (length > CHUNK_DATA_BYTES_MAX) throw damaged(info.label, `chunk ${sum.chunks + 1} is not what was written`);
      if (buffered.length < HEAD_BYTES + length) break;
      const data = buffered.subarray(HEAD_BYTES, HEAD_BYTES + length);
      const chunk = { data, textBytes: buffered.readUInt32BE(4), sha256: buffered.toString("hex", 8, HEAD_BYTES) };
      buffered = buffered.subarray(HEAD_BYTES + length);
      checkChunk(info.label, sum.chunks, chunk);
      sum.add(chunk);
      yield chunk;
    }
  }
  if (buffered.length > 0 || sum.chunks < info.chunks)
    throw damaged(info.label, `it ends in chunk ${sum.chunks + 1} of ${info.chunks}`);
  sum.check(info);
}

function metadataOf(info: SnapshotInfo): Record<string, string> {
  return {
    [META.format]: String(SNAPSHOT_FORMAT),
    [META.label]: labelText(info.label),
    [META.root]: info.root,
    [META.chunks]: String(info.chunks),
    [META.textBytes]: String(info.textBytes),
    [META.verifiedAtMs]: String(info.verifiedAtMs),
  };
}

/** Undefined for an object that has no sequence for a name: somebody else's. */
function infoOf(object: BucketObject, region: string, shard: string, where: string): SnapshotInfo | undefined {
  const digits = object.name.slice(prefixOf(region, shard).length);
  const sequence = Number(digits);
  if (!/^\d{20}$/.test(digits) || !Number.isSafeInteger(sequence)) return undefined;
  const { id, bytes, metadata } = object;
  const number = (name: string): number => Number(metadata[name] ?? 0);
  const named = readLabel({ region, shard, sequence }, number(META.format), metadata[META.label] ?? "");
  const counts = { chunks: number(META.chunks), textBytes: number(META.textBytes) };
  return {
    ...named,
    id,
    where,
    bytes,
    ...counts,
    root: metadata[META.root] ?? "",
    verifiedAtMs: number(META.verifiedAtMs),
  };
}

function objectOf(info: SnapshotInfo): BucketObject {
  return { name: nameOf(info.label), id: info.id, bytes: info.bytes, metadata: {} };
}
