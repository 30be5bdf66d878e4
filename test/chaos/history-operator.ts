/** What an operator of a made-up history asks for: it looks into the state of the leader, so that most of what it asks has an effect. */
import type { OperationRecord } from "../../chaos/operations.ts";
import type { ShardState } from "../../services/core/state.ts";

interface Wish {
  readonly f: Exclude<OperationRecord["f"], "fenced_write">;
  readonly args: Readonly<Record<string, unknown>>;
}
type Args = Wish["args"];

const NAMES = ["x", "y"] as const;
const SCHEDULES = ["s0", "s1"] as const;

export class HistoryOperator {
  readonly #state: ShardState;
  readonly #draw: () => number;
  #drains = 0;

  constructor(state: ShardState, draw: () => number) {
    this.#state = state;
    this.#draw = draw;
  }

  wish(): Wish {
    const { drain, paused } = this.#state;
    if (drain !== undefined && this.#draw() < 0.9) return this.#ofDrain(drain.drainId, drain.leases);
    if (paused && this.#draw() < 0.9) return { f: "resume", args: {} };
    return this.#pick([
      ...[() => this.#cancel(), () => this.#cancel(), () => this.#letters("redrive"), () => this.#letters("purge")],
      ...[() => this.#read(), () => this.#read(), () => this.#configure(), () => this.#schedule(), () => this.#drain()],
      (): Wish => ({ f: "evict", args: { peerId: this.#pick(["w1", "w2", "w3", "w4"]) } }),
      (): Wish => ({ f: "pause", args: {} }),
    ])();
  }

  /** What an item of a client says beside its resource. */
  terms(): Args {
    const at = this.#state.at + 60;
    return this.#pick<Args>([
      ...[{}, {}, {}, { priority: Math.floor(this.#draw() * 10) }, { delayMs: Math.floor(this.#draw() * 300) }],
      ...[{ notBefore: at + 50, notAfter: at + 600 }, { maxAttempts: 1 }, { retry: { kind: "fixed", delayMs: 100 } }],
      ...[{ group: this.#pick(NAMES) }, { quotaKey: this.#pick(NAMES) }, { leaseDurationMs: 1_000 }],
    ]);
  }

  #ofDrain(drainId: string, leases: string): Wish {
    const kind = this.#draw();
    if (kind < 0.25) return { f: "list", args: { drainId } };
    return kind < 0.4 ? { f: "drain", args: { drainId, leases } } : { f: "restore", args: { drainId } };
  }

  #drain(): Wish {
    const isOld = this.#draw() < 0.3;
    if (!isOld) this.#drains += 1;
    const drainId = `drain-${this.#drains}`;
    if (isOld) return { f: this.#pick(["restore", "drain"]), args: { drainId } };
    return { f: "drain", args: { drainId, leases: this.#pick(["wait", "expire"]) } };
  }

  #cancel(): Wish {
    const leased = this.#state.leased.map(({ itemId }) => itemId);
    const one = this.#draw() < 0.5 ? (leased[Math.floor(this.#draw() * leased.length)] ?? "none") : this.#someId();
    return { f: "cancel", args: { itemIds: [...new Set([one, this.#someId()])] } };
  }

  #letters(f: "redrive" | "purge"): Wish {
    const letters = [...this.#state.items.values()].filter(({ status }) => status === "deadLettered");
    const itemIds = letters.slice(-3).map(({ itemId }) => itemId);
    const other = this.#draw() < 0.3 || itemIds.length === 0 ? [this.#someId()] : [];
    const every = f === "redrive" && this.#draw() < 0.5 ? { everyMs: 40 } : {};
    return { f, args: { itemIds: [...new Set([...itemIds, ...other])], ...every } };
  }

  #read(): Wish {
    return this.#pick<Wish>([
      { f: "get", args: { itemIds: [...new Set([this.#someId(), this.#someId(), "none"])] } },
      { f: "list", args: { status: "deadLettered" } },
      { f: "list", args: { limit: 10 } },
      { f: "schedule-list", args: {} },
    ]);
  }

  #configure(): Wish {
    const name = `${this.#pick(["group", "key"])}/${this.#pick(NAMES)}`;
    const quota = this.#pick([null, { leasesMax: 1 }, { rate: { count: 2, perMs: 200 } }]);
    if (this.#draw() < 0.7) return { f: "configure", args: { quotas: { [name]: quota } } };
    const fairness = this.#pick(["groups", "off"]);
    return { f: "configure", args: { options: this.#pick<Args>([{ fairness }, { ageingMs: 500 }, { ageingMs: 0 }]) } };
  }

  #schedule(): Wish {
    const name = this.#pick(SCHEDULES);
    if (this.#draw() < 0.3) return { f: "schedule-delete", args: { name } };
    const item = { resourceType: "tick", resourceId: name };
    const cron = `*/${this.#pick([1, 2])} * * * * *`;
    return { f: "schedule-put", args: { name, cron, item, catchUp: this.#pick(["none", "last", "all"]) } };
  }

  /** Of a young item; of one that was never there while there is none. */
  #someId(): string {
    const { items, records } = this.#state;
    const ids = [...items.values(), ...records.values()]
      .map(({ itemId }) => itemId)
      .sort()
      .slice(-40);
    return ids[Math.floor(this.#draw() * ids.length)] ?? "none";
  }

  #pick<T>(all: readonly T[]): T {
    return all[Math.floor(this.#draw() * all.length)] as T;
  }
}
