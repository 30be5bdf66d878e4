/** The object store bucket of large bodies: whole bodies in and out, and removals that spare what was written anew meanwhile. */
import type { NatsConnection } from "@nats-io/transport-node";
import { OperatingError } from "../../contracts/errors.ts";
import { BODY_BUCKET } from "../../contracts/subjects.ts";
import { type BucketObject, SnapshotBucket } from "./object-snapshots.ts";

const DESCRIPTION = "OmniRelay bodies of items: <region>/<shard>/<principal>/<request id>/<sha256>";

export interface StoredBody {
  readonly name: string;
  readonly bytes: number;
  /** Of its pieces. */
  readonly id: string;
  /** A body that is written again has a higher one. */
  readonly revision: number;
}

/** What nothing may refer to any more, by age alone. */
export interface AgedBodies {
  /** How many bodies there are in all. */
  readonly count: number;
  readonly bodies: readonly StoredBody[];
  /** Subjects of pieces without a name: of uploads and removals that were cut off. */
  readonly leftovers: readonly string[];
}

/**
 * Creates the bucket, once; an existing one stays as it is.
 * Throws: OperatingError `nats_denied`, `store_full`, `jetstream_error`, and, after some seconds, `jetstream_unavailable`, `jetstream_timeout`, `nats_disconnected`.
 */
export async function provisionBodies(
  connection: NatsConnection,
  options: { readonly replicas: number; readonly maxBytes?: number | undefined },
): Promise<void> {
  const bucket = await open(connection, { ...options, create: true });
  try {
    await bucket.ensure();
  } finally {
    await bucket.close();
  }
}

function open(
  connection: NatsConnection,
  options: { readonly replicas: number; readonly maxBytes?: number | undefined; readonly create: boolean },
): Promise<SnapshotBucket> {
  return SnapshotBucket.open(connection, {
    ...options,
    ...{ bucket: BODY_BUCKET, description: DESCRIPTION, leftovers: "keep" },
  });
}

export class BodyBucket {
  readonly #bucket: SnapshotBucket;

  /** Throws: OperatingError `bodies_not_provisioned` (definite), and what JetStream answers. The connection stays the caller's. */
  static async open(connection: NatsConnection): Promise<BodyBucket> {
    const bucket = await open(connection, { replicas: 1, create: false });
    try {
      await bucket.ensure();
      return new BodyBucket(bucket);
    } catch (error) {
      await bucket.close();
      throw error instanceof OperatingError && error.code === "stream_missing" ? notProvisioned(error) : error;
    }
  }

  private constructor(bucket: SnapshotBucket) {
    this.#bucket = bucket;
  }

  /** Writes a body under its name, also where there is one: then the new one is younger. */
  async put(name: string, bytes: Uint8Array): Promise<StoredBody> {
    const upload = this.#bucket.upload();
    try {
      await upload.write(bytes);
      await upload.flush();
      for (;;) {
        const before = await this.#bucket.find(name);
        // Undefined when somebody else has written it in between.
        if ((await upload.publish(name, {}, before)) === undefined) continue;
        const stored = await this.find(name);
        if (stored !== undefined) return stored;
      }
    } finally {
      await upload.abort();
    }
  }

  async find(name: string): Promise<StoredBody | undefined> {
    const { revision, object } = await this.#bucket.lookUp(name);
    return object === undefined ? undefined : storedBody(object, revision);
  }

  /** Its pieces, in order; fewer where it is removed meanwhile. */
  read(body: StoredBody): AsyncGenerator<Uint8Array> {
    return this.#bucket.read(body);
  }

  /** The name goes first: pieces without one are leftovers, and found. One that was written again since stays. */
  async remove({ name, revision, id }: StoredBody): Promise<void> {
    await this.#bucket.purge(this.#bucket.metaSubject(name), revision);
    await this.#bucket.purge(this.#bucket.pieceSubject(id));
  }

  removeLeftover(subject: string): Promise<void> {
    return this.#bucket.purge(subject);
  }

  /** Bodies that were written longer than `ageMs` ago, and leftovers. */
  async aged(ageMs: number): Promise<AgedBodies> {
    // Before the names: what is published meanwhile then has one.
    const pieces = await this.#bucket.pieces();
    const bodies: StoredBody[] = [];
    let count = 0;
    for await (const { revision, storedAtMs, object } of this.#bucket.lookUpAll("")) {
      if (object === undefined) continue;
      count += 1;
      pieces.delete(this.#bucket.pieceSubject(object.id));
      if (pieces.serverTimeMs - storedAtMs >= ageMs) bodies.push(storedBody(object, revision));
    }
    return { count, bodies, leftovers: await this.#bucket.aged(pieces, ageMs) };
  }

  close(): Promise<void> {
    return this.#bucket.close();
  }
}

const storedBody = ({ name, bytes, id }: BucketObject, revision: number): StoredBody => ({ name, bytes, id, revision });

function notProvisioned(cause: OperatingError): OperatingError {
  const message = `there is no object store bucket ${BODY_BUCKET}; create it once: omnirelay bodies create`;
  return new OperatingError("bodies_not_provisioned", message, { definite: true, cause });
}
