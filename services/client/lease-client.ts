/** The SDK's client: every verb of one shard as a typed method, for one principal, over one connection. */
import type { NatsConnection } from "@nats-io/transport-node";
import type { RequestInput } from "../../contracts/commands.ts";
import { errorBody, OperatingError } from "../../contracts/errors.ts";
import type { Clock } from "../../contracts/ports.ts";
import type { ReplyOf } from "../../contracts/replies.ts";
import { connectNats, leaveServer } from "../jetstream/connect.ts";
import { createClock } from "../runtime/clock.ts";
import { afterOnly, extension, flowProblem, isFlow, requestIdProblem } from "./call-parts.ts";
import { type Changes, changes } from "./changes.ts";
import type { ChangesOptions } from "./changes-options.ts";
import { type CallOptions, ClientCore } from "./client-core.ts";
import { clientSettings, type LeaseClientOptions } from "./client-options.ts";
import {
  type Cancelled,
  type CancelOptions,
  type DeadLetterFilter,
  type DeadLettersTaken,
  type RedriveFilter,
  resultsOf,
  takeDeadLetters,
} from "./ends.ts";
import {
  type Beat,
  type Completion,
  type EnqueueInput,
  encodeCompletion,
  encodeFailure,
  encodeHeartbeat,
  encodeItem,
  encodeRelease,
  type Failure,
  type LeaseRef,
} from "./entries.ts";
import type { Lane } from "./lane.ts";
import { type ReadOptions, readParts } from "./read-options.ts";
import { type EntryResult, RefusedError } from "./refusal.ts";
import { ScheduleClient } from "./schedule-client.ts";
import { ShardAdmin } from "./shard-admin.ts";

/** For requests that may be asked again by another process, or after a crash, under the same id. */
export interface IdempotentOptions extends CallOptions {
  /** Makes the request one: every repeat under this id, for ever within the shard's memory, has one effect. */
  readonly requestId?: string | undefined;
  /** The sequence that was known when `requestId` was first used (`client.sequenceSeen` then). */
  readonly after?: number | undefined;
}
export interface HeartbeatOptions extends CallOptions {
  /** New length from now on; the length of the grant by default. ms. */
  readonly extendMs?: number | undefined;
}
export interface LeaseOptions extends IdempotentOptions {
  /** 1 by default, 1,000 at most. */
  readonly maxItems?: number | undefined;
  /** How long to wait for the first item. ms; 0 by default, 30,000 at most. Comes on top of `timeoutMs`. */
  readonly waitMs?: number | undefined;
  readonly leaseDurationMs?: number | undefined;
  readonly resourceTypes?: readonly string[] | undefined;
}
export type ListFilter = Pick<
  RequestInput<"list">,
  "status" | "resourceType" | "resourceId" | "partitionKey" | "code" | "limit" | "cursor"
>;

export interface Enqueued {
  readonly itemId: string;
  readonly sequence: number;
  /** Whether an earlier request under the same id had done it. */
  readonly duplicate: boolean;
}
type WireLease = ReplyOf<"lease">["leases"][number];
/** A lease as the leader granted it, with the end of its validity on this process's own clock. */
export type Lease = Readonly<WireLease> & {
  /** Until when the work may be touched: `validMs` from sending the request. ms on the client's monotonic clock. */
  readonly validUntilMs: number;
};
export interface LeaseAnswer {
  readonly leases: readonly Lease[];
  /** Why there is no lease: nothing pending, granting is paused, or the shard is being drained. */
  readonly reason: "none" | "paused" | "draining" | undefined;
}
export interface Renewal {
  /** Log time at which the lease ends unless it is renewed again. */
  readonly expiresAt: number;
  readonly validMs: number;
  readonly validUntilMs: number;
  /** Somebody wants the item no more: stop, and fail or release it. */
  readonly cancelRequested: boolean;
}
type WireRenewal = Pick<Renewal, "expiresAt" | "validMs">;
export interface Settled {
  readonly duplicate: boolean;
}
export interface FailOutcome extends Settled {
  readonly outcome: "requeued" | "deadLettered" | "cancelled";
}
export type ItemRecord = Extract<ReplyOf<"get">["results"][number], { status: string }>;

/**
 * One shard's verbs. Single forms throw a `RefusedError` for a refusal and share requests with their neighbours; batch forms return
 * refusals as values. Both throw an `OperatingError` when the outcome is not known (`unknown_outcome`), when nobody could be asked
 * (`unavailable`), or when the client is closed (`closed`), and the signal's reason when it is aborted.
 */
export class LeaseClient extends ShardAdmin {
  readonly schedules: ScheduleClient;
  readonly #core: ClientCore;
  readonly #connection: NatsConnection;
  readonly #ownsConnection: boolean;
  readonly #enqueue: Lane<Enqueued>;
  readonly #heartbeat: Lane<Renewal>;
  readonly #complete: Lane<Settled>;
  readonly #fail: Lane<FailOutcome>;
  readonly #release: Lane<Settled>;
  readonly #changes = new Set<Changes>();

  /**
   * Connects (or takes the connection given) and returns the client; it asks nothing of the shard yet.
   * Throws: OperatingError `invalid_options`, `nats_unreachable`, `nats_unauthorized`, `nats_options` (all definite).
   */
  static async connect(options: LeaseClientOptions): Promise<LeaseClient> {
    const settings = clientSettings(options);
    const { connection, servers, nats } = options;
    const used =
      connection ?? (await connectNats({ ...nats, servers: servers ?? [], name: `omnirelay ${settings.peerId}` }));
    // A connection that others use too is not ours to move.
    const onDeaf = connection === undefined ? () => void leaveServer(used) : () => {};
    const core = new ClientCore(used, settings, options.clock ?? createClock(), onDeaf);
    return new LeaseClient(core, used, connection === undefined);
  }

  private constructor(core: ClientCore, connection: NatsConnection, ownsConnection: boolean) {
    super(core);
    this.#core = core;
    this.#connection = connection;
    this.#ownsConnection = ownsConnection;
    this.schedules = new ScheduleClient(core);
    const settled = (result: object): Settled => ({ duplicate: (result as Settled).duplicate });
    this.#enqueue = core.lane("enqueue", "items", (result) => result as unknown as Enqueued);
    this.#heartbeat = core.lane("heartbeat", "leases", (result, sentAtMs) => {
      const { expiresAt, validMs, cancelRequested = false } = result as unknown as Partial<Renewal> & WireRenewal;
      return { expiresAt, validMs, validUntilMs: sentAtMs + validMs, cancelRequested };
    });
    this.#complete = core.lane("complete", "leases", settled);
    this.#fail = core.lane("fail", "leases", (result) => result as unknown as FailOutcome);
    this.#release = core.lane("release", "leases", settled);
  }

  get shard(): string {
    return this.#core.settings.shard;
  }
  get principal(): string {
    return this.#core.settings.principal;
  }
  get peerId(): string {
    return this.#core.settings.peerId;
  }
  /** Highest event sequence that a reply has cited. Keep it with a request id of your own, as `after` of its repeats. */
  get sequenceSeen(): number {
    return this.#core.sequenceSeen;
  }
  /** The monotonic clock that `validUntilMs` is told on. */
  get clock(): Clock {
    return this.#core.clock;
  }
  /** A fresh request id, for a request that may have to be asked again by hand. */
  newRequestId(): string {
    return this.#core.requestId();
  }
  get isClosed(): boolean {
    return this.#core.isClosed;
  }
  /** Requests under way, and requests put on the wire so far with their repeats. */
  get traffic(): { readonly inFlight: number; readonly sent: number } {
    return { inFlight: this.#core.exchanges.size, sent: this.#core.exchanges.attempts };
  }

  enqueue(item: EnqueueInput, options: Omit<IdempotentOptions, "requestId"> = {}): Promise<Enqueued> {
    return this.#core.one(this.#enqueue, encodeItem(item), options, afterOnly(options));
  }

  /**
   * With a `requestId` of yours, or where one depends on another by its `index`, the items must fit one request: 1,000 items and about 575 KiB.
   * Else they are split as needed.
   */
  enqueueMany(
    items: readonly EnqueueInput[],
    options: IdempotentOptions = {},
  ): Promise<readonly EntryResult<Enqueued>[]> {
    const encoded = items.map(encodeItem);
    const { requestId, after } = options;
    const isWhole = isFlow(items);
    if (requestId === undefined && !isWhole)
      return this.#core.many(this.#enqueue, encoded, options, afterOnly(options));
    const problem =
      requestId === undefined
        ? flowProblem(this.#core, encoded)
        : requestIdProblem(this.#core, requestId, items, encoded);
    if (problem !== undefined) return Promise.reject(new RefusedError(errorBody("invalid_argument", problem)));
    return this.#core.many(this.#enqueue, encoded, options, { requestId, after, isWhole });
  }

  /** Leases what is ready. Leases that come after the call was aborted are given back. */
  async lease(options: LeaseOptions = {}): Promise<LeaseAnswer> {
    const { signal, timeoutMs, attemptTimeoutMs, resourceTypes, waitMs = 0, ...fields } = options;
    const { reply, sentAtMs } = await this.#core.call(
      "lease",
      {
        ...fields,
        peerId: this.peerId,
        waitMs,
        resourceTypes: resourceTypes === undefined ? undefined : [...resourceTypes],
      },
      { signal, timeoutMs, attemptTimeoutMs, waitMs, abandoned: ({ leases }) => this.#giveBack(leases) },
    );
    const leases = reply.leases.map((lease) => ({ ...lease, validUntilMs: sentAtMs + lease.validMs }));
    return { leases, reason: reply.reason };
  }

  heartbeat(lease: Beat, options: HeartbeatOptions = {}): Promise<Renewal> {
    return this.#core.one(this.#heartbeat, encodeHeartbeat(lease), options, extension(options));
  }
  heartbeatMany(leases: readonly Beat[], options: HeartbeatOptions = {}): Promise<readonly EntryResult<Renewal>[]> {
    return this.#core.many(this.#heartbeat, leases.map(encodeHeartbeat), options, extension(options));
  }

  complete(lease: LeaseRef, result?: string, options: CallOptions = {}): Promise<Settled> {
    const { itemId, token } = lease;
    return this.#core.one(this.#complete, encodeCompletion({ itemId, token, result }), options);
  }
  completeMany(leases: readonly Completion[], options: CallOptions = {}): Promise<readonly EntryResult<Settled>[]> {
    return this.#core.many(this.#complete, leases.map(encodeCompletion), options);
  }

  fail(lease: LeaseRef, failure: Failure, options: CallOptions = {}): Promise<FailOutcome> {
    const { itemId, token } = lease;
    return this.#core.one(this.#fail, encodeFailure({ ...failure, itemId, token }), options);
  }
  failMany(
    failures: readonly (LeaseRef & Failure)[],
    options: CallOptions = {},
  ): Promise<readonly EntryResult<FailOutcome>[]> {
    return this.#core.many(this.#fail, failures.map(encodeFailure), options);
  }

  release(lease: LeaseRef, options: CallOptions = {}): Promise<Settled> {
    return this.#core.one(this.#release, encodeRelease(lease), options);
  }
  releaseMany(leases: readonly LeaseRef[], options: CallOptions = {}): Promise<readonly EntryResult<Settled>[]> {
    return this.#core.many(this.#release, leases.map(encodeRelease), options);
  }

  /** Ends what nobody has, and asks the holder of what somebody has. One result per id, in the order given; at most 1,000 ids. */
  async cancelMany(
    itemIds: readonly string[],
    { reason, ...options }: CancelOptions = {},
  ): Promise<readonly EntryResult<Cancelled>[]> {
    const { reply } = await this.#core.call("cancel", { itemIds: [...itemIds], reason }, options);
    return resultsOf<Cancelled>(reply.results);
  }
  async cancel(itemId: string, options: CancelOptions = {}): Promise<Cancelled> {
    const [result] = await this.cancelMany([itemId], options);
    if (result?.kind === "ok") return result.value;
    throw new RefusedError(result?.error ?? errorBody("item_not_found", "the reply names no item"));
  }
  /**
   * Brings dead letters back to their old places: those named, or a page of those that the filter names; `cursor` says where to go on. They are
   * asked for by their ids either way, so that a repeat takes no others.
   */
  redrive({ everyMs, ...filter }: RedriveFilter = {}, options: CallOptions = {}): Promise<DeadLettersTaken> {
    const take = async (itemIds: string[]) =>
      (await this.#core.call("redrive", { itemIds, ...(everyMs === undefined ? undefined : { everyMs }) }, options))
        .reply;
    return takeDeadLetters((page) => this.list(page, options), filter, take);
  }
  /** Ends dead letters; see `redrive`. */
  purge(filter: DeadLetterFilter = {}, options: CallOptions = {}): Promise<DeadLettersTaken> {
    const take = async (itemIds: string[]) => (await this.#core.call("purge", { itemIds }, options)).reply;
    return takeDeadLetters((page) => this.list(page, options), filter, take);
  }

  /** One result per id, in the order given; an item that is not known is refused with `item_not_found`. */
  async getMany(itemIds: readonly string[], options: ReadOptions = {}): Promise<readonly EntryResult<ItemRecord>[]> {
    const [fields, call] = readParts(options);
    const { reply } = await this.#core.call("get", { ...fields, itemIds: [...itemIds] }, call);
    return resultsOf<ItemRecord>(reply.results);
  }
  async get(itemId: string, options: ReadOptions = {}): Promise<ItemRecord> {
    const [result] = await this.getMany([itemId], options);
    if (result?.kind === "ok") return result.value;
    throw new RefusedError(result?.error ?? errorBody("item_not_found", "the reply names no item"));
  }
  /** One page. A page may be short, or empty, while it has a cursor: then there may be more. */
  async list(filter: ListFilter = {}, options: ReadOptions = {}): Promise<ReplyOf<"list">> {
    const [fields, call] = readParts(options);
    return (await this.#core.call("list", { ...fields, ...filter }, call)).reply;
  }
  /** Every item that matches, page by page: one that changes meanwhile may be missed or come in its newer state. */
  async *listAll(
    filter: Omit<ListFilter, "cursor"> = {},
    options: ReadOptions = {},
  ): AsyncGenerator<ItemRecord, void, void> {
    let cursor: string | undefined;
    do {
      const page = await this.list({ ...filter, cursor }, options);
      yield* page.items;
      cursor = page.cursor;
    } while (cursor !== undefined);
  }
  /**
   * Subscribes to the shard's changefeed over the connection of this client; see `changes`. What carries much is better given a connection of
   * its own. It ends with the client.
   * Throws: OperatingError `invalid_options`, `closed` (definite).
   */
  changes(options: Omit<ChangesOptions, "shard"> = {}): Changes {
    if (this.isClosed) throw new OperatingError("closed", "the client is closed", { definite: true });
    for (const known of this.#changes) if (known.isClosed) this.#changes.delete(known);
    const feed = changes(this.#connection, { ...options, shard: this.shard });
    this.#changes.add(feed);
    return feed;
  }
  /** Rejects what is under way and closes the connection if it is ours. Closing twice is allowed. */
  async close(): Promise<void> {
    this.#core.close();
    await Promise.all([...this.#changes].map((feed) => feed.close()));
    if (this.#ownsConnection) await this.#connection.close();
  }
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Best effort: a lease that cannot be given back runs out. */
  #giveBack(leases: readonly LeaseRef[]): void {
    if (leases.length === 0) return;
    this.releaseMany(leases).catch((error: unknown) => {
      if (!(error instanceof OperatingError)) throw error;
    });
  }
}
