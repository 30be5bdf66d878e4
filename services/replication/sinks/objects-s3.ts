/** Objects in S3, or in what speaks its protocol: created with `If-None-Match: *`, listed with `start-after`. */
import { GetObjectCommand, ListObjectsV2Command, PutObjectCommand, S3Client } from "@aws-sdk/client-s3";
import { OperatingError } from "../../../contracts/errors.ts";
import { damaged } from "./objects-format.ts";
import { lastByPages } from "./objects-last.ts";
import {
  cutShort,
  NO_SIGNAL,
  OBJECT_BYTES_MAX,
  type ObjectPlace,
  objectName,
  sequenceOfName,
} from "./objects-place.ts";
import { s3Failure } from "./objects-s3-failure.ts";

export interface S3PlaceOptions {
  readonly bucket: string;
  readonly region: string;
  readonly endpoint: string | undefined;
  readonly forcePathStyle: boolean;
  /** Undefined: from where the AWS SDK looks for them. */
  readonly credentials: S3Credentials | undefined;
  /** For one request as a whole. ms. */
  readonly timeoutMs: number;
}

export interface S3Credentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string;
}

/** Most keys of one answer: a bound of the protocol. */
const PAGE_KEYS_MAX = 1_000;
const PRECONDITION_FAILED = 412;

export class S3Place implements ObjectPlace {
  readonly where: string;
  readonly #client: S3Client;
  readonly #options: S3PlaceOptions;

  constructor(options: S3PlaceOptions) {
    const { bucket, region, endpoint, forcePathStyle, credentials, timeoutMs } = options;
    this.#options = options;
    this.where = `the bucket ${bucket}${endpoint === undefined ? ` in ${region}` : ` at ${new URL(endpoint).host}`}`;
    this.#client = new S3Client({
      ...{ region, forcePathStyle },
      ...(endpoint === undefined ? {} : { endpoint }),
      ...(credentials === undefined ? {} : { credentials }),
      // Who calls us tries again, and later each time.
      maxAttempts: 1,
      requestHandler: { connectionTimeout: timeoutMs },
    });
  }

  async prepare(): Promise<void> {
    // Nothing is to be made ready: what is wrong with a bucket is told by the first request.
  }

  async put(name: string, bytes: Uint8Array, signal: AbortSignal): Promise<"created" | "taken"> {
    const { bucket } = this.#options;
    const put = new PutObjectCommand({
      ...{ Bucket: bucket, Key: name, Body: bytes, ContentLength: bytes.length },
      ...{ ContentType: "application/json", IfNoneMatch: "*" },
    });
    const isCreated = await this.#ask(`writing ${name} to ${this.where}`, signal, async (abortSignal) => {
      try {
        await this.#client.send(put, { abortSignal });
        return true;
      } catch (error) {
        if (statusOf(error) === PRECONDITION_FAILED) return false;
        throw error;
      }
    });
    return isCreated ? "created" : "taken";
  }

  async get(name: string, signal: AbortSignal): Promise<Uint8Array | undefined> {
    const { bucket } = this.#options;
    return this.#ask(`reading ${name} from ${this.where}`, signal, async (abortSignal) => {
      try {
        const got = await this.#client.send(new GetObjectCommand({ Bucket: bucket, Key: name }), { abortSignal });
        const { ContentLength: length = 0, Body: body } = got;
        if (length <= OBJECT_BYTES_MAX) return (await body?.transformToByteArray()) ?? new Uint8Array(0);
        await body?.transformToWebStream().cancel();
        throw damaged(name, this.where, `it has ${length} bytes`);
      } catch (error) {
        if ((error as Error).name === "NoSuchKey") return undefined;
        throw error;
      }
    });
  }

  async list(folder: string, after: number, limit: number): Promise<readonly number[]> {
    const found: number[] = [];
    for (let from = objectName(folder, after); found.length < limit; ) {
      const { keys, isLast } = await this.#page(folder, from, Math.min(PAGE_KEYS_MAX, limit - found.length));
      for (const key of keys) {
        const sequence = sequenceOfName(folder, key);
        if (sequence !== undefined) found.push(sequence);
      }
      const last = keys.at(-1);
      if (isLast || last === undefined) break;
      from = last;
    }
    return found;
  }

  last(folder: string, upTo: number): Promise<number | undefined> {
    return lastByPages((after) => this.list(folder, after, PAGE_KEYS_MAX), upTo, PAGE_KEYS_MAX);
  }

  async close(): Promise<void> {
    this.#client.destroy();
  }

  async #page(folder: string, after: string, limit: number): Promise<{ keys: readonly string[]; isLast: boolean }> {
    const list = new ListObjectsV2Command({
      ...{ Bucket: this.#options.bucket, MaxKeys: limit, StartAfter: after },
      // Sequences begin with a zero; the manifest does not.
      Prefix: `${folder}/0`,
    });
    return this.#ask(`listing ${folder} in ${this.where}`, NO_SIGNAL, async (abortSignal) => {
      const { Contents: contents = [], IsTruncated: isTruncated } = await this.#client.send(list, { abortSignal });
      return { keys: contents.map(({ Key: key = "" }) => key), isLast: isTruncated !== true };
    });
  }

  /** One request, within its time. */
  async #ask<T>(what: string, signal: AbortSignal, step: (abortSignal: AbortSignal) => Promise<T>): Promise<T> {
    const controller = new AbortController();
    const abort = (): void => controller.abort();
    const timer = setTimeout(abort, this.#options.timeoutMs);
    signal.addEventListener("abort", abort, { once: true });
    try {
      // The client does not stop reading a body, or looking for credentials, when it is told to.
      return await Promise.race([step(controller.signal), rejectedBy(controller.signal)]);
    } catch (error) {
      if (error instanceof OperatingError) throw error;
      if (signal.aborted) throw cutShort(this.where);
      throw s3Failure(error, what, controller.signal.aborted);
    } finally {
      clearTimeout(timer);
      signal.removeEventListener("abort", abort);
    }
  }
}

function rejectedBy(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
}

function statusOf(error: unknown): number | undefined {
  return (error as { readonly $metadata?: { readonly httpStatusCode?: number } }).$metadata?.httpStatusCode;
}
