/** A worker of the simulation: leases items, keeps them alive on its own clock, writes to the fenced resource, and ends its leases. */
import type { Answer, Entry } from "./answer-oracle.ts";
import { SimClient } from "./sim-client.ts";
import type { SimShard } from "./sim-shard.ts";
import { Wishes } from "./wishes.ts";
import type { World } from "./world.ts";

interface Holding {
  readonly shard: SimShard;
  readonly itemId: string;
  readonly token: number;
  readonly fenceKey: string;
  readonly heartbeatMs: number;
  /** Own clock until which it believes that the lease is valid. ms. */
  validUntilMs: number;
  isOver: boolean;
  /** Its end was asked for. */
  isEnded: boolean;
}

const TIMEOUT_MS = 700;
/** What becomes of a lease in the end. */
const ENDS = ["complete", "complete", "complete", "complete", "fail", "discard", "release", "abandon"] as const;

export class SimWorker {
  readonly client: SimClient;
  readonly #world: World;
  readonly #wishes: Wishes;

  constructor(principal: string, world: World) {
    this.client = new SimClient(principal, world);
    this.#world = world;
    this.#wishes = new Wishes(world.choices.draws(`wishes.${principal}`), world.plan);
  }

  start(): void {
    for (const shard of this.#world.shards) this.client.process.run(() => this.#ask(shard));
  }

  #ask(shard: SimShard): void {
    const { draws, process } = this.client;
    const { isHealed, plan } = this.#world;
    const sentMs = process.monotonicMs();
    const wish = {
      maxItems: 1 + draws.below(isHealed ? 8 : 3),
      waitMs: draws.chance(0.6) ? Math.floor(draws.between(100, 3_000)) : 0,
      timeoutMs: 800,
      ...(draws.chance(0.2) ? { leaseDurationMs: Math.floor(plan.leaseMs * draws.between(0.5, 2)) } : {}),
      ...(draws.chance(0.2) && !isHealed ? { resourceTypes: draws.chance(0.5) ? ["a"] : ["a", "b"] } : {}),
      ...(draws.chance(0.2) ? { peerId: `${this.client.principal}--p` } : {}),
    };
    const again = (answer: Answer | undefined): void => {
      const isEmpty = (answer?.leases ?? []).length === 0;
      process.setTimer(isEmpty ? draws.between(50, 600) : draws.between(5, 300), () => this.#ask(shard));
    };
    this.client.issue(
      shard,
      "lease",
      wish,
      (answer) => {
        for (const lease of answer?.leases ?? []) this.#hold(shard, lease, sentMs);
        again(answer);
      },
      { hasId: draws.chance(0.9) },
    );
  }

  #hold(shard: SimShard, lease: Entry, sentMs: number): void {
    const { draws, process } = this.client;
    const holding: Holding = {
      shard,
      itemId: lease["itemId"] as string,
      token: lease["token"] as number,
      fenceKey: lease["fenceKey"] as string,
      heartbeatMs: lease["heartbeatMs"] as number,
      validUntilMs: sentMs + (lease["validMs"] as number),
      isOver: false,
      isEnded: false,
    };
    this.#world.held(holding);
    const isQuick = this.#world.isHealed || draws.chance(0.6);
    const workMs = isQuick ? draws.between(1, 200) : draws.between(100, this.#world.plan.leaseMs * 2.5);
    // Some forget to beat: their leases run out, and they come back as zombies.
    if (draws.chance(0.8)) this.#beatLater(holding);
    // Long work is written step by step.
    if (!isQuick) shard.resource.write(holding.fenceKey, holding.token);
    process.setTimer(workMs, () => this.#finish(holding));
  }

  #beatLater(holding: Holding): void {
    this.client.process.setTimer(holding.heartbeatMs, () => {
      if (holding.isOver) return;
      this.#beat(holding);
      this.#beatLater(holding);
    });
  }

  #beat(holding: Holding): void {
    const { draws, process } = this.client;
    const { itemId, token, shard } = holding;
    const sentMs = process.monotonicMs();
    const extendMs = draws.chance(0.1)
      ? { extendMs: Math.floor(this.#world.plan.leaseMs * draws.between(0.3, 1.5)) }
      : {};
    this.client.issue(
      shard,
      "heartbeat",
      { leases: [{ itemId, token, ...this.#wishes.ofBeat(token) }], timeoutMs: 500, ...extendMs },
      (answer) => {
        const [entry] = answer?.results ?? [];
        if (answer?.error?.code === "unsupported_version") this.#world.cover("progress_refused_by_old_log");
        if (entry === undefined) return;
        if (entry.error === undefined) {
          holding.validUntilMs = Math.max(holding.validUntilMs, sentMs + (entry["validMs"] as number));
          if (entry["cancelRequested"] === true && !holding.isEnded) this.#stop(holding);
        } else {
          this.#world.cover(`heartbeat_${entry.error.code}`);
          holding.isOver = true;
        }
      },
      { hasId: false },
    );
  }

  /** Somebody wants the item no more: most stop, some go on and complete it all the same. */
  #stop(holding: Holding): void {
    const { token, shard } = holding;
    this.#world.cover("cancel_heard");
    const end = this.#wishes.ofCancel();
    if (end === undefined) return;
    holding.isOver = true;
    holding.isEnded = true;
    this.#world.cover("cancel_obeyed");
    const ref = { itemId: holding.itemId, token };
    const leases = [end === "fail" ? { ...ref, reason: "stopped" } : ref];
    const heard = (answer: Answer | undefined): void => this.#settled(holding, answer, false);
    this.client.issue(shard, end, { leases, timeoutMs: TIMEOUT_MS }, heard, { hasId: false });
  }

  #finish(holding: Holding): void {
    if (holding.isEnded) return;
    holding.isEnded = true;
    const { draws, process } = this.client;
    const { itemId, token, shard } = holding;
    const isZombie = process.monotonicMs() > holding.validUntilMs;
    holding.isOver = true;
    if (isZombie && draws.chance(0.3)) return;
    const ref = { itemId, token };
    const end = this.#world.isHealed ? "complete" : draws.pick(ENDS);
    if (end === "complete") shard.resource.write(holding.fenceKey, token, itemId);
    const heard = (answer: Answer | undefined): void => this.#settled(holding, answer, isZombie);
    const timeoutMs = TIMEOUT_MS;
    if (end === "complete") {
      const leases = [{ ...ref, ...this.#wishes.ofCompletion(token) }];
      this.client.issue(shard, "complete", { leases, timeoutMs }, heard, { hasId: false });
    } else if (end === "fail" || end === "discard") {
      const terms = { ...this.#wishes.ofFailure(), ...(end === "discard" ? { requeue: false } : {}) };
      const leases = [{ ...ref, reason: "broken", ...terms }];
      this.client.issue(shard, "fail", { leases, timeoutMs }, heard, { hasId: false });
    } else if (end === "release")
      this.client.issue(shard, "release", { leases: [ref], timeoutMs }, heard, { hasId: false });
  }

  #settled({ token, shard }: Holding, answer: Answer | undefined, isZombie: boolean): void {
    const [entry] = answer?.results ?? [];
    if (entry?.error?.code === "unsupported_version") this.#world.cover("failure_refused_by_old_log");
    if (entry?.error?.code !== "stale_token") {
      if (isZombie && entry !== undefined) this.#world.cover("late_settle_honoured");
      if (entry?.["duplicate"] === true) this.#world.cover("settle_repeated");
      return;
    }
    const item = shard.log.model.itemOfToken.get(token);
    this.#world.cover(item?.lease === undefined ? "stale_settle" : "stale_settle_after_regrant");
  }
}
