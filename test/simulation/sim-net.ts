/** The `Net` and `Kv` ports over a simulated connection: core messaging and one bucket, with what nats.js does when it reconnects. */
import { OperatingError } from "../../contracts/errors.ts";
import type {
  Closable,
  Kv,
  KvEntry,
  KvOutcome,
  Net,
  NetMessage,
  NetSubscription,
  RequestOutcome,
} from "../../contracts/ports.ts";
import type { Broker, BrokerMessage, SimConnection } from "./sim-broker.ts";

interface Subscription {
  readonly pattern: string;
  readonly handler: (message: NetMessage) => void;
  isClosed: boolean;
  interest: Parameters<Broker["add"]>[1] | undefined;
}

export class SimNet implements Net {
  readonly connection: SimConnection;
  /** Looks at each publish before it leaves; may end the process. */
  beforePublish: (subject: string) => void = () => undefined;
  readonly #subscriptions = new Set<Subscription>();
  readonly #requests = new Map<string, (outcome: RequestOutcome) => void>();
  #inboxes = 0;

  constructor(connection: SimConnection) {
    this.connection = connection;
    connection.onInbox = (message) =>
      this.#requests.get(message.subject)?.({ kind: "reply", payload: message.payload });
    connection.onChange.add((isUp) => {
      if (isUp) for (const subscription of this.#subscriptions) this.#announce(subscription);
      else for (const finish of [...this.#requests.values()]) finish({ kind: "disconnected" });
    });
  }

  subscribe(subject: string, handler: (message: NetMessage) => void): NetSubscription {
    const subscription: Subscription = { pattern: subject, handler, isClosed: false, interest: undefined };
    this.#subscriptions.add(subscription);
    this.#announce(subscription);
    const { connection } = this;
    const withdraw = (): void => {
      if (subscription.interest !== undefined) connection.broker.remove(subject, subscription.interest);
    };
    const close = (): void => {
      if (subscription.isClosed) return;
      subscription.isClosed = true;
      this.#subscriptions.delete(subscription);
      connection.send(withdraw);
    };
    const drain = (): void => {
      this.#subscriptions.delete(subscription);
      connection.send(() => {
        withdraw();
        connection.receive(connection.generation, () => {
          subscription.isClosed = true;
        });
      });
    };
    return { close, drain };
  }

  publish(subject: string, payload: Uint8Array): void {
    this.publishAs({ subject, reply: "", payload });
  }

  publishAs(message: BrokerMessage): void {
    this.beforePublish(message.subject);
    this.connection.send(() => void this.connection.broker.route(message, this.connection.isCutOff));
  }

  /** `timeoutMs` infinite: the caller keeps the time itself. `routed`: the broker has passed the request on to somebody. */
  request(
    subject: string,
    payload: Uint8Array,
    timeoutMs: number,
    callback: (outcome: RequestOutcome) => void,
    routed: () => void = () => undefined,
  ): void {
    const { connection } = this;
    const { process } = connection;
    this.#inboxes += 1;
    const reply = `_INBOX.${connection.name}.${this.#inboxes}`;
    const finish = (outcome: RequestOutcome): void => {
      if (!this.#requests.delete(reply)) return;
      if (timer !== undefined) process.clearTimer(timer);
      process.defer(() => callback(outcome));
    };
    this.#requests.set(reply, finish);
    const isTimed = timeoutMs < Number.POSITIVE_INFINITY;
    const timer = isTimed ? process.setTimer(timeoutMs, () => finish({ kind: "timeout" })) : undefined;
    if (!connection.isUp) {
      finish({ kind: "disconnected" });
      return;
    }
    const { generation } = connection;
    connection.send(() => {
      if (connection.broker.route({ subject, reply, payload }, connection.isCutOff) === 0)
        connection.receive(generation, () => finish({ kind: "no_responders" }));
      else routed();
    });
  }

  isConnected(): boolean {
    return this.connection.isUp;
  }

  onConnection(handler: (connected: boolean) => void): Closable {
    this.connection.onChange.add(handler);
    return { close: () => void this.connection.onChange.delete(handler) };
  }

  #announce(subscription: Subscription): void {
    const { connection } = this;
    const { generation } = connection;
    const handler = ({ subject, reply, payload }: BrokerMessage): void => {
      if (!subscription.isClosed) subscription.handler({ subject, reply, payload, trace: "" });
    };
    const interest = { connection, generation, handler };
    connection.send(() => {
      subscription.interest = interest;
      if (!generation.isInLost && !subscription.isClosed) connection.broker.add(subscription.pattern, interest);
    });
  }
}

const KV_TIMEOUT_MS = 2_000;

/** One bucket at the server. Revisions count over the whole bucket. */
export class SimBucket {
  readonly entries = new Map<string, KvEntry>();
  revision = 0;
  /** While set nothing of the bucket is answered. */
  isDown = false;

  put(key: string, value: Uint8Array, revision: number): KvOutcome<number> {
    if ((this.entries.get(key)?.revision ?? 0) !== revision) return { kind: "conflict" };
    this.revision += 1;
    this.entries.set(key, { value, revision: this.revision });
    return { kind: "ok", value: this.revision };
  }
}

export class SimKv implements Kv {
  readonly #connection: SimConnection;
  readonly #bucket: SimBucket;

  constructor(connection: SimConnection, bucket: SimBucket) {
    this.#connection = connection;
    this.#bucket = bucket;
  }

  get(key: string, callback: (outcome: KvOutcome<KvEntry | undefined>) => void): void {
    this.#ask(() => ({ kind: "ok", value: this.#bucket.entries.get(key) }), callback);
  }

  put(key: string, value: Uint8Array, revision: number, callback: (outcome: KvOutcome<number>) => void): void {
    this.#ask(() => this.#bucket.put(key, value, revision), callback);
  }

  #ask<T>(act: () => KvOutcome<T>, callback: (outcome: KvOutcome<T>) => void): void {
    const connection = this.#connection;
    const { process, generation } = connection;
    let isDone = false;
    const finish = (outcome: KvOutcome<T>): void => {
      if (isDone) return;
      isDone = true;
      process.clearTimer(timer);
      callback(outcome);
    };
    const timer = process.setTimer(KV_TIMEOUT_MS, () => {
      const error = new OperatingError("kv_timeout", "the bucket did not answer", { definite: false });
      finish({ kind: "failed", error });
    });
    connection.send(() => {
      if (this.#bucket.isDown || connection.isCutOff) return;
      const outcome = act();
      connection.receive(generation, () => finish(outcome));
    });
  }
}
