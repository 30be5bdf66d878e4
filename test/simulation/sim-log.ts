/** The `Log` port over a simulated connection and stream, with the semantics of the JetStream adapter: it passes the port's conformance suite. */
import assert from "node:assert/strict";
import { OperatingError } from "../../contracts/errors.ts";
import type {
  AppendOutcome,
  Closable,
  FollowHandler,
  InfoOutcome,
  Log,
  LogMessage,
  ReadOutcome,
  TrimOutcome,
} from "../../contracts/ports.ts";
import type { SimConnection } from "./sim-broker.ts";
import type { Consumer } from "./sim-replica.ts";
import type { AppendFate, SimStream } from "./sim-stream.ts";

/** What a run does to, and learns from, the calls of one log. */
export interface LogHooks {
  /** The fate of the append that arrives at the stream now. */
  readonly fateOf: () => AppendFate | undefined;
  /** Bytes leave the process for the first time or again. May end the process. */
  readonly sending: (payload: Uint8Array, chain: string) => void;
  readonly sent: () => void;
  readonly answered: (outcome: AppendOutcome, chain: string) => void;
  readonly settled: () => void;
  readonly replicaOf: () => number;
}

const NO_HOOKS: LogHooks = {
  fateOf: () => undefined,
  sending: () => undefined,
  sent: () => undefined,
  answered: () => undefined,
  settled: () => undefined,
  replicaOf: () => 0,
};

interface Pending {
  readonly disconnected: () => void;
}

interface Following {
  next: number;
  readonly handler: FollowHandler;
  consumer: Consumer | undefined;
  isClosed: boolean;
}

type FailedOutcome = { readonly kind: "failed"; readonly error: OperatingError };
const failed = (code: string, message: string): FailedOutcome => ({
  kind: "failed",
  error: new OperatingError(code, message, { definite: true }),
});

export class SimLog implements Log {
  readonly #connection: SimConnection;
  readonly #stream: SimStream;
  readonly #hooks: LogHooks;
  readonly #pending = new Set<Pending>();
  readonly #following = new Set<Following>();
  #isAppending = false;

  constructor(connection: SimConnection, stream: SimStream, hooks: LogHooks = NO_HOOKS) {
    this.#connection = connection;
    this.#stream = stream;
    this.#hooks = hooks;
    connection.onChange.add((isUp) => {
      if (isUp) for (const following of this.#following) this.#subscribe(following);
      else for (const pending of [...this.#pending]) pending.disconnected();
    });
  }

  append(
    payload: Uint8Array,
    chain: string,
    expectedLast: number,
    timeoutMs: number,
    callback: (outcome: AppendOutcome) => void,
  ): void {
    assert(!this.#isAppending, "an append is under way already");
    assert(Number.isSafeInteger(expectedLast) && expectedLast >= 0, `no sequence: ${expectedLast}`);
    this.#isAppending = true;
    const finish = this.#begin<AppendOutcome>(
      timeoutMs,
      () => ({ kind: "timeout" }),
      () => ({ kind: "disconnected" }),
      (outcome) => {
        this.#isAppending = false;
        this.#hooks.answered(outcome, chain);
        if (!this.#connection.process.isAlive) return;
        callback(outcome);
        this.#hooks.settled();
      },
    );
    this.#hooks.sending(payload, chain);
    const { generation } = this.#connection;
    this.#connection.send(() => {
      const answer = (outcome: AppendOutcome): void => this.#connection.receive(generation, () => finish(outcome));
      // The sender's own bytes, as in a socket: a copy that comes late may hold those of a later frame.
      this.#stream.append(payload, chain, expectedLast, answer, this.#hooks.fateOf());
    });
    this.#hooks.sent();
  }

  read(streamSequence: number, timeoutMs: number, callback: (outcome: ReadOutcome) => void): void {
    assert(Number.isSafeInteger(streamSequence) && streamSequence >= 1, `no sequence: ${streamSequence}`);
    this.#ask<ReadOutcome>(timeoutMs, callback, () => {
      const found = this.#stream.at(streamSequence);
      if (found === "failed") return failed("jetstream_error", "the stream has no leader");
      if (found === "absent") return { kind: "absent" };
      return { kind: "found", message: { ...found, pending: -1 } };
    });
  }

  info(timeoutMs: number, callback: (outcome: InfoOutcome) => void): void {
    this.#ask<InfoOutcome>(timeoutMs, callback, () => {
      const info = this.#stream.info();
      return info === undefined ? failed("jetstream_error", "the stream has no leader") : { kind: "info", info };
    });
  }

  trim(keepFrom: number, timeoutMs: number, callback: (outcome: TrimOutcome) => void): void {
    assert(Number.isSafeInteger(keepFrom) && keepFrom >= 2, `no sequence to keep from: ${keepFrom}`);
    this.#ask<TrimOutcome>(timeoutMs, callback, () => {
      if (this.#stream.leader === -1) return failed("jetstream_error", "the stream has no leader");
      this.#stream.trim(keepFrom);
      return { kind: "trimmed" };
    });
  }

  follow(fromSequence: number, handler: FollowHandler): Closable {
    assert(Number.isSafeInteger(fromSequence) && fromSequence >= 1, `no sequence: ${fromSequence}`);
    const following: Following = { next: fromSequence, handler, consumer: undefined, isClosed: false };
    this.#following.add(following);
    this.#subscribe(following);
    return {
      close: () => {
        following.isClosed = true;
        this.#following.delete(following);
        const { consumer } = following;
        if (consumer !== undefined) this.#stream.detach(consumer);
      },
    };
  }

  /** Ends everything that is under way: the process stops. */
  close(): void {
    for (const following of [...this.#following]) {
      following.isClosed = true;
      if (following.consumer !== undefined) this.#stream.detach(following.consumer);
    }
    this.#following.clear();
  }

  #subscribe(following: Following): void {
    const connection = this.#connection;
    const { generation } = connection;
    if (following.consumer !== undefined) this.#stream.detach(following.consumer);
    const consumer: Consumer = {
      replica: this.#hooks.replicaOf(),
      next: following.next,
      isClosed: false,
      deliver: (messages) => connection.receive(generation, () => this.#deliver(following, consumer, messages)),
      fail: () =>
        connection.receive(generation, () => {
          if (!following.isClosed && following.consumer === consumer) this.#fail(following);
        }),
    };
    following.consumer = consumer;
    connection.send(() => {
      if (!consumer.isClosed && !generation.isInLost) this.#stream.attach(consumer);
    });
  }

  #fail(following: Following): void {
    following.isClosed = true;
    this.#following.delete(following);
    following.handler.failed(new OperatingError("follower_gone", "the consumer was deleted", { definite: true }));
  }

  #deliver(following: Following, consumer: Consumer, messages: readonly LogMessage[]): void {
    for (const message of messages) {
      if (following.isClosed || following.consumer !== consumer) return;
      following.next = Math.max(following.next, message.streamSequence + 1);
      following.handler.message(message);
    }
  }

  #ask<Outcome>(timeoutMs: number, callback: (outcome: Outcome | FailedOutcome) => void, answer: () => Outcome): void {
    const timeout = (): FailedOutcome => failed("jetstream_timeout", "no answer in time");
    const down = (): FailedOutcome => failed("nats_disconnected", "the connection is down");
    const finish = this.#begin<Outcome | FailedOutcome>(timeoutMs, timeout, down, callback);
    const { generation } = this.#connection;
    this.#connection.send(() => {
      const outcome = answer();
      this.#connection.receive(generation, () => finish(outcome));
    });
  }

  /** Starts something that ends exactly once: by an answer, by its timer, or with the connection. */
  #begin<Outcome>(
    timeoutMs: number,
    timeout: () => Outcome,
    disconnected: () => Outcome,
    callback: (outcome: Outcome) => void,
  ): (outcome: Outcome) => void {
    const { process } = this.#connection;
    let isDone = false;
    const finish = (outcome: Outcome): void => {
      if (isDone) return;
      isDone = true;
      process.clearTimer(timer);
      this.#pending.delete(pending);
      callback(outcome);
    };
    const pending: Pending = { disconnected: () => process.defer(() => finish(disconnected())) };
    const timer = process.setTimer(timeoutMs, () => finish(timeout()));
    this.#pending.add(pending);
    if (!this.#connection.isUp) pending.disconnected();
    return finish;
  }
}
