/**
 * A bucket of the JetStream object store (ADR-20) for snapshots, on its raw stream: the client of nats.js hashes in JavaScript on the event
 * loop, lists by a push consumer and tells a full store by its text only. `nats object ls` and `info` read what is written here.
 *
 * It has the shape of `ObjectBucket` in services/persistence/snapshot-objects.ts; the two libraries do not import each other.
 */
import { createHash, type Hash, randomBytes } from "node:crypto";
import type { NatsConnection } from "@nats-io/transport-node";
import { OperatingError } from "../../contracts/errors.ts";
import {
  API_CODES,
  API_READ_TIMEOUT_MS,
  API_TIMEOUT_MS,
  askApiAsync,
  asNumber,
  asRecord,
  publishAsync,
} from "./api.ts";
import { type Header, headerBlock } from "./header-block.ts";
import { Inbox } from "./inbox.ts";
import { patiently } from "./patience.ts";
import { failure, isError } from "./store-failure.ts";
import { type StoredMessage, storedMessage } from "./stored-message.ts";
import { type SubjectPage, subjectPages } from "./stream-subjects.ts";

export const SNAPSHOT_BUCKET = "omnirelay-snapshots";

export interface SnapshotBucketOptions {
  readonly replicas: number;
  /** Limit of a bucket that is created; -1 (default) for none. Bytes. */
  readonly maxBytes?: number | undefined;
  readonly bucket?: string | undefined;
  /** How long a step is tried again while JetStream cannot answer. ms; 5,000 by default, 0 for one try. */
  readonly patienceMs?: number | undefined;
  /** Unpublished pieces older than this are leftovers of a crash, removed at open. Longer than any upload. ms; one hour by default. */
  readonly leftoverAgeMs?: number | undefined;
  /** `sweep` (default): what opens the bucket creates it and looks for leftovers. `keep`: for tools; nothing changes before an upload. */
  readonly leftovers?: "sweep" | "keep" | undefined;
  /** Of a bucket that is created. */
  readonly description?: string | undefined;
  /** False: a bucket that is missing is an error (`stream_missing`), never created. */
  readonly create?: boolean | undefined;
}

export interface BucketObject {
  readonly name: string;
  readonly id: string;
  readonly bytes: number;
  readonly metadata: Readonly<Record<string, string>>;
}

/** What stands under a name, its revision, and when the server stored it. ms of its clock. */
export interface LookedUp {
  readonly revision: number;
  readonly storedAtMs: number;
  readonly object: BucketObject | undefined;
}

const PATIENCE_MS = 5_000;
const LEFTOVER_AGE_MS = 3_600_000;
/** Bytes in one message: few enough that a read, in base64, stays below the smallest `max_payload`; many, because each is synced by itself. */
const PIECE_BYTES = 512 * 1024;
/** Pieces on their way at once. */
const PIECES_IN_FLIGHT_MAX = 4;
/** Names looked up at once. */
const LOOK_UPS_MAX = 64;
const EXPECTED_REVISION_HEADER = "Nats-Expected-Last-Subject-Sequence";
/** Makes a message take the place of all before it on its subject. */
const ROLLUP_HEADER = { name: "Nats-Rollup", value: "sub" };

export class SnapshotBucket {
  readonly where: string;
  readonly stream: string;
  readonly #bucket: string;
  readonly #inbox: Inbox;
  readonly #options: SnapshotBucketOptions;

  /**
   * Creates the bucket where it is missing and sweeps it, unless `leftovers` are kept. The connection stays the caller's.
   * Throws: OperatingError `nats_denied`, `store_full`, `jetstream_error`, and, after `patienceMs`, `jetstream_unavailable`,
   * `jetstream_timeout`, `nats_disconnected`.
   */
  static async open(connection: NatsConnection, options: SnapshotBucketOptions): Promise<SnapshotBucket> {
    const bucket = new SnapshotBucket(connection, options);
    if (options.leftovers === "keep") return bucket;
    try {
      await bucket.ensure();
      await bucket.#sweep();
      return bucket;
    } catch (error) {
      await bucket.close();
      throw error;
    }
  }

  private constructor(connection: NatsConnection, options: SnapshotBucketOptions) {
    this.#bucket = options.bucket ?? SNAPSHOT_BUCKET;
    this.stream = `OBJ_${this.#bucket}`;
    this.where = `object store bucket ${this.#bucket}`;
    this.#inbox = new Inbox(connection);
    this.#options = options;
  }

  upload(): Upload {
    return new Upload(this, this.#inbox);
  }

  async list(prefix: string): Promise<readonly BucketObject[]> {
    const objects: BucketObject[] = [];
    for await (const { object } of this.lookUpAll(prefix)) if (object !== undefined) objects.push(object);
    return objects;
  }

  /** Names that are, or were, those of objects, in no order, page by page. */
  async *names(): AsyncGenerator<readonly string[]> {
    for await (const { subjects } of this.#subjectPages(this.metaSubject(undefined)))
      yield subjects.map(([subject]) => nameOfMeta(subject));
  }

  /** What stands under each name with the prefix. */
  async *lookUpAll(prefix: string): AsyncGenerator<LookedUp & { readonly name: string }> {
    const subjects = await this.#subjects(this.metaSubject(undefined));
    const names = [...subjects.keys()].map((subject) => nameOfMeta(subject)).filter((name) => name.startsWith(prefix));
    for (let from = 0; from < names.length; from += LOOK_UPS_MAX) {
      const some = names.slice(from, from + LOOK_UPS_MAX);
      yield* await Promise.all(some.map(async (name) => ({ name, ...(await this.lookUp(name)) })));
    }
  }

  async *read(object: Pick<BucketObject, "id">): AsyncGenerator<Uint8Array> {
    const subject = this.pieceSubject(object.id);
    for (let seq = 1; ; ) {
      const piece = await this.#message({ seq, next_by_subj: subject });
      if (piece === undefined) return;
      yield piece.payload;
      seq = piece.streamSequence + 1;
    }
  }

  async has(object: BucketObject): Promise<boolean> {
    return (await this.find(object.name))?.id === object.id;
  }

  /** The name goes first: what has none is not listed, and swept if we die in between. */
  async remove(object: BucketObject): Promise<void> {
    if (await this.has(object)) await this.purge(this.metaSubject(object.name));
    await this.purge(this.pieceSubject(object.id));
  }

  async close(): Promise<void> {
    this.#inbox.close();
  }

  /** The object of a name; undefined for none, for a tombstone, and for what is no object. */
  async find(name: string): Promise<BucketObject | undefined> {
    return (await this.lookUp(name)).object;
  }

  /** What stands under a name, and its revision; 0 for nothing at all. A tombstone of `nats object rm` is no object, but has a revision. */
  async lookUp(name: string): Promise<LookedUp> {
    const message = await this.#message({ last_by_subj: this.metaSubject(name) });
    if (message === undefined) return { revision: 0, storedAtMs: 0, object: undefined };
    const { streamSequence: revision, storedAtMs } = message;
    const { nuid, size, deleted, metadata } = asRecord(parseJson(message.payload));
    if (typeof nuid !== "string" || deleted === true) return { revision, storedAtMs, object: undefined };
    const texts: Record<string, string> = {};
    for (const [key, value] of Object.entries(asRecord(metadata))) if (typeof value === "string") texts[key] = value;
    return { revision, storedAtMs, object: { name, id: nuid, bytes: asNumber(size), metadata: texts } };
  }

  async ensure(): Promise<void> {
    await this.patiently(async () => {
      const known = await askApiAsync(this.#inbox, `STREAM.INFO.${this.stream}`, undefined, API_READ_TIMEOUT_MS);
      if (known.kind === "ok") return;
      if (!isError(known, API_CODES.streamMissing) || this.#options.create === false)
        throw failure(known, `looking for the ${this.where}`, true);
      const created = await askApiAsync(this.#inbox, `STREAM.CREATE.${this.stream}`, this.#config());
      if (created.kind === "ok" || isError(created, API_CODES.streamNameInUse)) return;
      throw failure(created, `creating the ${this.where}`, false);
    });
  }

  /** `upTo`: only messages up to that revision. */
  async purge(filter: string, upTo?: number): Promise<void> {
    const body = upTo === undefined ? { filter } : { filter, seq: upTo + 1 };
    await this.patiently(async () => {
      const purged = await askApiAsync(this.#inbox, `STREAM.PURGE.${this.stream}`, body, API_TIMEOUT_MS);
      if (purged.kind === "ok" || isError(purged, API_CODES.streamMissing)) return;
      throw failure(purged, `removing from the ${this.where}`, false);
    });
  }

  patiently<T>(step: () => Promise<T>): Promise<T> {
    return patiently(step, this.#options.patienceMs ?? PATIENCE_MS);
  }

  pieceSubject(id: string): string {
    return `$O.${this.#bucket}.C.${id}`;
  }
  /** Of one name, or of all. ADR-20: base64url with its padding. */
  metaSubject(name: string | undefined): string {
    if (name === undefined) return `$O.${this.#bucket}.M.>`;
    const code = Buffer.from(name).toString("base64url");
    return `$O.${this.#bucket}.M.${code.padEnd(Math.ceil(code.length / 4) * 4, "=")}`;
  }
  /** The message that makes an object of pieces. */
  meta(object: BucketObject, pieces: number, digest: string): Uint8Array {
    const { name, id, bytes, metadata } = object;
    const options = { max_chunk_size: PIECE_BYTES };
    const meta = { name, metadata, options, bucket: this.#bucket, nuid: id, size: bytes, chunks: pieces, digest };
    return Buffer.from(JSON.stringify(meta));
  }

  /** Pieces without a name that nobody adds to any more. Names are read after the pieces, so what is published meanwhile has one. */
  async #sweep(): Promise<void> {
    const pieces = await this.pieces();
    if (pieces.size === 0) return;
    for (const { id } of await this.list("")) pieces.delete(this.pieceSubject(id));
    for (const subject of await this.aged(pieces, this.#options.leftoverAgeMs ?? LEFTOVER_AGE_MS))
      await this.purge(subject);
  }

  /** Subjects of all pieces, and the server's time then. */
  pieces(): Promise<Map<string, unknown> & { serverTimeMs: number }> {
    return this.#subjects(this.pieceSubject(">"));
  }

  /** Those of the subjects to which nothing was added for so long. */
  async aged(pieces: ReadonlyMap<string, unknown> & { serverTimeMs: number }, ageMs: number): Promise<string[]> {
    const aged: string[] = [];
    for (const subject of pieces.keys()) {
      const last = await this.#message({ last_by_subj: subject });
      if (last !== undefined && pieces.serverTimeMs - last.storedAtMs >= ageMs) aged.push(subject);
    }
    return aged;
  }

  /** Subjects under a filter, and the server's time then. */
  async #subjects(filter: string): Promise<Map<string, unknown> & { serverTimeMs: number }> {
    const found = Object.assign(new Map<string, unknown>(), { serverTimeMs: 0 });
    for await (const { subjects, serverTimeMs } of this.#subjectPages(filter)) {
      for (const [subject, count] of subjects) found.set(subject, count);
      found.serverTimeMs = serverTimeMs;
    }
    return found;
  }

  #subjectPages(filter: string): AsyncGenerator<SubjectPage> {
    const stream = { stream: this.stream, what: this.where, filter };
    return subjectPages(this.#inbox, stream, this.#options.patienceMs ?? PATIENCE_MS);
  }

  /** One message, from the stream's leader; undefined when there is none. */
  async #message(query: object): Promise<(StoredMessage & { storedAtMs: number }) | undefined> {
    return this.patiently(async () => {
      const answer = await askApiAsync(this.#inbox, `STREAM.MSG.GET.${this.stream}`, query, API_READ_TIMEOUT_MS);
      if (isError(answer, API_CODES.noMessage) || isError(answer, API_CODES.streamMissing)) return undefined;
      if (answer.kind !== "ok") throw failure(answer, `reading from the ${this.where}`, true);
      const message = storedMessage(answer.value);
      const storedAtMs = Date.parse(String(asRecord(answer.value["message"])["time"]));
      return message === undefined ? undefined : { ...message, storedAtMs };
    });
  }

  #config(): object {
    return {
      name: this.stream,
      description: this.#options.description ?? "OmniRelay snapshots of shards: <region>/<shard>/<sequence>",
      subjects: [`$O.${this.#bucket}.C.>`, `$O.${this.#bucket}.M.>`],
      ...{ retention: "limits", storage: "file", discard: "new", max_bytes: this.#options.maxBytes ?? -1, max_age: 0 },
      ...{ num_replicas: this.#options.replicas, allow_rollup_hdrs: true, allow_direct: true },
    };
  }
}

/** Pieces on their way, at most `PIECES_IN_FLIGHT_MAX`, then the name on the condition that it is free. */
class Upload {
  readonly #owner: SnapshotBucket;
  readonly #inbox: Inbox;
  readonly #id = randomBytes(16).toString("hex");
  readonly #digest: Hash = createHash("sha256");
  readonly #inFlight = new Set<Promise<void>>();
  #parts: Uint8Array[] = [];
  #partBytes = 0;
  #bytes = 0;
  #pieces = 0;
  #isPublished = false;
  #failure: OperatingError | undefined;

  constructor(owner: SnapshotBucket, inbox: Inbox) {
    this.#owner = owner;
    this.#inbox = inbox;
  }

  async write(bytes: Uint8Array): Promise<void> {
    this.#parts.push(bytes);
    this.#partBytes += bytes.length;
    if (this.#partBytes < PIECE_BYTES) return;
    const whole = Buffer.concat(this.#parts);
    const end = whole.length - (whole.length % PIECE_BYTES);
    this.#parts = [whole.subarray(end)];
    this.#partBytes = whole.length - end;
    for (let from = 0; from < end; from += PIECE_BYTES) await this.#send(whole.subarray(from, from + PIECE_BYTES));
  }

  async flush(): Promise<void> {
    const rest = Buffer.concat(this.#parts);
    this.#parts = [];
    this.#partBytes = 0;
    if (rest.length > 0) await this.#send(rest);
    await Promise.all(this.#inFlight);
    this.#throwFailure();
  }

  readBack(): AsyncIterable<Uint8Array> {
    return this.#owner.read({ id: this.#id });
  }

  async publish(
    name: string,
    metadata: Readonly<Record<string, string>>,
    replaced: BucketObject | undefined,
  ): Promise<BucketObject | undefined> {
    const known = await this.#owner.lookUp(name);
    if (known.object?.id !== replaced?.id) return undefined;
    const object = { name, id: this.#id, bytes: this.#bytes, metadata };
    await this.#owner.ensure();
    const isOurs = await this.#owner.patiently(() => this.#publishMeta(object, known.revision));
    if (!isOurs) return undefined;
    this.#isPublished = true;
    if (replaced !== undefined) await this.#owner.purge(this.#owner.pieceSubject(replaced.id));
    return object;
  }

  async abort(): Promise<void> {
    if (this.#isPublished) return;
    this.#failure ??= new OperatingError("snapshot_aborted", "the upload was aborted", { definite: true });
    if (this.#pieces === 0) return;
    await Promise.all(this.#inFlight);
    try {
      await this.#owner.purge(this.#owner.pieceSubject(this.#id));
    } catch (error) {
      // The next opening sweeps it.
      if (!(error instanceof OperatingError)) throw error;
    }
  }

  /** May be done again: when an unanswered one has arrived after all, the name is ours and says so. */
  async #publishMeta(object: BucketObject, revision: number): Promise<boolean> {
    const meta = this.#owner.meta(object, this.#pieces, `SHA-256=${this.#digestText()}`);
    const headers: Header[] = [{ name: EXPECTED_REVISION_HEADER, value: String(revision) }, ROLLUP_HEADER];
    const what = `publishing ${object.name} in the ${this.#owner.where}`;
    const stored = await publishAsync(this.#inbox, this.#owner.metaSubject(object.name), meta, headerBlock(headers));
    if (stored.kind === "ok") return true;
    if (isError(stored, API_CODES.wrongLastSequence) || isError(stored, API_CODES.wrongLastSequenceUnknown))
      return this.#owner.has(object);
    throw failure(stored, what, false);
  }

  #digestText(): string {
    const text = this.#digest.copy().digest("base64url");
    return text.padEnd(Math.ceil(text.length / 4) * 4, "=");
  }

  #throwFailure(): void {
    if (this.#failure !== undefined) throw this.#failure;
  }

  async #send(piece: Uint8Array): Promise<void> {
    this.#throwFailure();
    if (this.#pieces === 0) await this.#owner.ensure();
    this.#pieces += 1;
    this.#bytes += piece.length;
    this.#digest.update(piece);
    const sent = publishAsync(this.#inbox, this.#owner.pieceSubject(this.#id), piece, headerBlock([])).then(
      (outcome) => {
        this.#inFlight.delete(sent);
        // Not sent again: pieces would change their order. Certain either way that nothing is published.
        if (outcome.kind !== "ok") this.#failure ??= failure(outcome, `writing to the ${this.#owner.where}`, true);
      },
    );
    this.#inFlight.add(sent);
    if (this.#inFlight.size >= PIECES_IN_FLIGHT_MAX) await Promise.race(this.#inFlight);
    this.#throwFailure();
  }
}

function nameOfMeta(subject: string): string {
  return Buffer.from(subject.slice(subject.lastIndexOf(".") + 1), "base64url").toString();
}

function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(bytes).toString());
  } catch {
    return undefined;
  }
}
