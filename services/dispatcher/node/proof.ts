/** Shows again and again that requests reach this leader and that its log answers; while it cannot, no lease may run out. */
import type { Clock, Log, Net } from "../../../contracts/ports.ts";
import { pingSubject } from "../../../contracts/subjects.ts";
import type { NodeConfig } from "./node-config.ts";

/** Time between two proofs, and how old the last one may be. ms. */
const EVERY_MS = 250;
const FRESH_MS = 1_000;

export interface ProofOptions {
  readonly config: NodeConfig;
  readonly clock: Clock;
  readonly log: Log;
  readonly rpc: Net;
}

/**
 * A request to ourselves over the connection that brings the clients' requests: its answer comes behind everything that the server had for us
 * when it was asked. An idle connection says nothing, and a half-open one is noticed only after seconds.
 */
export class Proof {
  readonly #options: ProofOptions;
  /** When the youngest request to ourselves that was answered had been sent. ms, monotonic. */
  #reachedMs = Number.NEGATIVE_INFINITY;
  #logMs = Number.NEGATIVE_INFINITY;
  #askedMs = Number.NEGATIVE_INFINITY;
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

  /** The log has acknowledged a frame: as good as an answer. */
  acknowledged(): void {
    this.#logMs = this.#now();
  }

  /** Asks again when it is time; `atOnce` without waiting for that. */
  renew(atOnce: boolean): void {
    const { config, log, rpc } = this.#options;
    const nowMs = this.#now();
    if (!this.#isAskingLog && nowMs - this.#logMs >= EVERY_MS) {
      this.#isAskingLog = true;
      log.info(config.ackTimeoutMs, (outcome) => {
        this.#isAskingLog = false;
        if (outcome.kind === "info") this.acknowledged();
      });
    }
    if (this.#isAsking || (!atOnce && nowMs - this.#askedMs < EVERY_MS)) return;
    this.#isAsking = true;
    this.#askedMs = nowMs;
    rpc.request(pingSubject(config.region, config.peerId), new Uint8Array(0), FRESH_MS, (outcome) => {
      this.#isAsking = false;
      if (outcome.kind === "reply") this.#reachedMs = Math.max(this.#reachedMs, nowMs);
    });
  }

  #now(): number {
    return this.#options.clock.monotonicMs();
  }
}
