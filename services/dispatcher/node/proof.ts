/** Shows again and again that requests reach this node and that its log answers; while they do not, no lease may run out, and nobody may lead for long. */
import type { Alarm, Clock, Log, Net } from "../../../contracts/ports.ts";
import { pingSubject } from "../../../contracts/subjects.ts";
import type { NodeConfig } from "./node-config.ts";

/** Time between two proofs, and how old the last one may be. ms. */
const EVERY_MS = 250;
const FRESH_MS = 1_000;
/** Time between two pings while nothing depends on them. ms. */
const CALM_MS = 1_000;
/** Pings in a row that do not come, after which we are taken for cut off. */
const MISSES_MAX = 3;

export interface ProofOptions {
  readonly config: NodeConfig;
  readonly clock: Clock;
  readonly log: Log;
  readonly logNet: Net;
}

/**
 * A ping to ourselves, sent over the log's connection and heard over the one that brings the clients' requests: it comes behind everything that
 * the server had for us, and it does not come at all when that server is cut off from where the log is. An idle connection says nothing, and a
 * half-open one is noticed only after seconds.
 */
export class Proof {
  readonly #options: ProofOptions;
  /** When the youngest request to ourselves that was answered had been sent. ms, monotonic. */
  #reachedMs = Number.NEGATIVE_INFINITY;
  #logMs = Number.NEGATIVE_INFINITY;
  #askedMs = Number.NEGATIVE_INFINITY;
  #misses = 0;
  #isAsking = false;
  #isAskingLog = false;

  constructor(options: ProofOptions) {
    this.#options = options;
  }

  /** Whatever a client had sent to the server before this moment has been received here. ms, monotonic. */
  get reachedMs(): number {
    return this.#reachedMs;
  }

  get isFresh(): boolean {
    const nowMs = this.#now();
    return nowMs - this.#reachedMs <= FRESH_MS && nowMs - this.#logMs <= FRESH_MS;
  }

  /** Whether requests have not come through for so long that another one had better lead. */
  get isCutOff(): boolean {
    return this.#misses >= MISSES_MAX;
  }

  get alarms(): readonly Alarm[] {
    if (!this.isCutOff) return [];
    const message =
      "requests do not reach this dispatcher from where its log is: the NATS servers that it is connected to are cut off from each other, or a connection is overloaded; another dispatcher leads meanwhile";
    return [{ code: "requests_cut_off", message, isServing: false }];
  }

  /** The log has acknowledged a frame: as good as an answer. */
  acknowledged(): void {
    this.#logMs = this.#now();
  }

  /** Pings now and then, whatever the node does. */
  keep(): void {
    const everyMs = this.#misses === 0 ? CALM_MS : EVERY_MS;
    if (this.#now() - this.#askedMs >= everyMs) this.#ping();
  }

  /** Asks both when it is time; `atOnce` pings without waiting for that. */
  renew(atOnce: boolean): void {
    const { config, log } = this.#options;
    const nowMs = this.#now();
    if (!this.#isAskingLog && nowMs - this.#logMs >= EVERY_MS) {
      this.#isAskingLog = true;
      log.info(config.ackTimeoutMs, (outcome) => {
        this.#isAskingLog = false;
        if (outcome.kind === "info") this.acknowledged();
      });
    }
    if (atOnce || nowMs - this.#askedMs >= EVERY_MS) this.#ping();
  }

  #ping(): void {
    if (this.#isAsking) return;
    const { config, logNet } = this.#options;
    const nowMs = this.#now();
    this.#isAsking = true;
    this.#askedMs = nowMs;
    logNet.request(pingSubject(config.region, config.peerId), new Uint8Array(0), FRESH_MS, (outcome) => {
      this.#isAsking = false;
      this.#misses = outcome.kind === "reply" ? 0 : this.#misses + 1;
      if (outcome.kind === "reply") this.#reachedMs = Math.max(this.#reachedMs, nowMs);
    });
  }

  #now(): number {
    return this.#options.clock.monotonicMs();
  }
}
