/** Tells whoever listens when a leader begins and ends to refuse items, in order, and never of what may not have happened. */
import type { Backpressure } from "../../../contracts/backpressure.ts";
import type { Net } from "../../../contracts/ports.ts";
import { backpressureSubject } from "../../../contracts/subjects.ts";
import { isPressed, lowsOf } from "../../core/backpressure.ts";
import type { ShardState } from "../../core/state.ts";
import type { NodeConfig } from "./node-config.ts";

const encoder = new TextEncoder();

export interface BackpressureSignalOptions {
  readonly config: NodeConfig;
  readonly net: Net;
  readonly state: ShardState;
}

/** One for each term: its first word is told whatever it is. */
export class BackpressureSignal {
  readonly #options: BackpressureSignalOptions;
  #told: boolean | undefined;

  constructor({ config, net, state }: BackpressureSignalOptions) {
    this.#options = { config, net, state };
  }

  /** How it is now. Told once the frames that it follows from are acknowledged. */
  word(at: number): Backpressure {
    const { config, state } = this.#options;
    const { region, shard, peerId } = config;
    const { term, sequence, pending, bodyBytes, options } = state;
    const active = isPressed(state, at);
    const since = active && state.pressedAt !== undefined ? { since: state.pressedAt } : undefined;
    const { pendingHigh, bodyBytesHigh } = options;
    const marks = { pendingHigh, bodyBytesHigh, ...lowsOf(options) };
    return { shard, region, leader: peerId, term, sequence, at, active, ...since, pending, bodyBytes, ...marks };
  }

  /** Publishes a word if it says something new; while nobody could hear it, it stays new. */
  tell(word: Backpressure): void {
    const { config, net } = this.#options;
    if (word.active === this.#told || !net.isConnected()) return;
    this.#told = word.active;
    net.publish(backpressureSubject(config.region, config.shard), encoder.encode(JSON.stringify(word)));
  }
}
