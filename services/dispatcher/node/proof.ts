/** Shows again and again that requests reach this node and that its log answers; while they do not, no lease may run out, and nobody may lead for long. */
import type { Alarm, Clock, Log, Net } from "../../../contracts/ports.ts";
import { pingSubject } from "../../../contracts/subjects.ts";
import type { NodeConfig } from "./node-config.ts";

/** Time between two proofs, and how old the last one may be. ms. */
const EVERY_MS = 250;
const FRESH_MS = 1_000;
/** Time between two pings while nothing depends on them. ms. */
const CALM_MS = 1_000;
/** How long a ping may take: under load it is late long before anything is cut off. ms. */
const PING_MS = 2_000;
/** Pings in a row that do not come, after which we are taken for cut off. */
const MISSES_MAX = 2;

export interface ProofOptions {
  readonly config: NodeConfig;
  readonly clock: Clock;
  readonly log: Log;
  /** Over the log's own connection, and over that of the beats. */
  readonly logNet: Net;
  readonly gossip: Net;
}

/**
 * Pings to ourselves, sent over the log's connection and over that of the beats, and heard over the one that brings the clients' requests. One
 * comes behind everything that the server had for us, and it does not come at all where the servers of the two are cut off from each other. An
 * idle connection says nothing, and a half-open one is noticed only after seconds.
 */
export class Proof {
  readonly #options: ProofOptions;
  readonly #fromLog: OwnPing;
  readonly #fromBeats: OwnPing;
  #logMs = Number.NEGATIVE_INFINITY;
  #isAskingLog = false;

  constructor(options: ProofOptions) {
    const { config, clock, logNet, gossip } = options;
    const subject = pingSubject(config.region, config.peerId);
    this.#options = options;
    this.#fromLog = new OwnPing(subject, logNet, clock);
    this.#fromBeats = new OwnPing(subject, gossip, clock);
  }

  /** Whatever a client had sent to the server before this moment has been received here. ms, monotonic. */
  get reachedMs(): number {
    return this.#fromLog.reachedMs;
  }

  get isFresh(): boolean {
    const nowMs = this.#now();
    return nowMs - this.reachedMs <= FRESH_MS && nowMs - this.#logMs <= FRESH_MS;
  }

  /** Whether requests, log and beats have not been joined for so long that another one had better lead. Not where that cannot be known. */
  get isCutOff(): boolean {
    return this.#fromLog.isMissed || this.#fromBeats.isMissed;
  }

  get alarms(): readonly Alarm[] {
    if (this.#fromLog.isDenied || this.#fromBeats.isDenied)
      return [
        {
          code: "ping_denied",
          message: `NATS does not let this dispatcher ask itself: no lease runs out meanwhile; let its user publish on ${this.#fromLog.subject}`,
          isServing: false,
        },
      ];
    if (!this.isCutOff) return [];
    const message =
      "what is sent where this dispatcher's log or beats are does not reach it: its NATS servers are cut off from each other, or a connection is overloaded; it leaves its shards to others";
    return [{ code: "requests_cut_off", message, isServing: false }];
  }

  /** The log has acknowledged a frame: as good as an answer. */
  acknowledged(): void {
    this.#logMs = this.#now();
  }

  /** Pings now and then, whatever the node does. */
  keep(): void {
    for (const ping of [this.#fromLog, this.#fromBeats]) ping.sendAfter(ping.isGood ? CALM_MS : EVERY_MS);
  }

  /** Asks log and requests when it is time; `atOnce` pings without waiting for that. */
  renew(atOnce: boolean): void {
    const { config, log } = this.#options;
    if (!this.#isAskingLog && this.#now() - this.#logMs >= EVERY_MS) {
      this.#isAskingLog = true;
      log.info(config.ackTimeoutMs, (outcome) => {
        this.#isAskingLog = false;
        if (outcome.kind === "info") this.acknowledged();
      });
    }
    this.#fromLog.sendAfter(atOnce ? 0 : EVERY_MS);
  }

  #now(): number {
    return this.#options.clock.monotonicMs();
  }
}

/** One way on which we ping ourselves. */
class OwnPing {
  readonly subject: string;
  readonly #net: Net;
  readonly #clock: Clock;
  /** When the youngest ping that was answered had been sent. ms, monotonic. */
  reachedMs = Number.NEGATIVE_INFINITY;
  isDenied = false;
  #misses = 0;
  #sentMs = Number.NEGATIVE_INFINITY;
  #isUnderWay = false;

  constructor(subject: string, net: Net, clock: Clock) {
    this.subject = subject;
    this.#net = net;
    this.#clock = clock;
  }

  get isGood(): boolean {
    return this.#misses === 0;
  }

  get isMissed(): boolean {
    return this.#misses >= MISSES_MAX;
  }

  /** Without effect while one is under way, or when the last one was sent less than so long ago. ms. */
  sendAfter(restMs: number): void {
    const nowMs = this.#clock.monotonicMs();
    if (this.#isUnderWay || nowMs - this.#sentMs < restMs) return;
    this.#isUnderWay = true;
    this.#sentMs = nowMs;
    this.#net.request(this.subject, new Uint8Array(0), PING_MS, ({ kind }) => {
      this.#isUnderWay = false;
      this.isDenied = kind === "denied";
      this.#misses = kind === "reply" || kind === "denied" ? 0 : this.#misses + 1;
      if (kind === "reply") this.reachedMs = Math.max(this.reachedMs, nowMs);
    });
  }
}
