/** Core NATS as the `Net` port: RPC, beats and pings, on a connection apart from the log's. */
import type { Msg, NatsConnection, Subscription } from "@nats-io/transport-node";
import type { Closable, Net, NetMessage, NetSubscription, RequestOutcome } from "../../contracts/ports.ts";
import { SERVICE_ERROR_CODE_HEADER, SERVICE_ERROR_HEADER } from "../../contracts/subjects.ts";
import { type ConnectionWatch, watchOf } from "./connection-watch.ts";
import { crashOnThrow } from "./crash.ts";
import { headerBlock, headerValue, rawHeaders } from "./header-block.ts";
import { Inbox, type InboxOutcome } from "./inbox.ts";

const TRACE_HEADER = "traceparent";

export class NatsNet implements Net {
  readonly #connection: NatsConnection;
  readonly #watch: ConnectionWatch;
  readonly #inbox: Inbox;
  readonly #subscriptions = new Set<Subscription>();

  constructor(connection: NatsConnection) {
    this.#connection = connection;
    this.#watch = watchOf(connection);
    this.#inbox = new Inbox(connection);
  }

  subscribe(subject: string, handler: (message: NetMessage) => void): NetSubscription {
    const subscription = this.#connection.subscribe(subject, {
      // An error means that the server refuses the subscription; it is told by the status events of the connection.
      callback: (error, message) => {
        if (error === null) crashOnThrow(() => handler(netMessage(message)));
      },
    });
    this.#subscriptions.add(subscription);
    const end = (how: () => void): void => {
      if (this.#subscriptions.delete(subscription) && !this.#connection.isClosed()) how();
    };
    return {
      close: () => end(() => subscription.unsubscribe()),
      // A connection that ends meanwhile has nothing more to deliver.
      drain: () => end(() => void subscription.drain().catch(() => undefined)),
    };
  }

  /** What is published while disconnected is dropped here: nats.js would keep some of it and send it after the next dial. */
  publish(subject: string, payload: Uint8Array, error?: { readonly code: string; readonly message: string }): void {
    if (!this.#watch.connected || this.#connection.isClosed() || this.#connection.isDraining()) return;
    if (error === undefined) this.#connection.publish(subject, payload);
    else this.#connection.publish(subject, payload, { headers: errorHeaders(error) });
  }

  /** A request that is too large reaches nobody and ends as `no_responders`. */
  request(subject: string, payload: Uint8Array, timeoutMs: number, callback: (outcome: RequestOutcome) => void): void {
    this.#inbox.request(subject, payload, timeoutMs, (outcome) => callback(requestOutcome(outcome)));
  }

  isConnected(): boolean {
    return this.#watch.connected;
  }

  onConnection(handler: (connected: boolean) => void): Closable {
    return this.#watch.onChange(handler);
  }

  /** Ends requests and subscriptions. The connection stays open: it is the caller's. */
  close(): void {
    this.#inbox.close();
    for (const subscription of this.#subscriptions) if (!this.#connection.isClosed()) subscription.unsubscribe();
    this.#subscriptions.clear();
  }
}

function netMessage(message: Msg): NetMessage {
  return {
    subject: message.subject,
    reply: message.reply ?? "",
    payload: message.data,
    trace: headerValue(rawHeaders(message), TRACE_HEADER),
  };
}

function errorHeaders(error: { readonly code: string; readonly message: string }) {
  return headerBlock([
    { name: SERVICE_ERROR_HEADER, value: error.message },
    { name: SERVICE_ERROR_CODE_HEADER, value: error.code },
  ]);
}

function requestOutcome(outcome: InboxOutcome): RequestOutcome {
  switch (outcome.kind) {
    case "reply":
      return { kind: "reply", payload: outcome.message.data };
    case "oversized":
    case "no_responders":
      return { kind: "no_responders" };
    case "denied":
    case "timeout":
    case "disconnected":
      return { kind: outcome.kind };
  }
}
