/**
 * The changefeed: a shard's events as messages of a stream of their own, for every NATS client there is. A batch is appended whole and under
 * its expected last sequence, and its last message holds how far it reaches: so of two instances one writes, and nothing doubles.
 */
import assert from "node:assert/strict";
import { z } from "zod";
import type { ReplicationEvent } from "../../../contracts/envelope.ts";
import { OperatingError } from "../../../contracts/errors.ts";
import type { Checkpoint } from "../../../contracts/followers.ts";
import type { Closable } from "../../../contracts/ports.ts";
import {
  CHAIN_HEADER,
  changesStream,
  changesSubject,
  changesSubscription,
  PLACE_HEADER,
  resourceToken,
  SCHEMA_HEADER,
  SEQUENCE_HEADER,
} from "../../../contracts/subjects.ts";
import { API_TIMEOUT_MS, type ApiOutcome, apiFailure, isPassing } from "../../jetstream/api.ts";
import { watchOf } from "../../jetstream/connection-watch.ts";
import { Inbox } from "../../jetstream/inbox.ts";
import { createIds } from "../../runtime/ids.ts";
import type { Sink, SinkBatch, SinkDeps, SinkKind, SinkScope } from "../sink.ts";
import {
  BATCH_BYTES_AIM,
  BATCH_MESSAGES_MAX,
  type BatchMessage,
  type BatchOutcome,
  publishBatch,
} from "./changefeed-batch.ts";
import { type EnsuredStream, ensureChangefeed, type Place, readTail, type Tail } from "./changefeed-stream.ts";
import { eventsBehind, isBehind } from "./places.ts";
import { sinkTaken } from "./sink-errors.ts";

const DAY_MS = 86_400_000;
const GIB: number = 1024 ** 3;
/** The server counts in ns, in 64 bits. ms. */
const AGE_MS_MAX = 100 * 366 * DAY_MS;
/** How often a batch is sent anew in one `apply` because the stream had moved on: a stranger's message each time, or an attempt that came late. */
const ATTEMPTS_MAX = 5;
/** What the headers of a message take at most. Bytes. */
const HEADER_BYTES_MAX = 2_048;
const INCOMPLETE_BATCH = 10_176;
/** How long a batch under way is waited for when the sink is told to stop: its word spares the next instance a doubt. ms. */
const ABORT_MS = 500;
/** In the place of an event type: the sink was sent elsewhere. */
const MOVED = "_moved";

const ChangefeedOptions = z.strictObject({
  provision: z
    .boolean()
    .default(true)
    .describe("Create the stream where it is missing. An existing one is checked, never changed."),
  replicas: z.int().min(1).max(5).default(1).describe("Replicas of a stream that is created."),
  maxAgeMs: z
    .int()
    .min(0)
    .max(AGE_MS_MAX)
    .refine((value) => value === 0 || value >= 1_000, { error: "must be 0, or 1,000 at least" })
    .default(7 * DAY_MS)
    .describe("How long events stay in a stream that is created; 0: no limit. ms."),
  maxBytes: z
    .int()
    .min(-1)
    .max(Number.MAX_SAFE_INTEGER)
    .refine((value) => value === -1 || value >= 1024 * 1024, { error: "must be -1, or 1,048,576 at least" })
    .default(GIB)
    .describe("Size at which a stream that is created drops its oldest events; -1: no limit. Bytes."),
});
type ChangefeedOptions = Readonly<z.infer<typeof ChangefeedOptions>>;

/** The kind `changefeed`. */
export const changefeedKind: SinkKind<ChangefeedOptions> = {
  kind: "changefeed",
  summary: "A JetStream stream with one message per event, for native NATS consumers and `changes()` of the SDK.",
  guarantee: "exactly once",
  options: ChangefeedOptions,
  target: () => "the changefeed",
  create: (options, deps) => new ChangefeedSink(options, deps),
};

/** One shard's stream as this instance knows it. */
interface Feed {
  readonly scope: SinkScope;
  readonly stream: string;
  readonly inbox: Inbox;
  readonly denials: Closable;
  /** When the stream was made. */
  created: string;
  /** Its last sequence. */
  last: number;
  /** Events up to here are in the stream. */
  sequence: number;
  /** Whether an append may have been stored, or may yet be, that we have no word of. */
  isDoubtful: boolean;
  /** Why the server does not let us publish; empty while it does. */
  denied: string;
}

/**
 * Invariant: one batch is under way at most. After anything but its acknowledgement nothing is sent before the end of the stream was read,
 * and what the stream holds is never sent again.
 */
class ChangefeedSink implements Sink {
  readonly #options: ChangefeedOptions;
  readonly #deps: SinkDeps;
  /** Tells our batches from those of another instance. */
  readonly #writer: string;
  #feed: Feed | undefined;
  #batches = 0;
  #isWriting = false;

  constructor(options: ChangefeedOptions, deps: SinkDeps) {
    this.#options = options;
    this.#deps = deps;
    this.#writer = createIds().id("changefeed writer");
  }

  /**
   * The place of the stream's last message, or the one known outside where that is further: then the sink's filter has left out what lies
   * between. A stream that has dropped all its messages has no place of its own.
   */
  async open(scope: SinkScope, checkpoint: Checkpoint | undefined): Promise<Checkpoint | undefined> {
    await this.close();
    const inbox = new Inbox(this.#deps.connection);
    try {
      const { created, differences } = await this.#ensure(inbox, scope);
      if (differences.length > 0)
        this.#deps.reporter.warn("changefeed_stream_differs", { sink: scope.sink, shard: scope.shard, differences });
      const { last, place } = await readTail(inbox, scope);
      this.#feed = this.#opened(scope, inbox, { created, last, sequence: place?.sequence ?? 0 });
      if (place === undefined) return undefined;
      const isOutsideFurther = checkpoint?.logId === scope.logId && isBehind(place.checkpoint, checkpoint);
      return isOutsideFurther ? checkpoint : place.checkpoint;
    } catch (error) {
      inbox.close();
      throw lasting(error);
    }
  }

  async apply({ events, after, upTo }: SinkBatch, signal: AbortSignal): Promise<void> {
    await this.#write(async (feed) => {
      const parts = partsOf(eventsBehind(events, feed.sequence), feed.scope, this.#payloadMax());
      for (const [index, { messages, sequence }] of parts.entries()) {
        const isLast = index === parts.length - 1;
        const checkpoint = isLast ? upTo : { ...after, sequence };
        if (!(await this.#append(feed, messages, { sequence, checkpoint }, signal))) return false;
      }
      return true;
    });
  }

  /** Writes a message that holds the place and no event. Events that are in the stream already are not written again. */
  async seek(to: Checkpoint): Promise<void> {
    const { signal } = new AbortController();
    await this.#write(async (feed) => {
      // From the beginning: where the stream was emptied, everything is wanted again.
      const { last, place } = await this.#look(feed, 0);
      feed.last = last;
      feed.sequence = place?.sequence ?? 0;
      const { region, shard } = feed.scope;
      const payload = encoder.encode(JSON.stringify({ movedTo: to }));
      const message = { subject: changesSubject(region, shard, MOVED), payload, headers: [] };
      return this.#append(feed, [message], { sequence: feed.sequence, checkpoint: to }, signal);
    });
  }

  close(): Promise<void> {
    this.#feed?.inbox.close();
    this.#feed?.denials.close();
    this.#feed = undefined;
    return Promise.resolve();
  }

  #ensure(inbox: Inbox, scope: SinkScope): Promise<EnsuredStream> {
    const { provision, ...limits } = this.#options;
    return ensureChangefeed(inbox, scope, provision ? limits : undefined);
  }

  #opened(scope: SinkScope, inbox: Inbox, end: Pick<Feed, "created" | "last" | "sequence">): Feed {
    const { region, shard } = scope;
    const prefix = changesSubscription(region, shard).slice(0, -1);
    const feed: Feed = {
      ...{ ...end, scope, stream: changesStream(region, shard), inbox, isDoubtful: false, denied: "" },
      denials: watchOf(this.#deps.connection).onDenied(({ operation, subject, message }) => {
        if (operation === "publish" && subject.startsWith(prefix)) feed.denied = message;
      }),
    };
    return feed;
  }

  /** `step` answers false when the stream had moved on: then it is looked at, and the step is done again. */
  async #write(step: (feed: Feed) => Promise<boolean>): Promise<void> {
    const feed = this.#feed;
    assert(feed !== undefined, "the sink is open");
    assert(!this.#isWriting, `a batch for ${feed.stream} is under way already`);
    this.#isWriting = true;
    try {
      for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt += 1) {
        if (feed.isDoubtful) await this.#settle(feed);
        if (await step(feed)) return;
      }
    } catch (error) {
      throw lasting(error);
    } finally {
      this.#isWriting = false;
    }
    const message = `${feed.stream} moved on ${ATTEMPTS_MAX} times while a batch was being appended: somebody else publishes into it`;
    throw new OperatingError("sink_contended", message, { definite: false });
  }

  /** After an append without a word of it: takes over what stands behind the last sequence that we know of. */
  async #settle(feed: Feed): Promise<void> {
    const { created } = await this.#ensure(feed.inbox, feed.scope);
    if (created !== feed.created) {
      // Deleted meanwhile. What stood in it is filled in by whoever sends the sink back.
      this.#deps.reporter.warn("changefeed_stream_replaced", { stream: feed.stream, sequence: feed.sequence });
      Object.assign(feed, { created, last: 0, sequence: 0 });
    }
    const { last, place } = await this.#look(feed, feed.last);
    if (last > feed.last && place === undefined)
      this.#deps.reporter.warn("changefeed_stranger", { stream: feed.stream, from: feed.last + 1, to: last });
    feed.sequence = place?.sequence ?? feed.sequence;
    feed.last = last;
    feed.isDoubtful = false;
  }

  /** The stream's end; nothing at or below `above` is looked at. Throws: `sink_taken`, `sink_stream_lost`. */
  async #look(feed: Feed, above: number): Promise<Tail> {
    const tail = await readTail(feed.inbox, feed.scope, above);
    if (tail.last < feed.last) throw lostTail(feed.stream, feed.last, tail.last);
    if (tail.placeAt > feed.last && tail.place?.writer !== this.#writer) throw sinkTaken(feed.scope, feed.stream);
    return tail;
  }

  async #append(feed: Feed, messages: readonly BatchMessage[], place: Reached, signal: AbortSignal): Promise<boolean> {
    signal.throwIfAborted();
    const { stream, inbox, last: expectedLast } = feed;
    this.#batches += 1;
    const request = {
      ...{ stream, expectedLast, timeoutMs: API_TIMEOUT_MS },
      id: `${this.#writer}.${this.#batches}`,
      messages: withPlace(messages, this.#writer, place),
    };
    feed.isDoubtful = true;
    feed.denied = "";
    const outcome = await abortable<BatchOutcome>(signal, (resolve) =>
      publishBatch(this.#deps.connection, inbox, request, resolve),
    );
    if (outcome === undefined) throw signal.reason;
    if (outcome.kind === "moved") return false;
    if (outcome.kind === "failed") throw await this.#failure(feed, outcome.outcome);
    feed.last = outcome.last;
    feed.sequence = place.sequence;
    feed.isDoubtful = false;
    return true;
  }

  async #failure(feed: Feed, outcome: Exclude<ApiOutcome, { kind: "ok" }>): Promise<OperatingError> {
    const what = `appending to ${feed.stream}`;
    if (outcome.kind === "api_error" && outcome.error.errCode === INCOMPLETE_BATCH) {
      // A message that we may not publish is missing in the batch; the refusal is told by another way, which may be slower.
      await new Promise((resolve) => setImmediate(resolve));
      if (feed.denied !== "") return apiFailure({ kind: "denied", reason: feed.denied }, what, true);
      return new OperatingError("jetstream_error", `${what}: the server did not get the whole batch`, {
        definite: false,
      });
    }
    return apiFailure(outcome, what, false);
  }

  /** Largest message with its headers. Bytes. */
  #payloadMax(): number {
    return this.#deps.connection.info?.max_payload ?? Number.MAX_SAFE_INTEGER;
  }
}

const encoder = new TextEncoder();

/** What a batch leads to; see `Place`. */
interface Reached {
  readonly sequence: number;
  readonly checkpoint: Checkpoint;
}

interface Part {
  readonly messages: BatchMessage[];
  /** Of its last event. */
  sequence: number;
  bytes: number;
}

/** The events in as few batches as the server's limits allow. Throws: `event_refused`. */
function partsOf(events: readonly ReplicationEvent[], scope: SinkScope, payloadMax: number): Part[] {
  const parts: Part[] = [];
  for (const event of events) {
    const message = messageOf(event, scope);
    const bytes = message.payload.length;
    if (bytes + HEADER_BYTES_MAX > payloadMax) throw refusedEvent(event, bytes, payloadMax);
    let part = parts.at(-1);
    if (part === undefined || part.messages.length >= BATCH_MESSAGES_MAX || part.bytes + bytes > BATCH_BYTES_AIM) {
      part = { messages: [], sequence: 0, bytes: 0 };
      parts.push(part);
    }
    part.messages.push(message);
    part.sequence = event.sequenceNumber;
    part.bytes += bytes;
  }
  return parts;
}

function messageOf(event: ReplicationEvent, { region, shard }: SinkScope): BatchMessage {
  const { eventType, resourceType, sequenceNumber, schemaVersion, metadata } = event;
  const token = resourceType === undefined ? undefined : resourceToken(resourceType);
  return {
    subject: changesSubject(region, shard, eventType, token),
    payload: encoder.encode(JSON.stringify(event)),
    headers: [
      { name: SEQUENCE_HEADER, value: String(sequenceNumber) },
      { name: CHAIN_HEADER, value: metadata["log.chain"] },
      { name: SCHEMA_HEADER, value: String(schemaVersion) },
    ],
  };
}

function withPlace(
  messages: readonly BatchMessage[],
  writer: string,
  { sequence: lastEvent, checkpoint }: Reached,
): readonly BatchMessage[] {
  const last = messages.at(-1);
  assert(last !== undefined, "a batch has messages");
  const { logId, streamSequence, sequence, chain, term, at, first, tokenEpoch } = checkpoint;
  // An entry of the bucket says more than its place.
  const ours = { logId, streamSequence, sequence, chain, term, at, first, tokenEpoch };
  const place: Place = { writer, sequence: lastEvent, checkpoint: ours };
  const header = { name: PLACE_HEADER, value: JSON.stringify(place) };
  return [...messages.slice(0, -1), { ...last, headers: [...last.headers, header] }];
}

/** Waits for `begin` to call back; once the signal is aborted only a little longer: then undefined. */
function abortable<Outcome extends object>(
  signal: AbortSignal,
  begin: (resolve: (outcome: Outcome) => void) => void,
): Promise<Outcome | undefined> {
  return new Promise((resolve) => {
    let timer: NodeJS.Timeout | undefined;
    const onAbort = (): void => {
      timer = setTimeout(() => resolve(undefined), ABORT_MS);
    };
    signal.addEventListener("abort", onAbort, { once: true });
    begin((outcome) => {
      clearTimeout(timer);
      signal.removeEventListener("abort", onAbort);
      resolve(outcome);
    });
  });
}

/** What can pass by itself is not definite here: the pump is to try again. */
function lasting(error: unknown): unknown {
  if (!(error instanceof OperatingError && error.definite)) return error;
  const { code, errCode } = error.details as { readonly code?: number; readonly errCode?: number };
  const isApiError = typeof code === "number" && typeof errCode === "number";
  const canPass = isApiError ? isPassing({ code, errCode, description: "" }) : PASSING.has(error.code);
  if (!canPass) return error;
  return new OperatingError(error.code, error.message, { definite: false, cause: error, details: error.details });
}
const PASSING: ReadonlySet<string> = new Set(["jetstream_unavailable", "jetstream_timeout", "nats_disconnected"]);

function refusedEvent({ sequenceNumber }: ReplicationEvent, bytes: number, payloadMax: number): OperatingError {
  const message = `event ${sequenceNumber} takes ${bytes} bytes, and the server's max_payload is ${payloadMax} with headers`;
  return new OperatingError("event_refused", message, { definite: true, details: { sequence: sequenceNumber, bytes } });
}

function lostTail(stream: string, known: number, last: number): OperatingError {
  const message = `${stream} ends at ${last} and held ${known} messages before: its server has lost the end. Start the process anew, and send the sink back to the last event that is there (omnirelay sink seek)`;
  return new OperatingError("sink_stream_lost", message, { definite: true, details: { stream, known, last } });
}
