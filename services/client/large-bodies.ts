/**
 * Bodies that are too large for an item travel by reference: put before the enqueue, fetched before the handler, removed after the item has
 * ended. Whatever a crash leaves behind in between is found by the sweep (`sweepBodies`).
 */
import type { NatsConnection } from "@nats-io/transport-node";
import { BODY_ATTRIBUTE } from "../../contracts/body-reference.ts";
import { OperatingError } from "../../contracts/errors.ts";
import { utf8Length } from "../../contracts/ids.ts";
import { BodyBucket } from "../jetstream/body-bucket.ts";
import { bytes, type EncodedBody } from "./body.ts";
import { BODY_HOLD_MS, fetchBody, isReference, referenceOf, storeBody } from "./body-store.ts";
import type { EnqueueInput } from "./entries.ts";
import type { Enqueued, IdempotentOptions, Lease, LeaseClient } from "./lease-client.ts";
import { type LeaseHandler, LeaseWorker, type LeaseWorkerOptions } from "./lease-worker.ts";
import type { Enqueuer } from "./payloads.ts";
import { type EntryResult, RefusedError, tooLarge } from "./refusal.ts";

export interface LargeBodiesOptions {
  /** A connection of yours, with rights to the object store; it is left open by `close()`. */
  readonly connection: NatsConnection;
  /** Bodies above this travel by reference. Bytes of encoded JSON; the shard's `itemBytesMax` by default. */
  readonly aboveBytes?: number | undefined;
  /** Largest body that is put or fetched; it is held in memory. Bytes, 64 MiB by default. */
  readonly bodyBytesMax?: number | undefined;
  /** Told when a body could not be removed after its item; the sweep takes it. A warning of the process by default. */
  readonly onError?: ((error: OperatingError) => void) | undefined;
}

const BODY_BYTES_MAX = 64 * 1024 * 1024;
const JSON_ENCODING = "application/json";
const PUT_TRIES_MAX = 3;

/** The large bodies of one client's shard. Takes items as the client does. */
export class LargeBodies implements Enqueuer {
  readonly #client: LeaseClient;
  readonly #bucket: BodyBucket;
  readonly #region: string;
  readonly #aboveBytes: number;
  readonly #bodyBytesMax: number;
  readonly #onError: (error: OperatingError) => void;
  readonly #removals = new Set<Promise<void>>();

  /**
   * Asks the shard for its limit and region, and the object store for its bucket.
   * Throws: OperatingError `bodies_not_provisioned`, `unavailable`, and what JetStream answers.
   */
  static async open(client: LeaseClient, options: LargeBodiesOptions): Promise<LargeBodies> {
    const { region, options: limits } = await client.stats();
    const bucket = await BodyBucket.open(options.connection);
    return new LargeBodies(client, bucket, region, {
      ...options,
      aboveBytes: options.aboveBytes ?? limits.itemBytesMax,
    });
  }

  private constructor(
    client: LeaseClient,
    bucket: BodyBucket,
    region: string,
    options: LargeBodiesOptions & { readonly aboveBytes: number },
  ) {
    this.#client = client;
    this.#bucket = bucket;
    this.#region = region;
    this.#aboveBytes = options.aboveBytes;
    this.#bodyBytesMax = options.bodyBytesMax ?? BODY_BYTES_MAX;
    this.#onError = options.onError ?? ((error) => process.emitWarning(error));
  }

  /** As `LeaseClient.enqueue`. Throws also what JetStream answers; nothing is enqueued then. */
  enqueue(item: EnqueueInput, options: Omit<IdempotentOptions, "requestId"> = {}): Promise<Enqueued> {
    const large = this.#largeBody(item);
    if (large === undefined) return this.#client.enqueue(item, options);
    const requestId = item.requestId ?? this.#client.newRequestId();
    return this.#held(
      () => this.#referring({ ...item, requestId }, large, requestId),
      (referring) => this.#client.enqueue(referring, options),
    );
  }

  /** As `LeaseClient.enqueueMany`. */
  async enqueueMany(
    items: readonly EnqueueInput[],
    options: IdempotentOptions = {},
  ): Promise<readonly EntryResult<Enqueued>[]> {
    const large = items.map((item) => this.#largeBody(item));
    if (large.every((body) => body === undefined)) return this.#client.enqueueMany(items, options);
    const { requestId } = options;
    const named =
      requestId === undefined
        ? items.map((item) => ({ ...item, requestId: item.requestId ?? this.#client.newRequestId() }))
        : items;
    const put = async (): Promise<readonly EnqueueInput[]> => {
      const referring: EnqueueInput[] = [];
      for (const [index, item] of named.entries()) {
        const body = large[index];
        const id = item.requestId ?? `${requestId}/${index}`;
        referring.push(body === undefined ? item : await this.#referring(item, body, id));
      }
      return referring;
    };
    return this.#held(put, (referring) => this.#client.enqueueMany(referring, options));
  }

  /** A worker whose handler gets the whole bodies, and that removes them when their items have ended. */
  worker({ handler, ...options }: LeaseWorkerOptions): LeaseWorker {
    const worker = new LeaseWorker(this.#client, { ...options, handler: this.handler(handler) });
    worker.on("completed", ({ lease }) => this.#removeLater(lease));
    worker.on("failed", ({ lease, outcome }) => {
      if (outcome === "cancelled") this.#removeLater(lease);
    });
    return worker;
  }

  /** A handler that gets the lease with its whole body. */
  handler(inner: LeaseHandler): LeaseHandler {
    return (lease, context) =>
      isReference(lease)
        ? this.fetch(lease, context.signal).then((whole) => inner(whole, context))
        : inner(lease, context);
  }

  /**
   * The lease with its whole body; itself where it has that.
   * Throws: FatalItemError `body_invalid`; OperatingError `body_missing`, `body_corrupt`, `payload_too_large`, and what JetStream answers.
   */
  async fetch(lease: Lease, signal?: AbortSignal): Promise<Lease> {
    if (!isReference(lease)) return lease;
    const reference = referenceOf(lease);
    if (reference.bytes > this.#bodyBytesMax) {
      const { message } = tooLarge("the body", reference.bytes, this.#bodyBytesMax);
      throw new OperatingError("payload_too_large", message, { definite: true });
    }
    const { body, payloadEncoding } = await fetchBody(this.#bucket, reference, signal);
    return { ...lease, item: { ...lease.item, body, payloadEncoding } };
  }

  /** Removes the body of an item that has ended for good. `worker` does it by itself. */
  async remove(lease: Lease): Promise<void> {
    // Not by its reference: an item may be cancelled because that cannot be read.
    const name = isReference(lease) ? lease.item.attributes[BODY_ATTRIBUTE] : undefined;
    const stored = name === undefined ? undefined : await this.#bucket.find(name);
    if (stored !== undefined) await this.#bucket.remove(stored);
  }

  /** Waits for the removals under way. The connection stays open. */
  async close(): Promise<void> {
    await Promise.all(this.#removals);
    await this.#bucket.close();
  }

  /** A body that is too large for its item; undefined for any other, and for text that no item can carry. */
  #largeBody({ body, payloadEncoding }: EnqueueInput): EncodedBody | undefined {
    if (body === undefined) return undefined;
    const encoded =
      typeof body === "string"
        ? { body, payloadEncoding: payloadEncoding ?? JSON_ENCODING }
        : bytes(body, payloadEncoding);
    const { length } = encoded.body;
    // Every UTF-16 unit takes at most six bytes in JSON, so a short text needs no measuring.
    if (length * 6 + 2 <= this.#aboveBytes || !encoded.body.isWellFormed()) return undefined;
    return utf8Length(JSON.stringify(encoded.body)) <= this.#aboveBytes ? undefined : encoded;
  }

  async #referring(item: EnqueueInput, body: EncodedBody, requestId: string): Promise<EnqueueInput> {
    const length = utf8Length(body.body);
    if (length > this.#bodyBytesMax) throw new RefusedError(tooLarge("the body", length, this.#bodyBytesMax));
    const { shard, principal } = this.#client;
    const place = { region: this.#region, shard, principal, requestId };
    const { attributes, ...reference } = await storeBody(this.#bucket, place, body);
    return { ...item, ...reference, attributes: { ...item.attributes, ...attributes } };
  }

  /**
   * Enqueues what was put while the sweep cannot have come for it. A process that stood still for minutes puts it again, before and after the
   * enqueue: the item may be there by now, and its body not.
   */
  async #held<Items, T>(put: () => Promise<Items>, enqueue: (items: Items) => Promise<T>): Promise<T> {
    for (let tries = 0; tries < PUT_TRIES_MAX; tries += 1) {
      const isHeld = this.#stopwatch();
      const items = await put();
      if (!isHeld()) continue;
      try {
        return await enqueue(items);
      } finally {
        if (!isHeld()) await put();
      }
    }
    throw new OperatingError("unavailable", `a body could not be put within ${BODY_HOLD_MS} ms`, { definite: true });
  }

  /** Answers whether less than `BODY_HOLD_MS` have passed, by both clocks: the monotonic one stands still while a machine sleeps. */
  #stopwatch(): () => boolean {
    const { clock } = this.#client;
    const [wallMs, monotonicMs] = [clock.wallMs(), clock.monotonicMs()];
    return () => Math.max(clock.wallMs() - wallMs, clock.monotonicMs() - monotonicMs) < BODY_HOLD_MS;
  }

  /** Best effort: what stays is an orphan, and the sweep's. */
  #removeLater(lease: Lease): void {
    if (!isReference(lease)) return;
    const removal = this.remove(lease)
      .catch((error: unknown) => {
        if (!(error instanceof OperatingError)) throw error;
        this.#onError(error);
      })
      .finally(() => this.#removals.delete(removal));
    this.#removals.add(removal);
  }
}
