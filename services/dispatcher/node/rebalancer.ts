/** Moves leaderships back to where they belong, one at a time, once the picture of who lives has been still for a while. */
import type { Clock, TimerHandle } from "../../../contracts/ports.ts";
import type { Neighbours } from "./neighbours.ts";
import type { ShardNode } from "./shard-node.ts";

const LOOK_MS = 1_000;
/** How long nobody may have come or gone. ms. */
const STILL_MS = 3_000;

export interface RebalancerOptions {
  readonly peerId: string;
  readonly clock: Clock;
  readonly neighbours: Neighbours;
  readonly nodes: () => readonly ShardNode[];
}

export class Rebalancer {
  readonly #options: RebalancerOptions;
  #timer: TimerHandle | undefined;

  constructor(options: RebalancerOptions) {
    this.#options = options;
  }

  start(): void {
    this.#timer = this.#options.clock.setTimer(LOOK_MS, () => {
      this.#look();
      this.start();
    });
  }

  stop(): void {
    if (this.#timer !== undefined) this.#options.clock.clearTimer(this.#timer);
    this.#timer = undefined;
  }

  #look(): void {
    const { neighbours, nodes, peerId } = this.#options;
    if (neighbours.stableMs() < STILL_MS) return;
    const placement = neighbours.placement();
    for (const node of nodes()) {
      const { shard, mode } = node.status();
      const successor = placement.get(shard);
      if (mode !== "leading" || successor === undefined || successor === peerId) continue;
      if (!neighbours.canTakeOver(successor, shard)) continue;
      node.handOver(successor);
      return;
    }
  }
}
