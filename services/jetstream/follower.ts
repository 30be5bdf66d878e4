/**
 * Follows one stream from a sequence on, through any number of consumers: each is thrown away at the first doubt (disconnect, missed
 * heartbeats, a hole in what it delivered) and the next begins where the last delivered message ended. In between the stream's leader is
 * read message by message.
 */
import { type Msg, type NatsConnection, nuid, type Subscription } from "@nats-io/transport-node";
import { OperatingError } from "../../contracts/errors.ts";
import type { Closable, FollowHandler } from "../../contracts/ports.ts";
import { API_PREFIX, type ApiOutcome, apiFailure, askApi, isPassing } from "./api.ts";
import { type ConnectionWatch, watchOf } from "./connection-watch.ts";
import { crashOnThrow } from "./crash.ts";
import { headerValue, rawHeaders, statusCode } from "./header-block.ts";
import { freshInbox, type Inbox } from "./inbox.ts";
import { type Delivery, deliveredMessage, deliveryOf, logMessageOf, storedMessage } from "./stored-message.ts";

/** How often an idle consumer says that it lives. ms. Low, for it bounds how long a consumer lost with its server goes unseen. */
const HEARTBEAT_MS = 500;
/** Ticks without a sign of life after which a consumer is given up. Ticks, not time: a blocked event loop is not a lost consumer. */
const HEARTBEATS_MISSED_MAX = 4;
/** How long the server keeps a consumer that nobody listens to. ms. */
const ABANDONED_MS = 10_000;
/** Ticks without a sign of life after which the stream's leader is asked in the consumer's stead. */
const SILENT_TICKS_DARK = 2;
const CREATE_TIMEOUT_MS = 2_000;
const READ_TIMEOUT_MS = 1_000;
const RETRY_MS_MIN = 50;
const RETRY_MS_MAX = 1_000;
const NS_PER_MS = 1_000_000;
const EMPTY = new Uint8Array(0);
const STATUS_CONTROL = 100;

export interface FollowerOptions {
  readonly connection: NatsConnection;
  /** For requests to the JetStream API; shared with the log that follows. */
  readonly inbox: Inbox;
  readonly stream: string;
  readonly fromSequence: number;
  readonly handler: FollowHandler;
  /** Only messages of these subjects, which may not overlap; all when absent. While the stream's leader is read, others come too. */
  readonly filterSubjects?: readonly string[] | undefined;
  /** Called before a consumer is asked for: what it sends may be of a stream that was made anew. */
  readonly onConsumer?: (() => void) | undefined;
}

/** One consumer's life. Whatever comes for another one than the current is ignored. */
interface Session {
  readonly consumer: string;
  readonly subscription: Subscription;
  /** Sequence of the last delivery in the consumer's own count. */
  delivered: number;
  /** Whether the server has sent anything for it. */
  isAlive: boolean;
  silentTicks: number;
}

/**
 * Delivers the stream in order and once.
 *
 * Invariant: `#next` is the sequence behind the last delivered message; nothing below it is delivered, and a consumer whose own count
 * shows a hole is replaced before anything behind the hole is delivered.
 * Memory is bounded without a queue: the server stops at its flow-control window until we answer, and we answer in the turn in which
 * all before has been handled, unless `hold` was called.
 */
export class Follower implements Closable {
  readonly #options: FollowerOptions;
  readonly #watch: ConnectionWatch;
  readonly #connectionHooks: readonly Closable[];
  readonly #ticker: NodeJS.Timeout;
  #next: number;
  #session: Session | undefined;
  #retryTimer: NodeJS.Timeout | undefined;
  #retryMs = RETRY_MS_MIN;
  #isReading = false;
  #isHeld = false;
  #heldReply = "";
  #closed = false;

  constructor(options: FollowerOptions) {
    this.#options = options;
    this.#next = options.fromSequence;
    this.#watch = watchOf(options.connection);
    this.#connectionHooks = [
      this.#watch.onChange((connected) => {
        this.#drop();
        if (connected) this.#open();
      }),
      this.#watch.onClosed(() => this.#fail(connectionClosed(options.stream))),
    ];
    this.#ticker = setInterval(() => this.#tick(), HEARTBEAT_MS);
    if (this.#watch.closed) setImmediate(() => this.#fail(connectionClosed(options.stream)));
    else if (this.#watch.connected) this.#open();
  }

  /** Stops answering flow control: the server sends at most its window more, until `resume`. A consumer that is lost meanwhile is not replaced. */
  hold(): void {
    this.#isHeld = true;
  }
  resume(): void {
    if (!this.#isHeld) return;
    this.#isHeld = false;
    const reply = this.#heldReply;
    this.#heldReply = "";
    if (reply !== "") this.#answer(reply);
    if (this.#session === undefined) this.#open();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearInterval(this.#ticker);
    for (const hook of this.#connectionHooks) hook.close();
    this.#drop();
  }

  #open(): void {
    // Each new consumer sends a whole window before it waits for us.
    if (this.#closed || this.#isHeld || !this.#watch.connected) return;
    clearTimeout(this.#retryTimer);
    const { connection, inbox, stream, onConsumer } = this.#options;
    const deliverSubject = freshInbox(connection);
    const session: Session = {
      consumer: nuid.next(),
      subscription: connection.subscribe(deliverSubject, {
        callback: (error, message) => crashOnThrow(() => this.#receive(session, error, message)),
      }),
      delivered: 0,
      isAlive: false,
      silentTicks: 0,
    };
    this.#session = session;
    onConsumer?.();
    const body = {
      stream_name: stream,
      config: this.#consumerConfig(session.consumer, deliverSubject),
      action: "create",
    };
    askApi(inbox, `CONSUMER.CREATE.${stream}.${session.consumer}`, body, CREATE_TIMEOUT_MS, (outcome) => {
      // A consumer that sends exists, whatever became of the answer.
      if (this.#session === session && outcome.kind !== "ok" && !session.isAlive) this.#refused(outcome);
    });
  }

  #consumerConfig(name: string, deliverSubject: string): object {
    const { filterSubjects } = this.#options;
    return {
      name,
      description: "OmniRelay follower",
      deliver_subject: deliverSubject,
      deliver_policy: "by_start_sequence",
      opt_start_seq: this.#next,
      ...(filterSubjects === undefined ? {} : { filter_subjects: filterSubjects }),
      ack_policy: "none",
      replay_policy: "instant",
      max_deliver: 1,
      flow_control: true,
      idle_heartbeat: HEARTBEAT_MS * NS_PER_MS,
      inactive_threshold: ABANDONED_MS * NS_PER_MS,
      mem_storage: true,
      num_replicas: 1,
    };
  }

  /** The consumer could not be made. What can pass is tried again for ever; a missing stream or right is the caller's. */
  #refused(outcome: Exclude<ApiOutcome, { kind: "ok" }>): void {
    const isFinal = outcome.kind === "denied" || (outcome.kind === "api_error" && !isPassing(outcome.error));
    if (isFinal) this.#fail(apiFailure(outcome, `following ${this.#options.stream}`, true));
    else this.#reopen();
  }

  #receive(session: Session, error: Error | null, message: Msg): void {
    if (this.#session !== session) return;
    if (error !== null) {
      this.#fail(deniedSubscription(this.#options.stream, error));
      return;
    }
    session.silentTicks = 0;
    session.isAlive = true;
    const delivery = deliveryOf(message.reply ?? "");
    if (delivery === undefined) this.#control(session, message);
    else if (delivery.consumerSequence === session.delivered + 1) this.#deliver(session, message, delivery);
    else this.#reopen();
  }

  #deliver(session: Session, message: Msg, delivery: Delivery): void {
    session.delivered = delivery.consumerSequence;
    this.#retryMs = RETRY_MS_MIN;
    // Read from the leader already; or a server that is behind, which starts a consumer at its own end instead of where we asked.
    if (delivery.streamSequence < this.#next) return;
    this.#next = delivery.streamSequence + 1;
    this.#options.handler.message(deliveredMessage(message, delivery));
  }

  /** Whether nobody sends: no consumer, one that has not begun, or one that has fallen silent. */
  #isDark(): boolean {
    return this.#session?.isAlive !== true || this.#session.silentTicks >= SILENT_TICKS_DARK;
  }

  /**
   * Asks the stream's leader for the next message, and goes on while it has some and nobody else sends. A consumer is made by the meta
   * leader: while that is being elected (4 to 9 s) the stream itself may take appends all along.
   */
  #readNext(): void {
    if (this.#closed || this.#isReading || this.#isHeld || !this.#watch.connected) return;
    const { inbox, stream, handler } = this.#options;
    this.#isReading = true;
    const body = { seq: this.#next, next_by_subj: ">" };
    askApi(inbox, `STREAM.MSG.GET.${stream}`, body, READ_TIMEOUT_MS, (outcome) => {
      this.#isReading = false;
      const message = outcome.kind === "ok" ? storedMessage(outcome.value) : undefined;
      if (this.#closed || message === undefined || message.streamSequence < this.#next) return;
      this.#next = message.streamSequence + 1;
      handler.message(logMessageOf(message));
      if (this.#isDark()) this.#readNext();
    });
  }

  /** Heartbeats and flow control. Anything else on the subject comes from a stranger and means nothing. */
  #control(session: Session, message: Msg): void {
    const headers = rawHeaders(message);
    if (statusCode(headers) !== STATUS_CONTROL) return;
    const stalled = headerValue(headers, "Nats-Consumer-Stalled");
    const reply = message.reply ?? "";
    if (reply !== "") this.#answer(reply);
    else if (stalled !== "") this.#answer(stalled);
    const last = headerValue(headers, "Nats-Last-Consumer");
    if (last !== "" && Number(last) !== session.delivered) this.#reopen();
  }

  #answer(reply: string): void {
    if (this.#isHeld) this.#heldReply = reply;
    else if (this.#watch.connected && this.#session !== undefined) this.#options.connection.publish(reply, EMPTY);
  }

  #tick(): void {
    const session = this.#session;
    if (session !== undefined) session.silentTicks += 1;
    if (this.#isDark()) this.#readNext();
    if (session !== undefined && session.silentTicks > HEARTBEATS_MISSED_MAX) this.#reopen();
  }

  #reopen(): void {
    this.#drop();
    this.#retryTimer = setTimeout(() => this.#open(), this.#retryMs);
    this.#retryMs = Math.min(this.#retryMs * 2, RETRY_MS_MAX);
  }

  /** Forgets the consumer and asks the server to do the same; without an answer, for it would go by itself. */
  #drop(): void {
    clearTimeout(this.#retryTimer);
    const session = this.#session;
    this.#session = undefined;
    this.#heldReply = "";
    if (session === undefined || this.#options.connection.isClosed()) return;
    session.subscription.unsubscribe();
    if (!this.#watch.connected) return;
    this.#options.connection.publish(
      `${API_PREFIX}.CONSUMER.DELETE.${this.#options.stream}.${session.consumer}`,
      EMPTY,
    );
  }

  #fail(error: OperatingError): void {
    if (this.#closed) return;
    this.close();
    this.#options.handler.failed(error);
  }
}

function connectionClosed(stream: string): OperatingError {
  return new OperatingError("nats_closed", `following ${stream}: the connection to NATS has been closed`, {
    definite: true,
  });
}

function deniedSubscription(stream: string, cause: Error): OperatingError {
  return new OperatingError("nats_denied", `following ${stream}: ${cause.message}`, { definite: true, cause });
}
