/** Whether a connection is up, as a synchronous answer and as events: nats.js itself only tells it by an iterator. */
import { type NatsConnection, PermissionViolationError } from "@nats-io/transport-node";
import type { Closable } from "../../contracts/ports.ts";
import { crashOnThrow } from "./crash.ts";

type Denial = {
  readonly operation: "publish" | "subscription";
  readonly subject: string;
  readonly message: string;
};

const WATCHES: WeakMap<NatsConnection, ConnectionWatch> = new WeakMap();

/** The one watch of a connection. */
export function watchOf(connection: NatsConnection): ConnectionWatch {
  const known = WATCHES.get(connection);
  if (known !== undefined) return known;
  const watch = new ConnectionWatch(connection);
  WATCHES.set(connection, watch);
  return watch;
}

/**
 * Follows the status of one connection.
 *
 * Invariant: while `connected` is false nothing may be published and taken for sent: nats.js drops what it has buffered at each dial,
 * without an error.
 */
class ConnectionWatch {
  #connected: boolean;
  #closed: boolean;
  readonly #changes = new Set<(connected: boolean) => void>();
  readonly #ends = new Set<() => void>();
  readonly #denials = new Set<(denial: Denial) => void>();

  constructor(connection: NatsConnection) {
    this.#closed = connection.isClosed();
    this.#connected = !this.#closed;
    void this.#follow(connection);
  }

  get connected(): boolean {
    return this.#connected;
  }
  /** Whether the connection is over for good. */
  get closed(): boolean {
    return this.#closed;
  }

  /** Calls at each change of `connected`. */
  onChange(handler: (connected: boolean) => void): Closable {
    this.#changes.add(handler);
    return { close: () => void this.#changes.delete(handler) };
  }

  /** Calls once when the connection is over for good, connected at that moment or not. */
  onClosed(handler: () => void): Closable {
    this.#ends.add(handler);
    return { close: () => void this.#ends.delete(handler) };
  }

  /** Calls when the server refuses a publish or a subscription of this connection. */
  onDenied(handler: (denial: Denial) => void): Closable {
    this.#denials.add(handler);
    return { close: () => void this.#denials.delete(handler) };
  }

  async #follow(connection: NatsConnection): Promise<void> {
    for await (const status of connection.status()) {
      if (status.type === "disconnect" || status.type === "staleConnection") this.#set(false);
      else if (status.type === "reconnect") this.#set(true);
      else if (status.type === "error" && status.error instanceof PermissionViolationError) this.#denied(status.error);
    }
    this.#closed = true;
    this.#set(false);
    for (const handler of [...this.#ends]) crashOnThrow(handler);
    this.#ends.clear();
  }

  #set(connected: boolean): void {
    if (this.#connected === connected) return;
    this.#connected = connected;
    for (const handler of [...this.#changes]) crashOnThrow(() => handler(connected));
  }

  #denied(error: PermissionViolationError): void {
    const denial: Denial = { operation: error.operation, subject: error.subject, message: error.message };
    for (const handler of [...this.#denials]) crashOnThrow(() => handler(denial));
  }
}

export type { ConnectionWatch };
