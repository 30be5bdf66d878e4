/**
 * Reads one replica's own copy of a stream. An unreplicated consumer lives on one of the stream's servers and reads that server's store, and
 * the server says on which: so consumers are made until each server has one. A direct get is answered by any replica, and tells not by which.
 */
import { createHash } from "node:crypto";
import { type Msg, type NatsConnection, nuid, type Subscription } from "@nats-io/transport-node";
import type { Closable } from "../../contracts/ports.ts";
import { API_PREFIX, type ApiOutcome, apiFailure, askApiAsync, asRecord, isPassing } from "./api.ts";
import { watchOf } from "./connection-watch.ts";
import { crashOnThrow } from "./crash.ts";
import { headerValue, rawHeaders, statusCode } from "./header-block.ts";
import { freshInbox, type Inbox } from "./inbox.ts";
import { deliveryOf } from "./stored-message.ts";

/**
 * `bytes`: all that is stored. `headers`: subject, headers and size only; the server still reads each record and checks its checksum, and the
 * chain header of a frame is the hash of its payload, so that only forged payloads go unseen, at a small part of the traffic.
 */
export type ReadDepth = "bytes" | "headers";

/** One stored message. Equal digests mean equal subject, headers and, at depth `bytes`, payload. */
export interface ReplicaEntry {
  readonly sequence: number;
  readonly digest: string;
}

export interface ReadersRequest {
  readonly connection: NatsConnection;
  readonly inbox: Inbox;
  readonly stream: string;
  /** Names of the servers whose copies are read. */
  readonly servers: readonly string[];
  /** First stream sequence that is read. */
  readonly from: number;
  readonly depth: ReadDepth;
  /** How long a copy may bring nothing new before it counts as ended. ms. */
  readonly patienceMs: number;
}

/** Messages that one request may bring. */
const BATCH_MAX = 500;
/** Bytes that one request may bring: well below what makes the server drop us as a slow consumer. */
const BATCH_BYTES_MAX = 8 * 1_024 * 1_024;
/** How long the server waits for messages before it says that there are none. ms. */
const EXPIRES_MS = 500;
/** How much later than that its word may come. ms. */
const ANSWER_MS = 2_500;
/** How long nobody may be there: our server may learn of a new consumer on another one after we did. ms. */
const NOBODY_MS = 2_000;
const NOBODY_POLL_MS = 20;
/** How long the server keeps a consumer that nobody asks, besides the patience with another copy that ends early. ms. */
const ABANDONED_MS = 10_000;
/** A consumer is placed at random: enough tries that each server gets one but for a chance of one in a million. */
const TRIES_PER_SERVER = 25;
const CREATE_TIMEOUT_MS = 2_000;
/** How long to look for consumers on all servers. ms. */
const SEARCH_MS = 10_000;
const NS_PER_MS = 1_000_000;
const NO_MESSAGES = 404;
const EXPIRED = 408;
const ENDED = 409;
const NO_RESPONDERS = 503;
const encoder = new TextEncoder();
const EMPTY = new Uint8Array(0);

/** Readers for the named servers, as far as they can be had within 10 s. Throws what the JetStream API answers when that cannot pass. */
export async function openReaders(request: ReadersRequest): Promise<ReadonlyMap<string, ReplicaReader>> {
  const { connection, stream, servers } = request;
  const readers = new Map<string, ReplicaReader>();
  const start = performance.now();
  for (let tries = servers.length * TRIES_PER_SERVER; tries > 0 && readers.size < servers.length; tries -= 1) {
    if (performance.now() - start > SEARCH_MS) break;
    const consumer = nuid.next();
    const server = await createConsumer(request, consumer);
    if (server === undefined) continue;
    if (servers.includes(server) && !readers.has(server)) readers.set(server, new ReplicaReader(request, consumer));
    else deleteConsumer(connection, stream, consumer);
  }
  return readers;
}

/** The server that the new consumer lives on; undefined when there is none, for a reason that can pass. */
async function createConsumer(request: ReadersRequest, name: string): Promise<string | undefined> {
  const { inbox, stream, from, depth, patienceMs } = request;
  const config = {
    name,
    description: "OmniRelay replica audit",
    deliver_policy: "by_start_sequence",
    opt_start_seq: from,
    ack_policy: "none",
    replay_policy: "instant",
    headers_only: depth === "headers",
    inactive_threshold: (ABANDONED_MS + patienceMs) * NS_PER_MS,
    mem_storage: true,
    num_replicas: 1,
  };
  const body = { stream_name: stream, config, action: "create" };
  const outcome = await askApiAsync(inbox, `CONSUMER.CREATE.${stream}.${name}`, body, CREATE_TIMEOUT_MS);
  if (outcome.kind === "ok") return serverOf(outcome.value);
  if (canPass(outcome)) return undefined;
  throw apiFailure(outcome, `reading the replicas of ${stream}`, true);
}

function serverOf(value: Readonly<Record<string, unknown>>): string | undefined {
  const leader = asRecord(value["cluster"])["leader"];
  return typeof leader === "string" && leader !== "" ? leader : undefined;
}

function canPass(outcome: Exclude<ApiOutcome, { kind: "ok" }>): boolean {
  return outcome.kind === "timeout" || (outcome.kind === "api_error" && isPassing(outcome.error));
}

/** Without waiting for an answer: the consumer would go by itself. */
function deleteConsumer(connection: NatsConnection, stream: string, consumer: string): void {
  if (!connection.isClosed() && watchOf(connection).connected)
    connection.publish(`${API_PREFIX}.CONSUMER.DELETE.${stream}.${consumer}`, EMPTY);
}

/** How one request ended: with all that was asked for, because there is no more, because of its size, with nobody there, or without an answer. */
type PullEnd = "full" | "none" | "size" | "nobody" | { readonly failure: string };

interface Pull {
  readonly subject: string;
  readonly end: (end: PullEnd) => void;
  left: number;
}

/**
 * Invariant: `#ahead` holds what was read and not yet handed out, in order; at most one batch.
 */
export class ReplicaReader implements Closable {
  readonly #request: ReadersRequest;
  readonly #consumer: string;
  readonly #inbox: string;
  readonly #subscription: Subscription;
  readonly #watching: Closable;
  #ahead: ReplicaEntry[] = [];
  #last: number;
  #pull: Pull | undefined;
  #pullCount = 0;
  #progressMs = performance.now();
  #isAtEnd = false;
  #failure: string | undefined;

  constructor(request: ReadersRequest, consumer: string) {
    this.#request = request;
    this.#consumer = consumer;
    this.#last = request.from - 1;
    const { connection } = request;
    this.#inbox = freshInbox(connection);
    this.#subscription = connection.subscribe(`${this.#inbox}.*`, {
      callback: (error, message) => crashOnThrow(() => this.#receive(error, message)),
    });
    this.#watching = watchOf(connection).onChange(() => this.#pull?.end({ failure: "the connection was lost" }));
  }

  /** Why reading had to be given up; what was handed out is good. */
  get failure(): string | undefined {
    return this.#failure;
  }

  /** Whether the copy is known to hold something behind what was handed out. */
  get goesOn(): boolean {
    return this.#ahead.length > 0;
  }

  /** What the replica holds up to that sequence, behind what was handed out before. Ends early where its copy ends. */
  async readTo(sequence: number): Promise<readonly ReplicaEntry[]> {
    while (this.#last < sequence && !this.#isAtEnd && this.#failure === undefined) {
      const before = this.#last;
      const end = await this.#ask(Math.min(BATCH_MAX, sequence - before));
      if (this.#last > before) this.#progressMs = performance.now();
      if (typeof end === "object") this.#failure = end.failure;
      else if (end === "nobody") await this.#waitForSomebody();
      else if (end === "size" && this.#last === before)
        this.#failure = "a message is larger than one request may bring";
      else if (end === "none") this.#isAtEnd = performance.now() - this.#progressMs >= this.#request.patienceMs;
    }
    const behind = this.#ahead.findIndex((entry) => entry.sequence > sequence);
    return this.#ahead.splice(0, behind === -1 ? this.#ahead.length : behind);
  }

  async #waitForSomebody(): Promise<void> {
    if (performance.now() - this.#progressMs >= NOBODY_MS) this.#failure = "its server has gone";
    else await new Promise((resolve) => setTimeout(resolve, NOBODY_POLL_MS));
  }

  close(): void {
    this.#watching.close();
    this.#pull?.end({ failure: "the reading was ended" });
    const { connection, stream } = this.#request;
    if (!connection.isClosed()) this.#subscription.unsubscribe();
    deleteConsumer(connection, stream, this.#consumer);
  }

  #ask(batch: number): Promise<PullEnd> {
    const { connection, stream } = this.#request;
    if (connection.isClosed() || !watchOf(connection).connected)
      return Promise.resolve({ failure: "the connection is down" });
    return new Promise((resolve) => {
      this.#pullCount += 1;
      const subject = `${this.#inbox}.${this.#pullCount}`;
      const timer = setTimeout(() => end({ failure: "its server does not answer" }), EXPIRES_MS + ANSWER_MS);
      const end = (how: PullEnd): void => {
        clearTimeout(timer);
        this.#pull = undefined;
        resolve(how);
      };
      this.#pull = { subject, end, left: batch };
      const body = { batch, expires: EXPIRES_MS * NS_PER_MS, max_bytes: BATCH_BYTES_MAX };
      const payload = encoder.encode(JSON.stringify(body));
      connection.publish(`${API_PREFIX}.CONSUMER.MSG.NEXT.${stream}.${this.#consumer}`, payload, { reply: subject });
    });
  }

  #receive(error: Error | null, message: Msg): void {
    const pull = this.#pull;
    if (pull === undefined) return;
    if (error !== null) {
      pull.end({ failure: error.message });
      return;
    }
    // A stored message keeps its own subject; what the server itself says comes on ours.
    const delivery = deliveryOf(message.reply ?? "");
    if (delivery !== undefined) this.#take(pull, delivery.streamSequence, message);
    else if (message.subject === pull.subject) this.#status(pull, message);
  }

  #take(pull: Pull, sequence: number, message: Msg): void {
    if (sequence <= this.#last) return;
    this.#last = sequence;
    this.#ahead.push({ sequence, digest: digestOf(message, this.#request.depth) });
    pull.left -= 1;
    if (pull.left === 0) pull.end("full");
  }

  #status(pull: Pull, message: Msg): void {
    const headers = rawHeaders(message);
    const status = statusCode(headers);
    if (status === NO_MESSAGES || status === EXPIRED) pull.end("none");
    else if (status === NO_RESPONDERS) pull.end("nobody");
    else if (status === ENDED) pull.end(/maxbytes/i.test(headers) ? "size" : { failure: textOf(headers) });
  }
}

/** `NATS/1.0 409 Consumer Deleted` without its beginning. */
function textOf(headers: string): string {
  return /^NATS\/1\.0 \d{3} ?([^\r\n]*)/.exec(headers)?.[1] ?? headerValue(headers, "Description");
}

function digestOf(message: Msg, depth: ReadDepth): string {
  const text = `${message.subject}\n${rawHeaders(message)}`;
  return depth === "headers" ? text : createHash("sha256").update(text).update(message.data).digest("base64");
}
