/** Subscriptions to a shard's changefeed: its events as an async iterable, in order, each once as long as the process lives. */
import type { NatsConnection } from "@nats-io/transport-node";
import type { ReplicationEvent } from "../../contracts/envelope.ts";
import { OperatingError } from "../../contracts/errors.ts";
import type { LogMessage } from "../../contracts/ports.ts";
import { CHECKPOINT_BUCKET, positionKey } from "../../contracts/subjects.ts";
import { upcastEvent } from "../../contracts/upcast-event.ts";
import { Inbox } from "../jetstream/inbox.ts";
import { NatsKv } from "../jetstream/nats-kv.ts";
import { patiently } from "../jetstream/patience.ts";
import { createIds } from "../runtime/ids.ts";
import { ChangesBuffer } from "./changes-buffer.ts";
import { type ChangesOptions, type ChangesSettings, changesSettings, filterSubjects } from "./changes-options.ts";
import { PositionKeeper } from "./changes-position.ts";
import { type FeedPlace, findPlace, type Position, regionOf } from "./changes-start.ts";

/**
 * The events of one shard. It can be iterated once; to ask for the next event acknowledges the one before, and to leave the loop ends the
 * subscription without acknowledging the last.
 */
export interface Changes extends AsyncIterable<ReplicationEvent>, AsyncDisposable {
  /** Resolves when the place where it begins is known: what happens from then on is delivered. Throws as the iteration does. */
  ready(): Promise<void>;
  /**
   * Acknowledges everything that was handed out, the last event too, and resolves when the position is kept.
   * Throws: OperatingError `invalid_options` without a `name`, `changes_taken`, and what the bucket answers for 30 s.
   */
  commit(): Promise<void>;
  /** What the server has sent and nobody has asked for. */
  readonly waiting: { readonly messages: number; readonly bytes: number };
  /** Whether it has ended, in whatever way. */
  readonly isClosed: boolean;
  /** Ends it: what waits for the next event learns that there is none. Twice is allowed. */
  close(): Promise<void>;
}

/**
 * Subscribes to the changefeed of a shard, over a connection that stays the caller's.
 *
 * Iterating throws OperatingErrors, all definite: `stream_missing`; `changes_trimmed` when events that are to come are kept no more
 * (`details.firstAvailable` at the start); `version_unknown` for an event of a newer release; `event_unreadable`; `changes_taken` when another
 * subscription uses the `name`; `changes_foreign_log`, `changes_stream_replaced` when the stream is another one than before; `nats_closed`,
 * `nats_denied`; and the reason of `signal`. It outlives reconnects and restarts of servers, without loss and without a repeat.
 * Throws: OperatingError `invalid_options` (definite) at once.
 */
export function changes(connection: NatsConnection, options: ChangesOptions): Changes {
  return new ChangeFeed(connection, changesSettings(options), options.signal);
}

/** Invariant: events are handed out by rising sequence; `#reached` is the last, and the position kept is never ahead of what was asked behind. */
class ChangeFeed implements Changes {
  readonly #connection: NatsConnection;
  readonly #settings: ChangesSettings;
  readonly #signal: AbortSignal | undefined;
  readonly #inbox: Inbox;
  readonly #events: AsyncGenerator<ReplicationEvent, void, void>;
  readonly #wants: (event: ReplicationEvent) => boolean;
  readonly #onAbort = (): void => {
    this.#wake();
    void this.close();
  };
  readonly #reader: string = createIds().id("changes reader");
  readonly #opened: Promise<FeedPlace>;
  #kv: NatsKv | undefined;
  #keeper: PositionKeeper | undefined;
  #buffer: ChangesBuffer | undefined;
  #wake: () => void = () => undefined;
  #logId: string | undefined;
  /** Sequence of the last event that was handed out or is not wanted. */
  #reached = 0;
  #handedOut: Position | undefined;
  #failure: OperatingError | undefined;
  #isClosed = false;

  constructor(connection: NatsConnection, settings: ChangesSettings, signal?: AbortSignal) {
    this.#connection = connection;
    this.#settings = settings;
    this.#signal = signal;
    this.#inbox = new Inbox(connection);
    this.#wants = wantsOf(settings);
    signal?.addEventListener("abort", this.#onAbort);
    this.#opened = this.#open();
    // Who iterates, or asks whether it is ready, learns why.
    this.#opened.catch(() => {
      this.#kv?.close();
      this.#inbox.close();
    });
    this.#events = this.#iterate();
  }

  get waiting(): { readonly messages: number; readonly bytes: number } {
    return this.#buffer?.size ?? { messages: 0, bytes: 0 };
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  [Symbol.asyncIterator](): AsyncIterator<ReplicationEvent> {
    return this.#events;
  }

  async ready(): Promise<void> {
    await this.#opened;
  }

  async commit(): Promise<void> {
    if (this.#settings.name === undefined)
      throw new OperatingError("invalid_options", "a position is kept under a name: give one", { definite: true });
    await this.#opened;
    if (this.#isClosed) throw this.#failure ?? ended();
    if (this.#handedOut !== undefined) this.#keeper?.move(this.#handedOut);
    await this.#keeper?.flush();
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#wake();
    // Behind the iteration that is under way, which then sees that it is over; one that never began does not end by itself.
    await this.#events.return();
    await this.#end();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #open(): Promise<FeedPlace> {
    const { shard, name, from } = this.#settings;
    const region = this.#settings.region ?? (await this.#patiently(() => regionOf(this.#inbox, shard)));
    const keeper = name === undefined ? undefined : this.#keeperOf(positionKey(name, region, shard));
    const position = keeper === undefined ? undefined : await this.#patiently(() => keeper.take());
    const place = await this.#patiently(() => findPlace(this.#inbox, { region, shard }, position ?? from));
    this.#logId = position?.logId;
    this.#reached = place.after;
    if (keeper === undefined) return place;
    // The place is fixed now, be it that no event ever comes.
    const { streamSequence, after: sequence, created } = place;
    keeper.move({ logId: this.#logId, streamSequence: streamSequence - 1, sequence, created, reader: this.#reader });
    await keeper.flush();
    return place;
  }

  #keeperOf(key: string): PositionKeeper {
    const kv = new NatsKv(this.#connection, CHECKPOINT_BUCKET);
    this.#kv = kv;
    const onFailure = (error: OperatingError): void => {
      this.#failure ??= error;
      this.#wake();
    };
    const { commitIntervalMs: intervalMs } = this.#settings;
    this.#keeper = new PositionKeeper({ kv, key, reader: this.#reader, intervalMs, onFailure });
    return this.#keeper;
  }

  #patiently<Result>(step: () => Promise<Result>): Promise<Result> {
    return patiently(() => {
      if (this.#isClosed) throw ended();
      return step();
    });
  }

  async *#iterate(): AsyncGenerator<ReplicationEvent, void, void> {
    try {
      const place = await this.#beginning();
      if (place === undefined) return;
      for (;;) {
        const message = await this.#next();
        if (message === undefined) return;
        const event = this.#eventOf(message);
        if (event === undefined) continue;
        this.#handedOut = this.#positionOf(event, message, place);
        yield event;
        if (!this.#isClosed) this.#keeper?.move(this.#handedOut);
      }
    } finally {
      await this.#end();
    }
  }

  /** Waits for the start; undefined when it was closed before. */
  async #beginning(): Promise<FeedPlace | undefined> {
    const isOver = new Promise<undefined>((resolve) => {
      this.#wake = () => resolve(undefined);
      if (this.#isClosed || this.#signal?.aborted === true) resolve(undefined);
    });
    const place = await Promise.race([this.#opened, isOver]);
    this.#signal?.throwIfAborted();
    if (place === undefined || this.#isClosed) return undefined;
    this.#buffer = new ChangesBuffer({
      ...{ connection: this.#connection, inbox: this.#inbox, place },
      filterSubjects: filterSubjects(place.region, this.#settings),
      bytesMax: this.#settings.bufferBytesMax,
      wake: () => this.#wake(),
    });
    return place;
  }

  /** The next message, waited for; undefined when the subscription was closed. */
  async #next(): Promise<LogMessage | undefined> {
    for (;;) {
      this.#signal?.throwIfAborted();
      if (this.#isClosed) return undefined;
      if (this.#failure !== undefined) throw this.#failure;
      const message = this.#buffer?.take();
      if (message !== undefined) return message;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  /** The event in a message; undefined for a stranger's message, for what the filter leaves out, and for what was handed out before. */
  #eventOf({ payload, chainHeader, streamSequence }: LogMessage): ReplicationEvent | undefined {
    if (chainHeader === "") return undefined;
    const event = upcastEvent(parsed(payload, streamSequence));
    const logId = event.metadata["log.id"];
    this.#logId ??= logId;
    if (logId !== this.#logId) throw foreignLog(this.#logId, logId);
    if (event.sequenceNumber <= this.#reached || !this.#wants(event)) return undefined;
    this.#reached = event.sequenceNumber;
    return event;
  }

  #positionOf(event: ReplicationEvent, { streamSequence }: LogMessage, { created }: FeedPlace): Position {
    const { sequenceNumber: sequence, metadata } = event;
    return { logId: metadata["log.id"], sequence, streamSequence, created, reader: this.#reader };
  }

  async #end(): Promise<void> {
    this.#isClosed = true;
    this.#signal?.removeEventListener("abort", this.#onAbort);
    this.#buffer?.close();
    this.#inbox.close();
    await this.#keeper?.close();
    this.#kv?.close();
    await this.#opened.catch(() => undefined);
  }
}

function wantsOf({ filter }: ChangesSettings): (event: ReplicationEvent) => boolean {
  const types = filter.eventTypes === undefined ? undefined : new Set<string>(filter.eventTypes);
  const resources = filter.resourceTypes === undefined ? undefined : new Set<string>(filter.resourceTypes);
  return ({ eventType, resourceType }) =>
    (types === undefined || types.has(eventType)) &&
    (resources === undefined || (resourceType !== undefined && resources.has(resourceType)));
}

const decoder = new TextDecoder();

function parsed(payload: Uint8Array, streamSequence: number): unknown {
  try {
    return JSON.parse(decoder.decode(payload));
  } catch (cause) {
    throw noJson(streamSequence, cause);
  }
}

function noJson(streamSequence: number, cause: unknown): OperatingError {
  const message = `the message at stream sequence ${streamSequence} has the headers of an event, but is no JSON`;
  return new OperatingError("event_unreadable", message, { definite: true, cause });
}

const ended = (): OperatingError =>
  new OperatingError("closed", "the subscription has ended; what is to be acknowledged has to be before", {
    definite: true,
  });

function foreignLog(known: string, found: string): OperatingError {
  const message = `the changefeed holds events of log ${found} now, and of ${known} before: the shard was made anew. Subscribe under another name, or remove the position`;
  return new OperatingError("changes_foreign_log", message, { definite: true, details: { known, found } });
}
