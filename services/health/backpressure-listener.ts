/** Follows what the leaders of a shard tell of their backpressure, so that whoever produces items can slow down before it is refused. */
import type { NatsConnection } from "@nats-io/transport-node";
import { Backpressure } from "../../contracts/backpressure.ts";
import type { Net, NetSubscription } from "../../contracts/ports.ts";
import { backpressureSubject } from "../../contracts/subjects.ts";
import { NatsNet } from "../jetstream/nats-net.ts";

export interface BackpressureSource {
  readonly region: string;
  readonly shard: string;
  /** Hears each change, in order; also the first word of each leader, which may change nothing. */
  readonly onSignal: (signal: Backpressure) => void;
}
export interface BackpressureListenerOptions extends BackpressureSource {
  readonly net: Net;
}

const decoder = new TextDecoder();

/** Invariant: `latest` is the newest word by term and sequence; what comes late is passed over. */
export class BackpressureListener {
  latest: Backpressure | undefined;
  /** Messages on the subject that are no such word. */
  invalid = 0;
  readonly #onSignal: (signal: Backpressure) => void;
  readonly #subscription: NetSubscription;

  /** Listens on a connection, which stays the caller's. */
  static on(connection: NatsConnection, source: BackpressureSource): BackpressureListener {
    return new BackpressureListener({ ...source, net: new NatsNet(connection) });
  }

  /** Listens until closed. A leader tells how it is when its term starts, so at first nothing is known: `stats` of the SDK tells it. */
  constructor({ net, region, shard, onSignal }: BackpressureListenerOptions) {
    this.#onSignal = onSignal;
    this.#subscription = net.subscribe(backpressureSubject(region, shard), ({ payload }) => this.#take(payload));
  }

  close(): void {
    this.#subscription.close();
  }

  #take(payload: Uint8Array): void {
    const signal = parse(payload);
    if (signal === undefined) {
      this.invalid += 1;
      return;
    }
    const { term, sequence, at } = this.latest ?? { term: 0, sequence: 0, at: 0 };
    const isLate = signal.term < term || (signal.term === term && (signal.sequence < sequence || signal.at < at));
    if (isLate) return;
    this.latest = signal;
    this.#onSignal(signal);
  }
}

function parse(payload: Uint8Array): Backpressure | undefined {
  try {
    const parsed = Backpressure.safeParse(JSON.parse(decoder.decode(payload)));
    return parsed.success ? parsed.data : undefined;
  } catch {
    // Anybody may publish there.
    return undefined;
  }
}
