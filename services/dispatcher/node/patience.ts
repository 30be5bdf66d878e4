/** When a standby loses patience with its leader: after a silence, at once when the leader's process is gone or has let go. */
import type { EventOf } from "../../../contracts/events.ts";
import type { Clock, Ids, Net, Reporter } from "../../../contracts/ports.ts";
import { pingSubject } from "../../../contracts/subjects.ts";
import type { NodeConfig } from "./node-config.ts";
import type { Proof } from "./proof.ts";

/** Silence after which the leader's process is asked whether it still lives. In beats: one that is merely late costs a ping. */
const PING_AFTER_BEATS = 1.25;
const PING_TIMEOUT_MS = 500;
/** A leader that beats is asked too, now and then: its beats could be anybody's. ms. */
const PING_EVERY_MS = 2_000;
const GONE_COUNT = 2;
/** Who should lead campaigns within this time. ms. */
const FIRST_MS = 20;
/** Everybody else gives it this long, and then draws a moment within as much again, so that two seldom meet. ms. */
const OTHERS_MS = 150;

/** Who takes a shard over; `reason` says why nobody does, or not the one that was asked for. */
export interface Succession {
  readonly peer?: string;
  readonly reason: string;
  /** Those that could. */
  readonly candidates: readonly string[];
}

/** Which dispatcher should lead, as far as this one knows. */
export interface Precedence {
  isFirst(shard: string): boolean;
  /** Who takes over a shard that we lead: `to` if it can, without `to` the best of those that can. */
  successor(shard: string, to?: string): Succession;
  /** A process is known to be gone. */
  gone(peer: string): void;
  /** Somebody has asked that we lead a shard. */
  asked(shard: string): void;
}

export interface PatienceOptions {
  readonly config: NodeConfig;
  readonly clock: Clock;
  readonly ids: Ids;
  readonly gossip: Net;
  readonly reporter: Reporter;
  readonly precedence: Precedence;
  readonly proof: Proof;
}

/** Only ever a hint: whoever campaigns without need costs the shard a term, never data. */
export class Patience {
  readonly #options: PatienceOptions;
  /** When to campaign unless the leader shows itself. ms, monotonic; infinite while a campaign is under way. */
  #endsMs = Number.POSITIVE_INFINITY;
  #lastSignMs = 0;
  #isPinging = false;
  #pingedMs = 0;
  /** How often in a row the broker said that the leader's process is gone. */
  #goneCount = 0;

  constructor(options: PatienceOptions) {
    this.#options = options;
  }

  /** The leader lives. The wait is drawn anew each time, so that two standbys seldom lose patience together. */
  renew(): void {
    const { suspectMs, suspectJitterMs } = this.#options.config;
    this.#lastSignMs = this.#now();
    this.#endsMs = this.#lastSignMs + suspectMs + this.#options.ids.random("suspect") * suspectJitterMs;
  }

  /** Nobody leads: no need to wait for a silence. */
  end(): void {
    this.endIn(this.#turnMs());
  }

  endIn(delayMs: number): void {
    this.#lastSignMs = this.#now();
    this.#endsMs = this.#now() + delayMs;
  }

  /** The leader has let go; a successor that it named goes first. Returns whether that is us, who campaign at once. */
  released({ successor, askedBy }: EventOf<"termReleased">): boolean {
    const { peerId, suspectMs, shard } = this.#options.config;
    this.endIn((successor === undefined ? 0 : suspectMs / 2) + this.#turnMs());
    const isOurs = successor === peerId && !this.#options.proof.isCutOff;
    if (isOurs) this.#endsMs = Number.POSITIVE_INFINITY;
    if (isOurs && askedBy !== undefined) this.#options.precedence.asked(shard);
    return isOurs;
  }

  /** Whether it is time to campaign; if so, not again until it is renewed or ended. A silent `leader` is pinged meanwhile. */
  isOver(leader: string): boolean {
    const { config, gossip, proof } = this.#options;
    // Who hears nobody, or is not heard, may be the one that is cut off: it waits, and starts counting when that is over.
    if (!gossip.isConnected() || proof.isCutOff) {
      this.renew();
      return false;
    }
    const nowMs = this.#now();
    if (nowMs < this.#endsMs) {
      const isSilent = nowMs - this.#lastSignMs > config.beatMs * PING_AFTER_BEATS;
      if (isSilent || nowMs - this.#pingedMs > PING_EVERY_MS) this.#ping(leader);
      return false;
    }
    this.#endsMs = Number.POSITIVE_INFINITY;
    return true;
  }

  #ping(leader: string): void {
    const { config, gossip, reporter, precedence } = this.#options;
    if (this.#isPinging || leader === "" || leader === config.peerId) return;
    this.#isPinging = true;
    this.#pingedMs = this.#now();
    gossip.request(pingSubject(config.region, leader), new Uint8Array(0), PING_TIMEOUT_MS, (outcome) => {
      this.#isPinging = false;
      this.#goneCount = outcome.kind === "no_responders" ? this.#goneCount + 1 : 0;
      // Beats beside a process that is gone, twice, are somebody else's: the broker's word outranks them.
      const isHeard = this.#lastSignMs > this.#pingedMs;
      if (this.#goneCount < (isHeard ? GONE_COUNT : 1)) return;
      reporter.warn("leader_gone", { leader });
      precedence.gone(leader);
      this.#endsMs = Math.min(this.#endsMs, this.#now() + this.#turnMs());
    });
  }

  /** How long to leave the campaign to others. ms. */
  #turnMs(): number {
    const { config, ids, precedence } = this.#options;
    const chance = ids.random("turn");
    return precedence.isFirst(config.shard) ? chance * FIRST_MS : OTHERS_MS * (1 + chance);
  }

  #now(): number {
    return this.#options.clock.monotonicMs();
  }
}
