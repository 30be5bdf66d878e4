/** Objects in a bucket of the JetStream object store (ADR-20), so that `nats object ls` and `nats object get` read them. */
import assert from "node:assert/strict";
import type { NatsConnection } from "@nats-io/transport-node";
import { OperatingError } from "../../../contracts/errors.ts";
import { asNumber, isPassing } from "../../jetstream/api.ts";
import { SnapshotBucket } from "../../jetstream/object-snapshots.ts";
import { damaged } from "./objects-format.ts";
import {
  cutShort,
  LowestSequences,
  OBJECT_BYTES_MAX,
  type ObjectPlace,
  objectName,
  sequenceOfName,
} from "./objects-place.ts";

export interface BucketPlaceOptions {
  readonly bucket: string;
  /** Of a bucket that is created. */
  readonly replicas: number;
  /** The same; undefined for no limit. Bytes. */
  readonly maxBytes: number | undefined;
}

/** Names that are looked up to see whether they still are those of objects, from one listing. */
const CANDIDATES = 100;

/**
 * A put is pieces first, then the name, under the condition that nothing stands there. Pieces whose name did not come are left: nobody sees them.
 * Listing asks for the names of the whole bucket, in pages of 100,000, for its names are encoded on the subjects.
 */
export class BucketPlace implements ObjectPlace {
  readonly where: string;
  readonly #connection: NatsConnection;
  readonly #options: BucketPlaceOptions;
  #bucket: SnapshotBucket | undefined;

  /** The connection stays the caller's. */
  constructor(connection: NatsConnection, options: BucketPlaceOptions) {
    this.#connection = connection;
    this.#options = options;
    this.where = `the object store bucket ${options.bucket}`;
  }

  /** Creates the bucket where it is missing. From then on a bucket that is gone is an error: it took the objects with it. */
  prepare(): Promise<void> {
    return passing(async () => {
      await this.close();
      const creating = await this.#open(true);
      try {
        await creating.ensure();
      } finally {
        await creating.close();
      }
      this.#bucket = await this.#open(false);
    });
  }

  put(name: string, bytes: Uint8Array, signal: AbortSignal): Promise<"created" | "taken"> {
    return passing(async () => {
      const bucket = this.#prepared();
      if ((await bucket.lookUp(name)).object !== undefined) return "taken";
      const upload = bucket.upload();
      let mayBeNamed = false;
      try {
        await upload.write(bytes);
        await upload.flush();
        if (signal.aborted) throw cutShort(this.where);
        mayBeNamed = true;
        const object = await upload.publish(name, {}, undefined);
        mayBeNamed = object !== undefined;
        return object === undefined ? "taken" : "created";
      } catch (error) {
        if (error instanceof OperatingError && error.definite) mayBeNamed = false;
        throw error;
      } finally {
        // A name that may yet come must find its pieces.
        if (!mayBeNamed) await upload.abort();
      }
    });
  }

  get(name: string, signal: AbortSignal): Promise<Uint8Array | undefined> {
    return passing(async () => {
      const { object } = await this.#prepared().lookUp(name);
      if (object === undefined) return undefined;
      if (object.bytes > OBJECT_BYTES_MAX) throw damaged(name, this.where, `it has ${object.bytes} bytes`);
      const pieces: Uint8Array[] = [];
      for await (const piece of this.#prepared().read(object)) {
        if (signal.aborted) throw cutShort(this.where);
        pieces.push(piece);
      }
      return Buffer.concat(pieces);
    });
  }

  list(folder: string, after: number, limit: number): Promise<readonly number[]> {
    return passing(async () => {
      const found: number[] = [];
      for (let from = after; found.length < limit; ) {
        const lowest = new LowestSequences(from, Math.max(limit, CANDIDATES));
        for await (const sequence of this.#sequences(folder)) lowest.add(sequence);
        const candidates = lowest.rising();
        if (candidates.length === 0) break;
        for (const sequence of candidates)
          if (found.length < limit && (await this.#isThere(folder, sequence))) found.push(sequence);
        from = candidates.at(-1) ?? from;
      }
      return found;
    });
  }

  last(folder: string, upTo: number): Promise<number | undefined> {
    return passing(async () => {
      for (let below = upTo; ; below -= 1) {
        let last = 0;
        for await (const sequence of this.#sequences(folder)) if (sequence <= below && sequence > last) last = sequence;
        if (last === 0) return undefined;
        if (await this.#isThere(folder, last)) return last;
        below = last;
      }
    });
  }

  async close(): Promise<void> {
    await this.#bucket?.close();
    this.#bucket = undefined;
  }

  #open(create: boolean): Promise<SnapshotBucket> {
    const description = "OmniRelay events: <prefix>/<region>/<shard>/<first sequence>.json";
    // Who calls us tries again, and later each time.
    const options = { ...this.#options, description, create, leftovers: "keep", patienceMs: 0 } as const;
    return SnapshotBucket.open(this.#connection, options);
  }

  #prepared(): SnapshotBucket {
    assert(this.#bucket !== undefined, "a place is prepared first");
    return this.#bucket;
  }

  /** Of all names that are, or were, those of objects of the folder. */
  async *#sequences(folder: string): AsyncGenerator<number> {
    for await (const names of this.#prepared().names())
      for (const name of names) {
        const sequence = sequenceOfName(folder, name);
        if (sequence !== undefined) yield sequence;
      }
  }

  /** Not where `nats object rm` left a tombstone. */
  async #isThere(folder: string, sequence: number): Promise<boolean> {
    return (await this.#prepared().lookUp(objectName(folder, sequence))).object !== undefined;
  }
}

/** What a server says that is electing, restarting or cut off. */
const PASSING_CODES: ReadonlySet<string> = new Set(["jetstream_unavailable", "jetstream_timeout", "nats_disconnected"]);

/** Runs a step. What can pass is told as not definite, whatever it did: here that asks whether a person has to mend it. */
async function passing<T>(step: () => Promise<T>): Promise<T> {
  try {
    return await step();
  } catch (error) {
    throw error instanceof OperatingError && canPass(error) ? indefinite(error) : error;
  }
}

function canPass({ code: name, details }: OperatingError): boolean {
  if (PASSING_CODES.has(name)) return true;
  const { code, errCode } = details;
  return name === "jetstream_error" && isPassing({ code: asNumber(code), errCode: asNumber(errCode), description: "" });
}

function indefinite(cause: OperatingError): OperatingError {
  return new OperatingError(cause.code, cause.message, { definite: false, cause, details: cause.details });
}
