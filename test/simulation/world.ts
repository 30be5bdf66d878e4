/** One simulated mesh: time, network, shards, processes and clients of one seed, and what was found wrong. */
import type { Choices } from "./choices.ts";
import type { Plan } from "./plan.ts";
import { Scheduler } from "./scheduler.ts";
import { Broker } from "./sim-broker.ts";
import { SimCaller } from "./sim-caller.ts";
import { SimDispatcher } from "./sim-dispatcher.ts";
import { SimBucket } from "./sim-net.ts";
import { SimShard } from "./sim-shard.ts";
import { SimWorker } from "./sim-worker.ts";

export interface Violation {
  readonly invariant: string;
  readonly message: string;
  readonly atMs: number;
}

interface HeldLease {
  readonly shard: SimShard;
  readonly itemId: string;
  readonly token: number;
}

const HOLDINGS_MAX = 50;
const DRIFT = 0.01;

export class World {
  readonly choices: Choices;
  readonly plan: Plan;
  readonly isVerbose: boolean;
  readonly scheduler = new Scheduler();
  readonly broker = new Broker(this.scheduler);
  readonly registry = new SimBucket();
  readonly checkpoints = new SimBucket();
  readonly shards: readonly SimShard[];
  readonly dispatchers: readonly SimDispatcher[];
  readonly callers: readonly SimCaller[];
  readonly workers: readonly SimWorker[];
  readonly violations: Violation[] = [];
  readonly coverage = new Map<string, number>();
  readonly faults = new Map<string, number>();
  readonly stats = { operations: 0, answers: 0 };
  /** Faults are over: what is open must end. */
  isHealed = false;
  #holdings: HeldLease[] = [];

  constructor(choices: Choices, plan: Plan, isVerbose = false) {
    this.choices = choices;
    this.plan = plan;
    this.isVerbose = isVerbose;
    this.shards = ["alpha", "beta"].slice(0, plan.shards).map((shard) => new SimShard(shard, this));
    const clocks = choices.draws("clocks");
    this.dispatchers = Array.from({ length: plan.dispatchers }, (_, index) => {
      const drift = plan.hasDrift ? clocks.between(-DRIFT, DRIFT) : 0;
      const wallMs = clocks.between(0, 2e12);
      return new SimDispatcher(`d${index}`, this, { drift, startMs: clocks.between(0, 1e6), wallMs });
    });
    this.callers = Array.from({ length: plan.callers }, (_, index) => new SimCaller(`c${index}`, this));
    this.workers = Array.from({ length: plan.workers }, (_, index) => new SimWorker(`w${index}`, this));
  }

  get clients() {
    return [...this.callers, ...this.workers].map(({ client }) => client);
  }

  fail(invariant: string, message: string): void {
    this.violations.push({ invariant, message, atMs: this.scheduler.nowMs });
  }

  crashed(process: string, error: unknown): void {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    this.fail("crash", `${process}: ${text.split("\n").slice(0, 6).join(" | ")}`);
  }

  cover(point: string): void {
    this.coverage.set(point, (this.coverage.get(point) ?? 0) + 1);
  }

  countFault(name: string): void {
    this.faults.set(name, (this.faults.get(name) ?? 0) + 1);
  }

  held(holding: HeldLease): void {
    this.#holdings.push(holding);
    if (this.#holdings.length > HOLDINGS_MAX) this.#holdings = this.#holdings.slice(HOLDINGS_MAX / 2);
  }

  someHolding(shard: SimShard, drawn: number): HeldLease | undefined {
    const held = this.#holdings.filter((holding) => holding.shard === shard);
    return held[Math.floor(drawn * held.length)];
  }
}
