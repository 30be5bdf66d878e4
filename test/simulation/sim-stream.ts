/** The server side of one shard's stream: a leader and two more replicas, proposals that commit or do not, elections, wedges, gaps. */
import type { AppendOutcome, LogMessage } from "../../contracts/ports.ts";
import type { Draws } from "./choices.ts";
import type { Scheduler } from "./scheduler.ts";
import { type Consumer, SimReplica } from "./sim-replica.ts";

export interface StoredMessage {
  readonly streamSequence: number;
  readonly subject: string;
  readonly payload: Uint8Array;
  readonly chainHeader: string;
}

/**
 * What goes wrong with one append. `lose_ack`: stored, not answered. `vanish`: neither. `late`: reaches the stream only after a while.
 * `refuse`: answered as unavailable, not stored. `slow`: proposed at once, committed after a while. `delay_ack`: committed, answered late.
 */
export type AppendFate =
  | { readonly kind: "lose_ack" | "vanish" | "refuse" }
  | { readonly kind: "late" | "slow" | "delay_ack"; readonly delayMs: number };

interface Proposal {
  readonly message: Omit<StoredMessage, "streamSequence">;
  /** Undefined once nobody hears the answer any more. */
  answer: ((outcome: AppendOutcome) => void) | undefined;
  isGone: boolean;
}

const ENVELOPE_BYTES = 64;
const NO_RESPONDERS = 503;
const STORE_FULL = 10077;
const REPLICAS = 3;
const MAJORITY = 2;

export interface SimStreamOptions {
  readonly subject: string;
  readonly bytesMax: number;
  /** Whether the servers sync each message before they acknowledge it. */
  readonly isSynced: boolean;
  readonly scheduler: Scheduler;
  readonly draws: Draws;
  readonly serverTimeMs: () => number;
  /** A message is in the log for good. */
  readonly onCommit: (message: StoredMessage) => void;
  /** Everything below is about to be removed. */
  readonly onTrim: (keepFrom: number) => void;
  readonly cover: (point: string) => void;
}

/** How one server goes down and comes back. */
export interface Fall {
  readonly hasPower: boolean;
  /** Share of what it had not synced that is there nevertheless. */
  readonly kept: number;
  readonly downMs: number;
  /** Until another one leads, where it led. ms. */
  readonly electMs: number;
}

/**
 * Invariant: proposals commit in order or not at all; `firstSequence` moves up alone. `messages[k]` holds stream sequence k + 1, for ever where
 * the servers sync, or do not lose their power.
 */
export class SimStream {
  readonly subject: string;
  /** An operator may raise it. */
  bytesMax: number;
  readonly messages: StoredMessage[] = [];
  readonly replicas: readonly SimReplica[];
  firstSequence = 1;
  bytes = 0;
  /** Replica that leads; -1 while nobody does. */
  leader = 0;
  isWedged = false;
  hasQuorum = true;
  /** Until then reads may be answered by one who does not know the newest. ms. */
  staleUntilMs = 0;
  staleSequence = 0;
  readonly #options: SimStreamOptions;
  #proposals: Proposal[] = [];
  #commitAtMs = 0;
  #removed = new Set<number>();

  constructor(options: SimStreamOptions) {
    this.#options = options;
    this.subject = options.subject;
    this.bytesMax = options.bytesMax;
    const span = (replica: SimReplica, from: number, to: number): LogMessage[] => this.#span(replica, from, to);
    this.replicas = Array.from({ length: REPLICAS }, () => new SimReplica({ ...options, span }));
  }

  get lastSequence(): number {
    return this.messages.length;
  }

  /** An append has reached the servers. `expectedLast` undefined expects nothing, as a stranger's publish does. */
  append(
    payload: Uint8Array,
    chainHeader: string,
    expectedLast: number | undefined,
    answer: ((outcome: AppendOutcome) => void) | undefined,
    fate?: AppendFate,
  ): void {
    const { scheduler, cover } = this.#options;
    if (fate?.kind === "late") {
      scheduler.after(fate.delayMs, () => this.append(payload, chainHeader, expectedLast, undefined));
      return;
    }
    if (fate?.kind === "vanish" || this.isWedged) return;
    if (fate?.kind === "refuse" || this.leader === -1) {
      if (fate !== undefined || this.#options.draws.chance(0.5))
        answer?.({ kind: "unavailable", code: NO_RESPONDERS, message: "no responders" });
      return;
    }
    const proposedLast = this.lastSequence + this.#proposals.length;
    if (expectedLast !== undefined && expectedLast !== proposedLast) {
      if (this.#proposals.length > 0) cover("append_refused_by_proposal");
      answer?.({ kind: "wrong_last", lastSequence: proposedLast });
      return;
    }
    if (this.bytesMax !== -1 && this.bytes + payload.length + ENVELOPE_BYTES > this.bytesMax) {
      cover("stream_full");
      answer?.({ kind: "unavailable", code: STORE_FULL, message: "maximum bytes exceeded" });
      return;
    }
    const message = { subject: this.subject, payload: payload.slice(), chainHeader };
    this.#propose({ message, answer: fate?.kind === "lose_ack" ? undefined : answer, isGone: false }, fate);
  }

  /** What stands at a place, for a reader of the stream's leader; `failed` while there is none. */
  at(streamSequence: number): StoredMessage | "absent" | "failed" {
    if (this.leader === -1) return "failed";
    const last = this.#seenLast();
    if (streamSequence > last && streamSequence <= this.lastSequence) this.#options.cover("read_stale_absent");
    if (streamSequence < this.firstSequence || streamSequence > last || this.#removed.has(streamSequence))
      return "absent";
    return this.messages[streamSequence - 1] as StoredMessage;
  }

  info() {
    if (this.leader === -1) return undefined;
    const lastSequence = this.#seenLast();
    return {
      firstSequence: lastSequence === 0 ? 0 : this.firstSequence,
      lastSequence,
      messages: lastSequence === 0 ? 0 : lastSequence - this.firstSequence + 1 - this.#removed.size,
      bytes: this.bytes,
      bytesMax: this.bytesMax,
      replicas: REPLICAS,
      serverTimeMs: Math.floor(this.#options.serverTimeMs()),
    };
  }

  trim(keepFrom: number): void {
    this.#options.onTrim(keepFrom);
    while (this.firstSequence < keepFrom && this.firstSequence <= this.lastSequence) {
      this.bytes -= (this.messages[this.firstSequence - 1] as StoredMessage).payload.length + ENVELOPE_BYTES;
      this.#removed.delete(this.firstSequence);
      this.firstSequence += 1;
    }
  }

  /** Takes one message out on every replica: what must never happen. For the conformance suite. */
  remove(streamSequence: number): void {
    this.#removed.add(streamSequence);
  }

  attach(consumer: Consumer): void {
    // A consumer is made where a server lives.
    const isUp = this.replicas[consumer.replica]?.isUp === true;
    const other = this.replicas.findIndex((replica) => replica.isUp);
    if (!isUp && other !== -1) consumer.replica = other;
    this.replicas[consumer.replica]?.attach(consumer);
  }

  detach(consumer: Consumer): void {
    consumer.isClosed = true;
    this.replicas[consumer.replica]?.consumers.delete(consumer);
  }

  /** Delivers again what a consumer has delivered lately, as a redelivery would. */
  redeliver(): void {
    for (const replica of this.replicas)
      for (const consumer of replica.consumers) {
        consumer.deliver(this.#span(replica, consumer.next - 2, consumer.next - 1));
      }
  }

  failConsumers(replicas = this.replicas): void {
    for (const replica of replicas)
      for (const consumer of [...replica.consumers]) {
        this.detach(consumer);
        consumer.fail();
      }
  }

  /** The stream's leader is gone for a while: of what it had proposed the first `kept` survive, the rest never was. */
  elect(downMs: number, kept: number, staleMs: number): void {
    if (this.leader === -1) return;
    const before = this.leader;
    this.#depose(kept);
    this.#options.scheduler.after(downMs, () => this.#lead(before, staleMs));
  }

  /** A server goes down, alone or with its power, and comes back later. */
  fall(index: number, { hasPower, kept, downMs, electMs }: Fall): void {
    const replica = this.replicas[index];
    if (replica?.isUp !== true) return;
    replica.fall(hasPower, kept);
    this.failConsumers([replica]);
    if (this.leader === index) this.elect(electMs, 0, 0);
    this.#options.scheduler.after(downMs, () => {
      if (replica.isUp) return;
      replica.isUp = true;
      // Who comes back makes an election possible, or catches up.
      if (this.leader === -1) this.#options.scheduler.after(electMs, () => this.#lead(-1, 0));
      else replica.hear(this.lastSequence);
      if (this.#canCommit()) this.#commitThrough();
    });
  }

  /** Two of three servers are away: what is proposed waits. */
  loseQuorum(forMs: number): void {
    if (!this.hasQuorum) return;
    this.hasQuorum = false;
    this.#options.scheduler.after(forMs, () => {
      this.hasQuorum = true;
      if (this.#canCommit()) this.#commitThrough();
    });
  }

  /** Everything works again. */
  heal(): void {
    this.isWedged = false;
    this.hasQuorum = true;
    for (const replica of this.replicas) replica.heal();
    this.#lead(-1, 0);
    this.#commitThrough();
    for (const replica of this.replicas) replica.apply(this.lastSequence);
  }

  #depose(kept: number): void {
    this.leader = -1;
    const proposals = this.#proposals;
    if (kept < proposals.length) this.#options.cover("proposal_lost_by_election");
    for (const [index, proposal] of proposals.entries()) {
      proposal.answer = undefined;
      proposal.isGone = index >= kept;
    }
    this.#proposals = proposals.filter(({ isGone }) => !isGone);
  }

  /** Two servers elect the one of them with the longer log; of equals preferably one without a hole, and not who led before. */
  #lead(before: number, staleMs: number): void {
    const up = this.replicas.flatMap(({ isUp }, index) => (isUp ? [index] : []));
    if (this.leader !== -1 || up.length < MAJORITY) return;
    const rank = (index: number): number => {
      const { stored, gap } = this.replicas[index] as SimReplica;
      return stored * 4 + (gap === 0 ? 2 : 0) + (index === before ? 0 : 1);
    };
    this.leader = up.reduce((best, index) => (rank(index) > rank(best) ? index : best));
    this.#forget((this.replicas[this.leader] as SimReplica).stored);
    for (const replica of this.replicas) replica.hear(this.lastSequence);
    if (this.#canCommit()) this.#commitThrough();
    this.staleSequence = Math.max(this.firstSequence, this.lastSequence - 1 - (Math.floor(staleMs) % 3));
    this.staleUntilMs = this.#options.scheduler.nowMs + staleMs;
  }

  /** The new leader's log is the log, also where it has lost what was acknowledged. */
  #forget(lastSequence: number): void {
    if (lastSequence >= this.lastSequence) return;
    this.#options.cover("acknowledged_lost");
    for (const { payload, streamSequence } of this.messages.splice(lastSequence))
      if (streamSequence >= this.firstSequence) this.bytes -= payload.length + ENVELOPE_BYTES;
    this.firstSequence = Math.min(this.firstSequence, lastSequence + 1);
    for (const replica of this.replicas) replica.forget(lastSequence);
  }

  #canCommit(): boolean {
    let up = 0;
    for (const { isUp } of this.replicas) if (isUp) up += 1;
    return this.hasQuorum && this.leader !== -1 && up >= MAJORITY;
  }

  #seenLast(): number {
    const isStale = this.#options.scheduler.nowMs < this.staleUntilMs && this.#options.draws.chance(0.6);
    return isStale ? Math.min(this.lastSequence, this.staleSequence) : this.lastSequence;
  }

  #propose(proposal: Proposal, fate: AppendFate | undefined): void {
    const { scheduler, draws } = this.#options;
    this.#proposals.push(proposal);
    const slowMs = fate?.kind === "slow" ? fate.delayMs : 0;
    this.#commitAtMs = Math.max(this.#commitAtMs, scheduler.nowMs + 0.2 + draws.next() * 0.8 + slowMs);
    const { answer } = proposal;
    if (fate?.kind === "delay_ack" && answer !== undefined)
      proposal.answer = (outcome) => void scheduler.after(fate.delayMs, () => answer(outcome));
    scheduler.at(this.#commitAtMs, () => {
      if (!proposal.isGone && this.#canCommit()) this.#commitThrough(proposal);
    });
  }

  /** Commits the proposals in order up to one of them, or all. */
  #commitThrough(last?: Proposal): void {
    while (this.#proposals.length > 0) {
      const proposal = this.#proposals.shift() as Proposal;
      this.#commit(proposal);
      if (proposal === last) return;
    }
  }

  #commit(proposal: Proposal): void {
    const streamSequence = this.lastSequence + 1;
    const message = { streamSequence, ...proposal.message };
    this.messages.push(message);
    this.bytes += message.payload.length + ENVELOPE_BYTES;
    this.#store(streamSequence);
    this.#options.onCommit(message);
    proposal.answer?.({ kind: "acked", streamSequence });
    for (const replica of this.replicas) replica.hear(streamSequence);
  }

  /** Committed is what the leader and the nearest other server have. */
  #store(streamSequence: number): void {
    let nearest: SimReplica | undefined;
    for (const [index, replica] of this.replicas.entries())
      if (index === this.leader) replica.store(streamSequence);
      else if (replica.isUp && (nearest === undefined || replica.lagMs < nearest.lagMs)) nearest = replica;
    nearest?.store(streamSequence);
  }

  #span(replica: SimReplica, from: number, to: number): LogMessage[] {
    const span: LogMessage[] = [];
    for (let sequence = Math.max(from, this.firstSequence); sequence <= to; sequence += 1) {
      if (sequence === replica.gap) this.#options.cover("gap_on_replica_read");
      if (sequence === replica.gap || this.#removed.has(sequence)) continue;
      const message = this.messages[sequence - 1] as StoredMessage;
      span.push({ ...message, pending: replica.applied - sequence });
    }
    return span;
  }
}
