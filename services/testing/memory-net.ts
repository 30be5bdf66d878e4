/** Core messaging within one process: subjects with wildcards, at most once, no responders at once; cut off by a switch. */
import type { Clock, Closable, Net, NetMessage, NetSubscription, RequestOutcome } from "../../contracts/ports.ts";

interface Subscription {
  readonly pattern: readonly string[];
  readonly owner: MemoryNet;
  readonly handler: (message: NetMessage) => void;
}

/** The wire that several `MemoryNet`s share. Deliveries are deferred, so that nobody is called back within a call. */
export class MemoryWire {
  readonly #clock: Clock;
  readonly #subscriptions = new Set<Subscription>();
  #inboxes = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  inbox(): string {
    this.#inboxes += 1;
    return `_INBOX.memory.${this.#inboxes}`;
  }

  add(subscription: Subscription): Closable {
    this.#subscriptions.add(subscription);
    return { close: () => void this.#subscriptions.delete(subscription) };
  }

  /** Delivers to every subscription of the sender's island that matches now; returns how many there are. */
  deliver(message: NetMessage, island = ""): number {
    const tokens = message.subject.split(".");
    let count = 0;
    for (const subscription of this.#subscriptions) {
      const { owner } = subscription;
      if (!owner.isConnected() || owner.island !== island || !matches(subscription.pattern, tokens)) continue;
      count += 1;
      this.#clock.defer(() => {
        if (this.#subscriptions.has(subscription) && subscription.owner.isConnected()) subscription.handler(message);
      });
    }
    return count;
  }
}

export class MemoryNet implements Net {
  readonly #wire: MemoryWire;
  readonly #clock: Clock;
  readonly #handlers = new Set<(connected: boolean) => void>();
  /** The error headers of the last publishes, by subject: what a client would read beside the payload. */
  readonly errors = new Map<string, { readonly code: string; readonly message: string }>();
  /** Connections to servers that are cut off from the others have another name in common. */
  island = "";
  #isConnected = true;

  constructor(wire: MemoryWire, clock: Clock) {
    this.#wire = wire;
    this.#clock = clock;
  }

  /** Cuts this end off, or joins it again. */
  setConnected(connected: boolean): void {
    if (this.#isConnected === connected) return;
    this.#isConnected = connected;
    for (const handler of [...this.#handlers]) handler(connected);
  }

  subscribe(subject: string, handler: (message: NetMessage) => void): NetSubscription {
    const subscription = this.#wire.add({ pattern: subject.split("."), owner: this, handler });
    const close = (): void => subscription.close();
    // The server learns of it one turn later, and what it had sent by then arrives in the turn after.
    return { close, drain: () => this.#clock.defer(() => this.#clock.defer(close)) };
  }

  publish(subject: string, payload: Uint8Array, error?: { readonly code: string; readonly message: string }): void {
    if (!this.#isConnected) return;
    if (error !== undefined) this.errors.set(subject, error);
    this.#wire.deliver({ subject, reply: "", payload, trace: "" }, this.island);
  }

  request(subject: string, payload: Uint8Array, timeoutMs: number, callback: (outcome: RequestOutcome) => void): void {
    if (!this.#isConnected) {
      this.#clock.defer(() => callback({ kind: "disconnected" }));
      return;
    }
    const reply = this.#wire.inbox();
    let isDone = false;
    const finish = (outcome: RequestOutcome): void => {
      if (isDone) return;
      isDone = true;
      subscription.close();
      this.#clock.clearTimer(timer);
      callback(outcome);
    };
    const subscription = this.subscribe(reply, (message) => finish({ kind: "reply", payload: message.payload }));
    const timer = this.#clock.setTimer(timeoutMs, () => finish({ kind: "timeout" }));
    if (this.#wire.deliver({ subject, reply, payload, trace: "" }, this.island) === 0)
      this.#clock.defer(() => finish({ kind: "no_responders" }));
  }

  isConnected(): boolean {
    return this.#isConnected;
  }

  onConnection(handler: (connected: boolean) => void): Closable {
    this.#handlers.add(handler);
    return { close: () => void this.#handlers.delete(handler) };
  }
}

function matches(pattern: readonly string[], tokens: readonly string[]): boolean {
  for (const [index, part] of pattern.entries()) {
    if (part === ">") return tokens.length > index;
    if (index >= tokens.length || (part !== "*" && part !== tokens[index])) return false;
  }
  return pattern.length === tokens.length;
}
