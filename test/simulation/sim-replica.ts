/** One server's part in a simulated stream: its own log, of which a power cut leaves what was synced, and the consumers that live on it. */
import type { LogMessage } from "../../contracts/ports.ts";
import type { Draws } from "./choices.ts";
import type { Scheduler } from "./scheduler.ts";

/** A follower's consumer: it lives on one replica and delivers what that one has applied. */
export interface Consumer {
  /** Where it should live; where it does once it is attached. */
  replica: number;
  next: number;
  isClosed: boolean;
  deliver(messages: readonly LogMessage[]): void;
  fail(): void;
}

export interface SimReplicaOptions {
  readonly scheduler: Scheduler;
  readonly draws: Draws;
  /** Whether a message has reached the disk before it is acknowledged (`sync_interval: always`), or lies in memory for minutes. */
  readonly isSynced: boolean;
  /** The messages of a range as this replica shows them. */
  readonly span: (replica: SimReplica, from: number, to: number) => LogMessage[];
}

/** Invariant: `applied` and `stored` never decrease while it is up; what it shows its consumers is what it has applied. */
export class SimReplica {
  applied = 0;
  /** Last message in its own log. */
  stored = 0;
  isUp = true;
  lagMs = 0;
  /** A message that it has lost; 0 for none. */
  gap = 0;
  readonly consumers = new Set<Consumer>();
  readonly #options: SimReplicaOptions;
  /** When what it has heard of last is applied. ms. */
  #busyUntilMs = 0;
  /** Counts its falls: what was on its way then never comes. */
  #falls = 0;

  constructor(options: SimReplicaOptions) {
    this.#options = options;
  }

  /** A message is in the log of the leader, and on its way here. */
  hear(streamSequence: number): void {
    if (!this.isUp) return;
    if (this.consumers.size === 0 && this.lagMs === 0) {
      this.apply(streamSequence);
      return;
    }
    const { scheduler, draws } = this.#options;
    this.#busyUntilMs = Math.max(this.#busyUntilMs, scheduler.nowMs + draws.next() + this.lagMs);
    const falls = this.#falls;
    scheduler.at(this.#busyUntilMs, () => {
      if (falls === this.#falls) this.apply(streamSequence);
    });
  }

  /** It has a message and all before it, and knows that they are committed. */
  apply(streamSequence: number): void {
    if (!this.isUp) return;
    if (streamSequence > this.applied) this.applied = streamSequence;
    this.store(streamSequence);
    for (const consumer of [...this.consumers]) this.#feed(consumer);
  }

  store(streamSequence: number): void {
    if (streamSequence > this.stored) this.stored = streamSequence;
  }

  attach(consumer: Consumer): void {
    this.consumers.add(consumer);
    this.#feed(consumer);
  }

  /** The server is gone; without power it loses what it had not synced, but for a part of it that the system had written by itself. */
  fall(hasPower: boolean, kept: number): void {
    this.isUp = false;
    this.#falls += 1;
    this.#busyUntilMs = 0;
    if (!hasPower && !this.#options.isSynced) this.forget(Math.floor(this.stored * kept));
  }

  /** Its log ends here now. */
  forget(lastSequence: number): void {
    this.stored = Math.min(this.stored, lastSequence);
    this.applied = Math.min(this.applied, lastSequence);
    for (const consumer of this.consumers) consumer.next = Math.min(consumer.next, lastSequence + 1);
  }

  heal(): void {
    this.lagMs = 0;
    this.gap = 0;
    this.#busyUntilMs = 0;
    this.isUp = true;
  }

  #feed(consumer: Consumer): void {
    if (consumer.isClosed || !this.isUp || consumer.next > this.applied) return;
    const from = consumer.next;
    consumer.next = this.applied + 1;
    consumer.deliver(this.#options.span(this, from, this.applied));
  }
}
