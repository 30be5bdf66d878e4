/** Cuts the text of a snapshot into chunks, packs and unpacks them, and sums up what a reader checks: the one definition for all stores. */
import assert from "node:assert/strict";
import { createHash, hash } from "node:crypto";
import { promisify } from "node:util";
import { gunzip, gunzipSync, gzip, gzipSync } from "node:zlib";
import type { OperatingError } from "../../contracts/errors.ts";
import {
  type ChunkSum,
  damaged,
  type EncodedChunk,
  labelText,
  requireUsable,
  type SnapshotInfo,
  type SnapshotLabel,
} from "./snapshot-store.ts";

/**
 * Text in one chunk. UTF-16 code units: 512 KiB of UTF-8 for plain JSON. Well below 1 MiB, for Node keeps longer texts outside of V8's heap,
 * where each stays until a collection has walked through the whole state.
 */
const CHUNK_LENGTH = 512 * 1024;
/** A code unit makes at most 3 bytes of UTF-8. */
const CHUNK_TEXT_BYTES_MAX = 3 * CHUNK_LENGTH;
/** gzip adds 5 bytes per block of what it cannot compress; anything above this was not written by us. */
export const CHUNK_DATA_BYTES_MAX = CHUNK_TEXT_BYTES_MAX + 64 * 1024;
/** Room behind the expected text, so that zlib sees its end without asking for more; it takes no less either. Bytes. */
export const UNPACKED_SPARE = 64;
/** Chunks are cut between characters, and what was written was well-formed. */
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
/** The fastest level. Node's zstd would be four times as fast, but is still experimental in Node 24. */
const GZIP = { level: 1 };

/** Cuts what is written into texts of `CHUNK_LENGTH`, never inside of a character. */
export class TextCutter {
  #rest = "";

  *push(text: string): Generator<string> {
    this.#rest += text;
    let from = 0;
    while (this.#rest.length - from > CHUNK_LENGTH) {
      const piece = this.#rest.slice(from, from + cutLength(this.#rest, from));
      from += piece.length;
      yield piece;
    }
    if (from > 0) this.#rest = this.#rest.slice(from);
  }

  /** What is left; empty when nothing is. */
  end(): string {
    const rest = this.#rest;
    this.#rest = "";
    return rest;
  }
}

function cutLength(text: string, from: number): number {
  const last = text.charCodeAt(from + CHUNK_LENGTH - 1);
  return last >= 0xd800 && last <= 0xdbff ? CHUNK_LENGTH - 1 : CHUNK_LENGTH;
}

/** Packs in this thread: some 4 ms per chunk. For worker threads. */
export function encodeChunk(text: string): EncodedChunk {
  const bytes = bytesOf(text);
  const chunk = chunkOf(gzipSync(bytes, GZIP), bytes.length);
  freed(bytes);
  return chunk;
}

const gzipAsync = promisify(gzip) as (bytes: Uint8Array, options: object) => Promise<Buffer>;
const gunzipAsync = promisify(gunzip) as (bytes: Uint8Array, options: object) => Promise<Buffer<ArrayBuffer>>;

/** The same with the work in Node's thread pool. */
export async function encodeChunkAsync(text: string): Promise<EncodedChunk> {
  const bytes = bytesOf(text);
  const chunk = chunkOf(await gzipAsync(bytes, GZIP), bytes.length);
  freed(bytes);
  return chunk;
}

function bytesOf(text: string): Buffer<ArrayBuffer> {
  assert(
    text.isWellFormed(),
    "a snapshot's text is well-formed Unicode: a lone surrogate would come back as another text",
  );
  return Buffer.from(text, "utf8");
}

function chunkOf(data: Buffer, textBytes: number): EncodedChunk {
  return { data, textBytes, sha256: hash("sha256", data, "hex") };
}

/** Checks a chunk against its own checksum. Throws: `snapshot_damaged` (definite). */
export function checkChunk(label: SnapshotLabel, index: number, chunk: EncodedChunk): void {
  const { data, textBytes, sha256 } = chunk;
  if (hash("sha256", data, "hex") !== sha256 || textBytes > CHUNK_TEXT_BYTES_MAX)
    throw damaged(label, `chunk ${index + 1} is not what was written`);
}

/**
 * The text of a checked chunk as UTF-8, in memory of its own. gzip's own checksum is over the text, so this also proves the packing.
 * Throws: `snapshot_damaged` (definite).
 */
export function unpackChunk(label: SnapshotLabel, index: number, chunk: EncodedChunk): Buffer<ArrayBuffer> {
  try {
    return whole(gunzipSync(chunk.data, unpacking(chunk)) as Buffer<ArrayBuffer>, chunk);
  } catch (error) {
    throw unpackable(label, index, error);
  }
}

/** The same as text. */
export function decodeChunk(label: SnapshotLabel, index: number, chunk: EncodedChunk): string {
  return decoded(unpackChunk(label, index, chunk));
}

/** The same with the work in Node's thread pool. */
export async function decodeChunkAsync(label: SnapshotLabel, index: number, chunk: EncodedChunk): Promise<string> {
  return decoded(await unpackAsync(label, index, chunk));
}

/** That it unpacks, for whoever does not want its text. */
export function proveChunk(label: SnapshotLabel, index: number, chunk: EncodedChunk): void {
  freed(unpackChunk(label, index, chunk));
}

/** The same with the work in Node's thread pool. */
export async function proveChunkAsync(label: SnapshotLabel, index: number, chunk: EncodedChunk): Promise<void> {
  freed(await unpackAsync(label, index, chunk));
}

async function unpackAsync(label: SnapshotLabel, index: number, chunk: EncodedChunk): Promise<Buffer<ArrayBuffer>> {
  try {
    return whole(await gunzipAsync(chunk.data, unpacking(chunk)), chunk);
  } catch (error) {
    throw unpackable(label, index, error);
  }
}

function decoded(bytes: Buffer<ArrayBuffer>): string {
  const text = textOf(bytes);
  freed(bytes);
  return text;
}

/**
 * Gives memory back at once, unless others share it: left to the collector, a megabyte per chunk makes it walk through the whole state again
 * and again, and what it has not walked to yet lies in the process.
 */
export function freed({ buffer, byteLength }: Uint8Array<ArrayBuffer>): void {
  if (!buffer.detached && byteLength > 0 && buffer.byteLength - byteLength <= UNPACKED_SPARE) buffer.transfer(0);
}

/** All of the text in one piece of memory: by default it would come in pieces of 16 KiB that are put together afterwards. */
function unpacking({ textBytes }: EncodedChunk): { maxOutputLength: number; chunkSize: number } {
  return {
    maxOutputLength: CHUNK_TEXT_BYTES_MAX,
    chunkSize: Math.min(textBytes, CHUNK_TEXT_BYTES_MAX) + UNPACKED_SPARE,
  };
}

function whole(bytes: Buffer<ArrayBuffer>, chunk: EncodedChunk): Buffer<ArrayBuffer> {
  if (bytes.length !== chunk.textBytes) throw new RangeError(`${bytes.length} bytes of text, not ${chunk.textBytes}`);
  return bytes;
}

/** The text of an unpacked chunk. */
export function textOf(bytes: Uint8Array): string {
  return decoder.decode(bytes);
}

function unpackable(label: SnapshotLabel, index: number, cause: unknown): OperatingError {
  return damaged(label, `chunk ${index + 1} cannot be unpacked`, cause);
}

/** Sums up a snapshot while it is written or read. The root binds the chunks, their order and number, and the label. */
export class SnapshotSum {
  readonly #hash = createHash("sha256");
  #chunks = 0;
  #textBytes = 0;

  add({ textBytes, sha256 }: ChunkSum): void {
    this.#hash.update(`${textBytes} ${sha256}\n`);
    this.#chunks += 1;
    this.#textBytes += textBytes;
  }

  get chunks(): number {
    return this.#chunks;
  }
  get textBytes(): number {
    return this.#textBytes;
  }

  /** The root. May be asked for any number of labels, and before more is added. */
  root(label: SnapshotLabel): string {
    return this.#hash.copy().update(labelText(label)).digest("hex");
  }

  /** Throws: `snapshot_damaged` (definite). */
  check(info: SnapshotInfo): void {
    if (this.#chunks !== info.chunks) throw damaged(info.label, `it has ${this.#chunks} chunks of ${info.chunks}`);
    if (this.root(info.label) !== info.root) throw damaged(info.label, "its checksum over label and chunks differs");
  }
}

/** Reads a whole snapshot, chunk by chunk, and checks the sum at its end. `ahead` chunks are asked for before they are wanted. */
export async function* readInOrder<Chunk extends ChunkSum>(
  info: SnapshotInfo,
  read: (index: number) => Promise<Chunk>,
  ahead: number,
): AsyncGenerator<Chunk> {
  requireUsable(info);
  const sum = new SnapshotSum();
  const asked: Promise<Chunk>[] = [];
  for (let index = 0; index < info.chunks; index += 1) {
    for (let next = index + asked.length; next < Math.min(info.chunks, index + ahead + 1); next += 1) {
      const chunk = read(next);
      // Whoever stops reading leaves these behind; their errors are then nobody's.
      chunk.catch(() => {});
      asked.push(chunk);
    }
    const chunk = await asked.shift();
    assert(chunk !== undefined, "a chunk that is wanted was asked for");
    sum.add(chunk);
    yield chunk;
  }
  sum.check(info);
}
