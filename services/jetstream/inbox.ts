/**
 * Requests with hand-managed replies: one subscription for all of them, no promise and no stack trace per request, and an answer of
 * our own the moment the connection is gone.
 */
import assert from "node:assert/strict";
import { createInbox, type Msg, type NatsConnection, type Subscription } from "@nats-io/transport-node";
import type { Closable } from "../../contracts/ports.ts";
import { type ConnectionWatch, watchOf } from "./connection-watch.ts";
import { crashOnThrow } from "./crash.ts";
import { type HeaderBlock, rawHeaders, statusCode } from "./header-block.ts";
import { Seats } from "./seats.ts";

/**
 * `denied`: the server refused the publish by permission. `oversized`: longer than the server's `max_payload`; nothing was sent.
 * `timeout` and `disconnected` say nothing about the request.
 */
export type InboxOutcome =
  | { readonly kind: "reply"; readonly message: Msg }
  | { readonly kind: "no_responders" }
  | { readonly kind: "denied"; readonly reason: string }
  | { readonly kind: "oversized"; readonly reason: string }
  | { readonly kind: "timeout" }
  | { readonly kind: "disconnected" };
export type InboxCallback = (outcome: InboxOutcome) => void;

interface Waiting {
  readonly subject: string;
  readonly callback: InboxCallback;
  timer: NodeJS.Timeout | undefined;
}

/** Many requests over one connection. Callbacks come exactly once each and never within the call. */
export class Inbox {
  readonly #connection: NatsConnection;
  readonly #watch: ConnectionWatch;
  readonly #prefix: string;
  readonly #subscription: Subscription;
  readonly #hooks: readonly Closable[];
  readonly #waiting = new Seats<Waiting>();
  #late = 0;
  #closed = false;

  constructor(connection: NatsConnection) {
    this.#connection = connection;
    this.#watch = watchOf(connection);
    this.#prefix = freshInbox(connection);
    this.#subscription = connection.subscribe(`${this.#prefix}.*`, {
      // An error here is a refused subscription; the requests then end by their timers, and the refusal stands in the status events.
      callback: (error, message) => {
        if (error === null) crashOnThrow(() => this.#receive(message));
      },
    });
    this.#hooks = [
      this.#watch.onChange((connected) => {
        if (!connected) this.#endAll({ kind: "disconnected" });
      }),
      this.#watch.onDenied((denial) => {
        if (denial.operation === "publish") this.#denied(denial.subject, denial.message);
      }),
    ];
  }

  /** Replies that came for requests that had ended before. */
  get lateReplies(): number {
    return this.#late;
  }
  get connected(): boolean {
    return !this.#closed && this.#watch.connected;
  }

  request(
    subject: string,
    payload: Uint8Array,
    timeoutMs: number,
    callback: InboxCallback,
    headers?: HeaderBlock,
  ): void {
    assert(timeoutMs > 0, `timeoutMs must be above 0, is ${timeoutMs}`);
    const waiting: Waiting = { subject, callback, timer: undefined };
    const id = this.#waiting.add(waiting);
    const refusal = this.#publish(subject, payload, `${this.#prefix}.${id}`, headers);
    if (refusal !== undefined) this.#endSoon(id, refusal);
    else waiting.timer = setTimeout(() => this.#end(id, { kind: "timeout" }), timeoutMs);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const hook of this.#hooks) hook.close();
    if (!this.#connection.isClosed()) this.#subscription.unsubscribe();
    for (const [id] of this.#waiting.entries()) this.#endSoon(id, { kind: "disconnected" });
  }

  #publish(
    subject: string,
    payload: Uint8Array,
    reply: string,
    headers: HeaderBlock | undefined,
  ): InboxOutcome | undefined {
    if (!this.connected) return { kind: "disconnected" };
    const limit = this.#connection.info?.max_payload;
    const bytes = payload.length + (headers?.encode().length ?? 0);
    if (limit !== undefined && bytes > limit)
      return { kind: "oversized", reason: `${bytes} bytes are above the server's max_payload of ${limit}` };
    try {
      this.#connection.publish(subject, payload, headers === undefined ? { reply } : { reply, headers });
      return undefined;
    } catch (error) {
      // Closed or draining in this very moment: the watch has not heard of it yet.
      if (this.#connection.isClosed() || this.#connection.isDraining()) return { kind: "disconnected" };
      throw error;
    }
  }

  #receive(message: Msg): void {
    const id = message.subject.slice(this.#prefix.length + 1);
    if (this.#waiting.get(id) === undefined) {
      this.#late += 1;
      return;
    }
    const status = message.data.length === 0 ? statusCode(rawHeaders(message)) : 0;
    this.#end(id, status === 503 ? { kind: "no_responders" } : { kind: "reply", message });
  }

  #denied(subject: string, reason: string): void {
    for (const [id, waiting] of this.#waiting.entries())
      if (waiting.subject === subject) this.#end(id, { kind: "denied", reason });
  }

  #endAll(outcome: InboxOutcome): void {
    for (const [id] of this.#waiting.entries()) this.#end(id, outcome);
  }

  /** Ends a request after this turn. A macrotask, so that a caller that asks again at once cannot starve the socket. */
  #endSoon(id: string, outcome: InboxOutcome): void {
    setImmediate(() => this.#end(id, outcome));
  }

  #end(id: string, outcome: InboxOutcome): void {
    const waiting = this.#waiting.take(id);
    if (waiting === undefined) return;
    clearTimeout(waiting.timer);
    crashOnThrow(() => waiting.callback(outcome));
  }
}

/** A fresh subject for answers under the prefix that the connection was opened with; nats.js keeps that in its options. */
export function freshInbox(connection: NatsConnection): string {
  const { options } = connection as NatsConnection & { readonly options?: { readonly inboxPrefix?: string } };
  return createInbox(options?.inboxPrefix);
}
