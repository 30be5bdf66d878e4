/** The shard's stream on JetStream: appends by hand-managed acknowledgements, reads from the stream's leader, follows by `Follower`. */
import assert from "node:assert/strict";
import type { NatsConnection } from "@nats-io/transport-node";
import type {
  AppendOutcome,
  FollowHandler,
  Following,
  InfoOutcome,
  Log,
  LogSource,
  ReadOutcome,
  TrimOutcome,
} from "../../contracts/ports.ts";
import { CHAIN_HEADER, EXPECTED_SEQUENCE_HEADER, logStream, logSubject } from "../../contracts/subjects.ts";
import { API_CODES, type ApiOutcome, apiFailure, askApi } from "./api.ts";
import { appendOutcome } from "./append-ack.ts";
import { Follower } from "./follower.ts";
import { type HeaderBlock, headerBlock } from "./header-block.ts";
import { Inbox } from "./inbox.ts";
import { askRepeatedly } from "./repeated-question.ts";
import { logMessageOf, storedMessage } from "./stored-message.ts";
import { infoOutcome, unreadableAnswer } from "./stream-info.ts";

export interface LogAddress {
  readonly region: string;
  readonly shard: string;
}

/** What the log has seen go wrong without telling anybody. */
export interface LogCounters {
  /** Acknowledgements and answers that came after their request had been given up. */
  readonly lateReplies: number;
}

/**
 * One shard's log. It wants a connection of its own, so that no other traffic stands before an append.
 *
 * Invariant: at most one append is under way; a second one is a bug of the caller, for two would not fence each other.
 */
export class JetStreamLog implements Log, LogSource {
  readonly #connection: NatsConnection;
  readonly #inbox: Inbox;
  readonly #stream: string;
  readonly #subject: string;
  readonly #followers = new Set<Follower>();
  #isAppending = false;

  constructor(connection: NatsConnection, address: LogAddress) {
    this.#connection = connection;
    this.#inbox = new Inbox(connection);
    this.#stream = logStream(address.region, address.shard);
    this.#subject = logSubject(address.region, address.shard);
  }

  append(
    payload: Uint8Array,
    chain: string,
    expectedLast: number,
    timeoutMs: number,
    callback: (outcome: AppendOutcome) => void,
  ): void {
    assert(!this.#isAppending, `an append to ${this.#stream} is under way already`);
    assert(
      Number.isSafeInteger(expectedLast) && expectedLast >= 0,
      `expectedLast must be a sequence, is ${expectedLast}`,
    );
    this.#isAppending = true;
    this.#inbox.request(
      this.#subject,
      payload,
      timeoutMs,
      (outcome) => {
        this.#isAppending = false;
        callback(appendOutcome(outcome, this.#stream, expectedLast));
      },
      appendHeaders(chain, expectedLast),
    );
  }

  read(streamSequence: number, timeoutMs: number, callback: (outcome: ReadOutcome) => void): void {
    assert(Number.isSafeInteger(streamSequence) && streamSequence >= 1, `no sequence: ${streamSequence}`);
    askRepeatedly(this.#inbox, `STREAM.MSG.GET.${this.#stream}`, { seq: streamSequence }, timeoutMs, (outcome) =>
      callback(this.#readOutcome(outcome, streamSequence)),
    );
  }

  info(timeoutMs: number, callback: (outcome: InfoOutcome) => void): void {
    askRepeatedly(this.#inbox, `STREAM.INFO.${this.#stream}`, undefined, timeoutMs, (outcome) =>
      callback(infoOutcome(outcome, this.#stream)),
    );
  }

  trim(keepFrom: number, timeoutMs: number, callback: (outcome: TrimOutcome) => void): void {
    // The server reads 0 and 1 as "everything".
    assert(Number.isSafeInteger(keepFrom) && keepFrom >= 2, `no sequence to keep from: ${keepFrom}`);
    askApi(this.#inbox, `STREAM.PURGE.${this.#stream}`, { seq: keepFrom }, timeoutMs, (outcome) =>
      callback(
        outcome.kind === "ok"
          ? { kind: "trimmed" }
          : { kind: "failed", error: apiFailure(outcome, `trimming ${this.#stream} below ${keepFrom}`, true) },
      ),
    );
  }

  follow(fromSequence: number, handler: FollowHandler): Following {
    assert(Number.isSafeInteger(fromSequence) && fromSequence >= 1, `no sequence to follow from: ${fromSequence}`);
    const follower = new Follower({
      connection: this.#connection,
      inbox: this.#inbox,
      stream: this.#stream,
      fromSequence,
      handler,
    });
    this.#followers.add(follower);
    return {
      hold: () => follower.hold(),
      resume: () => follower.resume(),
      close: () => {
        follower.close();
        this.#followers.delete(follower);
      },
    };
  }

  counters(): LogCounters {
    return { lateReplies: this.#inbox.lateReplies };
  }

  /** Ends what is under way with `disconnected` and stops the followers. The connection stays open: it is the caller's. */
  close(): void {
    for (const follower of this.#followers) follower.close();
    this.#followers.clear();
    this.#inbox.close();
  }

  #readOutcome(outcome: ApiOutcome, streamSequence: number): ReadOutcome {
    const what = `reading ${this.#stream} at ${streamSequence}`;
    if (outcome.kind !== "ok") {
      const isAbsent = outcome.kind === "api_error" && outcome.error.errCode === API_CODES.noMessage;
      return isAbsent ? { kind: "absent" } : { kind: "failed", error: apiFailure(outcome, what, true) };
    }
    const message = storedMessage(outcome.value);
    if (message === undefined || message.streamSequence !== streamSequence)
      return { kind: "failed", error: unreadableAnswer(what) };
    return { kind: "found", message: logMessageOf(message) };
  }
}

/** The headers of an append. The chain value is stored with the message; the expectation is what fences. */
function appendHeaders(chain: string, expectedLast: number): HeaderBlock {
  return headerBlock([
    { name: EXPECTED_SEQUENCE_HEADER, value: String(expectedLast) },
    { name: CHAIN_HEADER, value: chain },
  ]);
}
