/** Moves leaderships back to where they belong, one at a time, once the picture of who lives has been still for a while. */
import type { Clock, Reporter, TimerHandle } from "../../../contracts/ports.ts";
import type { Neighbours } from "./neighbours.ts";
import type { ShardNode } from "./shard-node.ts";

const LOOK_MS = 1_000;
/** How long nobody may have come or gone. ms. */
const STILL_MS = 3_000;
/** Events that a successor may be behind: it must take over at once. */
const LAG_MAX = 10_000;

export interface RebalancerOptions {
  readonly peerId: string;
  readonly clock: Clock;
  readonly reporter: Reporter;
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
    const { neighbours, nodes, peerId, reporter } = this.#options;
    if (neighbours.stableMs() < STILL_MS) return;
    const placement = neighbours.placement();
    for (const node of nodes()) {
      const { shard, mode, sequence } = node.status();
      const successor = placement.get(shard);
      if (mode !== "leading" || successor === undefined || successor === peerId) continue;
      if (!neighbours.canTakeOver(successor, shard, sequence, LAG_MAX)) continue;
      reporter.info("handing_over", { shard, successor });
      node.handOver(successor);
      return;
    }
  }
}
