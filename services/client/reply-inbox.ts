/** The SDK's end of the wire: one inbox subscription for every reply, and what the connection does meanwhile. */
import { createInbox, type Msg, type NatsConnection, type Subscription } from "@nats-io/transport-node";
import { OperatingError } from "../../contracts/errors.ts";
import type { Closable } from "../../contracts/ports.ts";
import { isReplySubjectPermitted } from "../../contracts/subjects.ts";
import { type ConnectionWatch, watchOf } from "../jetstream/connection-watch.ts";
import { crashOnThrow } from "../jetstream/crash.ts";
import { rawHeaders, statusCode } from "../jetstream/header-block.ts";

export interface InboxHandler {
  /** `token` is what the request was sent with. */
  reply(token: string, payload: Uint8Array): void;
  /** Nobody subscribes to the subject: certain, for this attempt. */
  noResponders(token: string): void;
  /** The server refused a publish to this subject by permission. */
  denied(subject: string, reason: string): void;
  connection(connected: boolean): void;
  /** The connection is over for good. */
  lost(): void;
}

/** Sends requests with a reply subject `<inbox>.<token>` and hands on what comes back. */
export class ReplyInbox {
  readonly #connection: NatsConnection;
  readonly #watch: ConnectionWatch;
  readonly #prefix: string;
  readonly #subscription: Subscription;
  readonly #hooks: readonly Closable[];
  /** A connection that outlives us must not keep us alive through its `closed` promise. */
  readonly #link: { handler: InboxHandler | undefined };

  constructor(connection: NatsConnection, handler: InboxHandler) {
    this.#connection = connection;
    this.#watch = watchOf(connection);
    this.#prefix = createInbox(inboxPrefixOf(connection));
    if (!isReplySubjectPermitted(`${this.#prefix}.0`))
      throw new OperatingError(
        "invalid_options",
        `the connection's inbox prefix makes "${this.#prefix}": it must start with _INBOX. for the dispatcher to answer`,
        { definite: true },
      );
    this.#link = { handler };
    this.#subscription = connection.subscribe(`${this.#prefix}.*`, {
      callback: (error, message) => {
        if (error === null) crashOnThrow(() => this.#receive(message));
      },
    });
    this.#hooks = [
      this.#watch.onChange((connected) => this.#link.handler?.connection(connected)),
      this.#watch.onDenied(({ operation, subject, message }) => {
        if (operation === "publish") this.#link.handler?.denied(subject, message);
      }),
    ];
    const link = this.#link;
    void connection.closed().then(() => crashOnThrow(() => link.handler?.lost()));
  }

  get connected(): boolean {
    return this.#link.handler !== undefined && this.#watch.connected;
  }
  /** Largest message that the server takes. Bytes; undefined while it is not known. */
  get payloadBytesMax(): number | undefined {
    return this.#connection.info?.max_payload;
  }

  /** False when it was not sent: the connection is closed or draining. */
  send(subject: string, payload: Uint8Array, token: string): boolean {
    if (this.#connection.isClosed() || this.#connection.isDraining()) return false;
    this.#connection.publish(subject, payload, { reply: `${this.#prefix}.${token}` });
    return true;
  }

  close(): void {
    if (this.#link.handler === undefined) return;
    this.#link.handler = undefined;
    for (const hook of this.#hooks) hook.close();
    if (!this.#connection.isClosed()) this.#subscription.unsubscribe();
  }

  #receive(message: Msg): void {
    const token = message.subject.slice(this.#prefix.length + 1);
    const status = message.data.length === 0 ? statusCode(rawHeaders(message)) : 0;
    if (status === 503) this.#link.handler?.noResponders(token);
    else this.#link.handler?.reply(token, message.data);
  }
}

/** The inbox prefix that the connection was opened with; nats.js keeps it in its options. */
function inboxPrefixOf(connection: NatsConnection): string {
  return (
    (connection as NatsConnection & { readonly options?: { readonly inboxPrefix?: string } }).options?.inboxPrefix ?? ""
  );
}
