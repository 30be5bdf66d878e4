/**
 * What a changefeed's stream has sent and nobody has asked for yet, with the proof that nothing is missing in it: a message that does not
 * stand right behind the one before is held until the stream's leader has said that what lies between was left out, not removed.
 */
import type { NatsConnection } from "@nats-io/transport-node";
import { OperatingError } from "../../contracts/errors.ts";
import type { LogMessage } from "../../contracts/ports.ts";
import { API_TIMEOUT_MS } from "../jetstream/api.ts";
import { Follower } from "../jetstream/follower.ts";
import type { Inbox } from "../jetstream/inbox.ts";
import { patiently } from "../jetstream/patience.ts";
import { type StreamState, stateOfStream } from "../jetstream/stream-info.ts";
import { type FeedPlace, missingFeed, trimmedError } from "./changes-start.ts";

/** How often, and how long apart, a leader is asked again that knows less than we have received. ms. */
const BEHIND_MAX = 12;
const BEHIND_MS = 1_000;

export interface ChangesBufferOptions {
  readonly connection: NatsConnection;
  readonly inbox: Inbox;
  readonly place: FeedPlace;
  readonly filterSubjects: readonly string[] | undefined;
  readonly bytesMax: number;
  /** Called when there is something to take, or nothing will come any more. */
  readonly wake: () => void;
}

/**
 * Invariant: nothing between the start and `#proven` is missing but what the filter left out; only messages up to there are handed out.
 */
export class ChangesBuffer {
  readonly #options: ChangesBufferOptions;
  readonly #follower: Follower;
  #waiting: LogMessage[] = [];
  /** What stands before it was handed out. */
  #head = 0;
  #bytes = 0;
  #isHeld = false;
  #received: number;
  #proven: number;
  #isChecking = false;
  /** A new consumer may deliver from a stream that was made anew. */
  #isSuspect = false;
  #failure: OperatingError | undefined;
  #isClosed = false;

  constructor(options: ChangesBufferOptions) {
    const { connection, inbox, place, filterSubjects } = options;
    this.#options = options;
    this.#received = place.streamSequence - 1;
    this.#proven = this.#received;
    this.#follower = new Follower({
      ...{ connection, inbox, stream: place.stream, fromSequence: place.streamSequence, filterSubjects },
      handler: { message: (message) => this.#receive(message), failed: (error) => this.#fail(error) },
      onConsumer: () => this.#doubt(),
    });
  }

  /** Bytes and messages that wait to be taken. */
  get size(): { readonly messages: number; readonly bytes: number } {
    return { messages: this.#waiting.length - this.#head, bytes: this.#bytes };
  }

  /** The next message; undefined while there is none. Throws, once all before was taken: why nothing more will come. */
  take(): LogMessage | undefined {
    const message = this.#waiting[this.#head];
    if (message === undefined || message.streamSequence > this.#proven) {
      if (this.#failure !== undefined) throw this.#failure;
      return undefined;
    }
    this.#head += 1;
    this.#bytes -= message.payload.length;
    if (this.#head > this.#waiting.length / 2) {
      this.#waiting = this.#waiting.slice(this.#head);
      this.#head = 0;
    }
    if (this.#isHeld && this.#bytes <= this.#options.bytesMax / 2) {
      this.#isHeld = false;
      this.#follower.resume();
    }
    return message;
  }

  close(): void {
    this.#isClosed = true;
    this.#follower.close();
  }

  #receive(message: LogMessage): void {
    const { streamSequence } = message;
    this.#waiting.push(message);
    this.#bytes += message.payload.length;
    if (!this.#isHeld && this.#bytes > this.#options.bytesMax) {
      this.#isHeld = true;
      this.#follower.hold();
    }
    const isNext = streamSequence === this.#received + 1 && this.#proven === this.#received;
    this.#received = streamSequence;
    if (isNext && !this.#isSuspect && !this.#isChecking) this.#proven = streamSequence;
    else if (!this.#isChecking) void this.#check();
    this.#options.wake();
  }

  #doubt(): void {
    this.#isSuspect = true;
    if (!this.#isChecking) void this.#check();
  }

  #fail(error: OperatingError): void {
    this.#failure ??= error;
    this.#options.wake();
  }

  /** One question for all that has come until it is asked. */
  async #check(): Promise<void> {
    this.#isChecking = true;
    try {
      while (this.#failure === undefined && (this.#isSuspect || this.#received > this.#proven)) {
        this.#isSuspect = false;
        const received = this.#received;
        // What comes meanwhile waits for the next question.
        await this.#requireWhole();
        this.#proven = received;
        this.#options.wake();
      }
    } catch (error) {
      if (!(error instanceof OperatingError)) throw error;
      if (!this.#isClosed) this.#fail(error);
    } finally {
      this.#isChecking = false;
    }
  }

  /** Throws: why what was received may not be all. */
  async #requireWhole(): Promise<void> {
    const { inbox, place } = this.#options;
    const { stream, created } = place;
    for (let behind = 0; ; behind += 1) {
      const state = await this.#state();
      if (state === undefined) throw missingFeed(stream);
      const { firstSequence, lastSequence } = state.info;
      if (firstSequence > this.#proven + 1) throw await trimmedError(inbox, stream, firstSequence);
      if (state.created !== created || behind >= BEHIND_MAX) throw replaced(stream);
      if (lastSequence >= this.#proven) return;
      // A server that has lost the leadership of the stream may not know it yet.
      await new Promise((resolve) => setTimeout(resolve, BEHIND_MS));
    }
  }

  #state(): Promise<StreamState | undefined> {
    const { inbox, place } = this.#options;
    return patiently(() => {
      if (this.#isClosed) throw new OperatingError("closed", "the subscription is closed", { definite: true });
      return stateOfStream(inbox, place.stream, API_TIMEOUT_MS);
    }, Number.POSITIVE_INFINITY);
  }
}

function replaced(stream: string): OperatingError {
  const message = `${stream} was made anew, or has lost its end: its numbers say nothing any more. Subscribe again, from the sequence behind the last event`;
  return new OperatingError("changes_stream_replaced", message, { definite: true, details: { stream } });
}
