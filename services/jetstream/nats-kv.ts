/**
 * A KV bucket as the `Kv` port, on the bucket's raw stream: reads go to the stream's leader and writes carry the revision that they
 * replace, which the KV client of nats.js does not promise for both.
 */
import type { NatsConnection } from "@nats-io/transport-node";
import { OperatingError } from "../../contracts/errors.ts";
import type { Kv, KvEntry, KvOutcome } from "../../contracts/ports.ts";
import {
  API_CODES,
  API_READ_TIMEOUT_MS,
  API_TIMEOUT_MS,
  type ApiOutcome,
  apiFailure,
  apiOutcome,
  askApi,
  askApiAsync,
  asNumber,
} from "./api.ts";
import { headerBlock, headerValue } from "./header-block.ts";
import { Inbox } from "./inbox.ts";
import { type StoredMessage, storedMessage } from "./stored-message.ts";

const EXPECTED_SUBJECT_SEQUENCE_HEADER = "Nats-Expected-Last-Subject-Sequence";
const NS_PER_MS = 1_000_000;

const bucketStream = (bucket: string): string => `KV_${bucket}`;
const keySubject = (bucket: string, key: string): string => `$KV.${bucket}.${key}`;

export interface BucketOptions {
  readonly bucket: string;
  readonly description: string;
  readonly replicas: number;
  /** Revisions kept per key. 1 when absent. */
  readonly history?: number;
}

/**
 * Creates the bucket where it does not exist, in the shape of `nats kv add`. Any number of callers at once is fine.
 *
 * Throws: `jetstream_unavailable`, `jetstream_timeout`, `nats_disconnected`, `jetstream_error`; the bucket may exist then.
 */
export async function ensureBucket(inbox: Inbox, options: BucketOptions): Promise<void> {
  const { bucket } = options;
  const stream = bucketStream(bucket);
  const known = await askApiAsync(inbox, `STREAM.INFO.${stream}`, undefined, API_READ_TIMEOUT_MS);
  if (known.kind === "ok") return;
  const isMissing = known.kind === "api_error" && known.error.errCode === API_CODES.streamMissing;
  if (!isMissing) throw apiFailure(known, `looking for the bucket ${bucket}`, true);
  const created = await askApiAsync(inbox, `STREAM.CREATE.${stream}`, bucketConfig(stream, options));
  if (created.kind === "ok") return;
  const isTaken = created.kind === "api_error" && created.error.errCode === API_CODES.streamNameInUse;
  if (!isTaken) throw apiFailure(created, `creating the bucket ${bucket}`, false);
}

function bucketConfig(stream: string, options: BucketOptions): object {
  return {
    name: stream,
    description: options.description,
    subjects: [keySubject(options.bucket, ">")],
    retention: "limits",
    storage: "file",
    discard: "new",
    max_consumers: -1,
    max_msgs: -1,
    max_bytes: -1,
    max_age: 0,
    max_msg_size: -1,
    max_msgs_per_subject: options.history ?? 1,
    num_replicas: options.replicas,
    duplicate_window: 120_000 * NS_PER_MS,
    allow_rollup_hdrs: true,
    deny_delete: true,
    deny_purge: false,
    // So that `nats kv get` works; our own reads ask the leader by another call.
    allow_direct: true,
    mirror_direct: false,
  };
}

type Found =
  | { readonly kind: "entry"; readonly message: StoredMessage }
  | { readonly kind: "tombstone"; readonly revision: number };

export class NatsKv implements Kv {
  readonly #inbox: Inbox;
  readonly #bucket: string;
  readonly #timeoutMs: number;

  /** The bucket must exist: see `ensureBucket`. */
  constructor(connection: NatsConnection, bucket: string, timeoutMs: number = API_TIMEOUT_MS) {
    this.#inbox = new Inbox(connection);
    this.#bucket = bucket;
    this.#timeoutMs = timeoutMs;
  }

  get(key: string, callback: (outcome: KvOutcome<KvEntry | undefined>) => void): void {
    this.#find(key, (found) => {
      if (found.kind !== "ok") return callback(found);
      if (found.value?.kind !== "entry") return callback({ kind: "ok", value: undefined });
      const { payload, streamSequence } = found.value.message;
      callback({ kind: "ok", value: { value: payload, revision: streamSequence } });
    });
  }

  put(key: string, value: Uint8Array, revision: number, callback: (outcome: KvOutcome<number>) => void): void {
    this.#write(key, value, revision, (outcome) => {
      // A deleted key still has a revision, that of its tombstone: "no such key" then means that one.
      if (outcome.kind === "conflict" && revision === 0) this.#putOverTombstone(key, value, callback);
      else callback(outcome);
    });
  }

  close(): void {
    this.#inbox.close();
  }

  #putOverTombstone(key: string, value: Uint8Array, callback: (outcome: KvOutcome<number>) => void): void {
    this.#find(key, (found) => {
      if (found.kind !== "ok") return callback(found);
      if (found.value?.kind !== "tombstone") return callback({ kind: "conflict" });
      this.#write(key, value, found.value.revision, callback);
    });
  }

  #find(key: string, callback: (outcome: KvOutcome<Found | undefined>) => void): void {
    const body = { last_by_subj: keySubject(this.#bucket, key) };
    askApi(this.#inbox, `STREAM.MSG.GET.${bucketStream(this.#bucket)}`, body, this.#timeoutMs, (outcome) =>
      callback(foundOutcome(outcome, `reading ${key} of the bucket ${this.#bucket}`)),
    );
  }

  #write(key: string, value: Uint8Array, revision: number, callback: (outcome: KvOutcome<number>) => void): void {
    const headers = headerBlock([{ name: EXPECTED_SUBJECT_SEQUENCE_HEADER, value: String(revision) }]);
    const what = `writing ${key} of the bucket ${this.#bucket}`;
    this.#inbox.request(
      keySubject(this.#bucket, key),
      value,
      this.#timeoutMs,
      (outcome) => callback(writtenOutcome(apiOutcome(outcome), what)),
      headers,
    );
  }
}

function foundOutcome(outcome: ApiOutcome, what: string): KvOutcome<Found | undefined> {
  if (outcome.kind !== "ok") {
    const isAbsent = outcome.kind === "api_error" && outcome.error.errCode === API_CODES.noMessage;
    return isAbsent ? { kind: "ok", value: undefined } : { kind: "failed", error: apiFailure(outcome, what, true) };
  }
  const message = storedMessage(outcome.value);
  if (message === undefined) return { kind: "failed", error: unreadable(what) };
  const { headers, streamSequence } = message;
  const isTombstone = headerValue(headers, "KV-Operation") !== "" || headerValue(headers, "Nats-Marker-Reason") !== "";
  return {
    kind: "ok",
    value: isTombstone ? { kind: "tombstone", revision: streamSequence } : { kind: "entry", message },
  };
}

function writtenOutcome(outcome: ApiOutcome, what: string): KvOutcome<number> {
  if (outcome.kind === "ok") {
    const revision = asNumber(outcome.value["seq"]);
    return revision > 0 ? { kind: "ok", value: revision } : { kind: "failed", error: unreadable(what) };
  }
  if (outcome.kind === "api_error") {
    const { errCode } = outcome.error;
    if (errCode === API_CODES.wrongLastSequence || errCode === API_CODES.wrongLastSequenceUnknown)
      return { kind: "conflict" };
  }
  return { kind: "failed", error: apiFailure(outcome, what, false) };
}

function unreadable(what: string): OperatingError {
  return new OperatingError("jetstream_error", `${what}: the answer has not the expected shape`, { definite: false });
}
