/** Builds the history of a run that never was: random callers and the production core in memory, so it is valid by construction. */
import type { RunRecords } from "../../chaos/checker/run-folder.ts";
import { randomFrom } from "../../chaos/drill.ts";
import { type FaultRecord, type FencedRecord, type OperationRecord, RunPlan } from "../../chaos/operations.ts";
import { REQUESTS, type ShardCommand } from "../../contracts/commands.ts";
import { SHARD_OPTIONS_DEFAULT } from "../../contracts/options.ts";
import type { Outcome } from "../../services/core/outcome.ts";
import { HistoryLeader, REGION, SHARD } from "./history-leader.ts";
import { HistoryOperator } from "./history-operator.ts";
import { MADE_UP_SINKS, sinkRecords } from "./history-sinks.ts";

type Args = Readonly<Record<string, unknown>>;
type Verb = Exclude<OperationRecord["f"], "fenced_write">;
interface Wish {
  readonly f: Verb;
  readonly args: Args;
}
interface Held {
  readonly itemId: string;
  readonly token: number;
  readonly fenceKey: string;
}
interface Caller {
  readonly name: string;
  readonly principal: string;
  /** Part of the rounds in which it asks for something. */
  readonly rate: number;
  readonly wish: (caller: Caller) => Wish;
  process: number;
  /** Asked again after an unknown outcome. */
  again: Wish | undefined;
  pending: (OperationRecord & { readonly f: Verb }) | undefined;
  readonly held: Held[];
}

const OPTIONS = {
  ...SHARD_OPTIONS_DEFAULT,
  pendingHigh: 25,
  pendingLow: 24,
  backpressureCooldownMs: 0,
  maxAttempts: 3,
  onDeadLetter: "continue" as const,
};
const LEASE_MS = 1_500;
const NS_PER_MS = 1_000_000;
/** Where the clock of the host stood. ns. */
const BOOT_NS = 5_000_000_000n;

/** Rounds of requests, each decided into one frame. What is sent in a round overlaps; answers may come rounds later. If asked, some items have unique keys, and somebody uses the whole queue. */
export function buildHistory(seed: number, rounds = 400, more: More = {}): RunRecords {
  return new HistoryBuilder(seed, more).build(rounds);
}

interface More {
  readonly hasKeys?: boolean;
  readonly hasOperator?: boolean;
}

class HistoryBuilder {
  readonly #draw: () => number;
  readonly #leader = new HistoryLeader(OPTIONS);
  readonly #operations: OperationRecord[] = [];
  readonly #faults: FaultRecord[] = [];
  readonly #fenced: FencedRecord[] = [];
  readonly #highest = new Map<string, number>();
  readonly #states: Record<string, { sequence: number; stateHash: string }[]> = { d1: [], d2: [], d3: [] };
  readonly #late: (() => void)[] = [];
  readonly #seed: number;
  readonly #hasKeys: boolean;
  readonly #operator: HistoryOperator | undefined;
  /** The reply of an earlier leader, for reads that need not be new. */
  #oldStats: Args | undefined;
  #nowMs = 10;
  #count = 0;
  #usedId = 0;
  #leaders = 0;

  constructor(seed: number, { hasKeys = false, hasOperator = false }: More) {
    this.#seed = seed;
    this.#hasKeys = hasKeys;
    this.#draw = randomFrom(seed);
    if (hasOperator) this.#operator = new HistoryOperator(this.#leader.state, randomFrom(seed + 1));
  }

  build(rounds: number): RunRecords {
    const callers = this.#callers();
    for (let round = 1; round <= rounds; round += 1) {
      if (round % 60 === 0) this.#changeLeader(callers);
      if (round % 97 === 0) this.#leader.storeStranger('{"no":"frame"}');
      this.#round(callers, round > rounds - 20);
    }
    for (const answer of this.#late.splice(0)) answer();
    this.#leader.markState(this.#nowMs);
    this.#leader.seal(this.#nowMs);
    const { log } = this.#leader;
    for (const states of Object.values(this.#states)) states.push(this.#leader.hash());
    return {
      plan: RunPlan.parse({
        ...{
          run: "made-up",
          seed: this.#seed,
          region: REGION,
          shard: SHARD,
          replicas: 3,
          dispatchers: ["d1", "d2", "d3"],
        },
        // While an operator holds items back there is less to do.
        okMutationsMin: this.#operator === undefined ? rounds : rounds / 2,
        sinks: MADE_UP_SINKS,
        ...{ faults: { "leader-killed": 2 }, leaderChangesMin: 3 },
        writeGapMsMax: this.#operator === undefined ? 5_000 : 20_000,
      }),
      operations: this.#operations,
      faults: this.#faults,
      logs: { n1: log, n2: [...log], n3: [...log] },
      states: this.#states,
      fenced: this.#fenced,
      sinks: sinkRecords(log),
      problems: [],
    };
  }

  #callers(): Caller[] {
    const make = (name: string, principal: string, rate: number, wish: Caller["wish"]): Caller => ({
      ...{ name, principal, rate, wish, process: 0, again: undefined, pending: undefined, held: [] },
    });
    const clients = ["c1", "c2", "c3"].map((name) =>
      make(name, name === "c3" ? "other" : "client", 0.3, () => this.#enqueue()),
    );
    const workers = ["w1", "w2", "w3", "w4"].map((name) => make(name, name, 0.7, (caller) => this.#work(caller)));
    const reader = make("r1", "reader", 0.4, () => {
      const kind = this.#draw();
      const minSequence = this.#leader.state.sequence;
      if (kind < 0.5) return { f: "stats", args: { consistent: true, minSequence } };
      return { f: "stats", args: kind < 0.7 ? { minSequence } : {} };
    });
    const operator = this.#operator;
    const operators = operator === undefined ? [] : [make("o1", "operator", 0.5, () => operator.wish())];
    return [...clients, ...workers, reader, ...operators];
  }

  #round(callers: readonly Caller[], isLast: boolean): void {
    const sent = callers.filter(({ pending, rate }) => pending === undefined && this.#draw() < rate);
    for (const caller of sent) this.#invoke(caller);
    const late = this.#late.splice(0);
    this.#pass(this.#draw() < 0.04 ? 2 * LEASE_MS : 30);
    this.#leader.expireDue(this.#nowMs);
    this.#leader.turn(this.#nowMs);
    const answers: (() => void)[] = [];
    for (const caller of sent.sort(() => this.#draw() - 0.5)) {
      const isLost = this.#draw() < 0.03;
      const outcome = isLost ? undefined : this.#decide(caller);
      const isHeard = !isLost && this.#draw() > 0.03;
      answers.push(() => this.#answer(caller, isHeard ? outcome : undefined));
    }
    if (this.#draw() < 0.15) this.#leader.markState(this.#nowMs);
    this.#leader.seal(this.#nowMs);
    if (this.#draw() < 0.1) this.#note();
    this.#pass(3);
    for (const answer of late) answer();
    for (const answer of answers) {
      if (!isLast && this.#draw() < 0.15) this.#late.push(answer);
      else answer();
    }
  }

  /** What was sent to the old leader is never decided. */
  #changeLeader(callers: readonly Caller[]): void {
    const startedNs = this.#ns();
    for (const answer of this.#late.splice(0)) answer();
    for (const caller of callers) {
      if (caller.pending !== undefined || this.#draw() < 0.5) continue;
      this.#invoke(caller);
      this.#answer(caller, undefined);
    }
    this.#leaders += 1;
    const isPlanned = this.#leaders % 2 === 0;
    if (isPlanned) this.#leader.release(this.#nowMs);
    this.#pass(400);
    const peerId = `d${1 + (this.#leaders % 3)}`;
    this.#leader.lead(peerId, this.#nowMs);
    for (let round = 0; round < 5; round += 1) this.#round(callers, false);
    if (isPlanned) return;
    const fault = { kind: "leader-killed", target: peerId, params: {}, applied: true, evidence: "it has ended" };
    this.#faults.push({ ...fault, startedNs, endedNs: this.#ns() });
  }

  #invoke(caller: Caller): void {
    const { name, principal } = caller;
    const wish = caller.again ?? caller.wish(caller);
    caller.again = undefined;
    caller.pending = { ...this.#begun(caller), principal, ...wish, process: `${name}.${caller.process}` };
    this.#operations.push(caller.pending);
  }

  #begun({ name, principal, process }: Caller) {
    this.#count += 1;
    this.#pass(0.2);
    const id = `${name}-${this.#count}`;
    return {
      run: "made-up",
      process: `${name}.${process}`,
      principal,
      id,
      invokedNs: this.#ns(),
      type: "invoke" as const,
    };
  }

  #decide({ pending, principal }: Caller): Outcome | undefined {
    if (pending === undefined) return undefined;
    const { f, args } = pending;
    const mayBeOld = f === "stats" && args["consistent"] !== true && args["minSequence"] === undefined;
    if (mayBeOld && this.#oldStats !== undefined && this.#draw() < 0.3)
      return { reply: this.#oldStats, confirm: false, validity: [] };
    const command = { verb: f, request: REQUESTS[f].parse(args) } as ShardCommand;
    const peerId = f === "lease" && typeof args["peerId"] === "string" ? args["peerId"] : principal;
    const outcome = this.#leader.decide(command, principal, peerId, this.#nowMs);
    for (const { target, token, lastsMs } of outcome.validity)
      target.validMs = (this.#leader.deadlines.get(token) ?? this.#nowMs + lastsMs) - this.#nowMs;
    if (f === "stats" && outcome.reply !== undefined) this.#oldStats = outcome.reply as Args;
    // The core goes on with its objects; a reply is bytes.
    return structuredClone(outcome);
  }

  #answer(caller: Caller, outcome: Outcome | undefined): void {
    const { pending } = caller;
    if (pending === undefined) return;
    caller.pending = undefined;
    this.#pass(0.3);
    const { f, args } = pending;
    if (outcome === undefined || outcome.error?.definite === false) {
      caller.process += 1;
      if (this.#draw() < 0.6) caller.again = { f, args };
      this.#operations.push({ ...pending, type: "info" });
      return;
    }
    const returnedNs = this.#ns();
    if (outcome.error !== undefined) {
      const { code, definite } = outcome.error;
      this.#operations.push({ ...pending, returnedNs, type: "fail", error: { code, definite } });
      return;
    }
    const result = outcome.reply as Args;
    this.#operations.push({ ...pending, returnedNs, type: "ok", result });
    if (f === "enqueue" && this.#draw() < 0.05) caller.again = { f, args };
    if (f !== "lease") return;
    caller.held.push(...(result["leases"] as Held[]));
    for (const held of result["leases"] as Held[]) this.#write(caller, held);
  }

  #enqueue(): Wish {
    const items = Array.from({ length: 1 + Math.floor(this.#draw() * 3) }, (_, index) => {
      const resourceId = `r${this.#count}-${index}`;
      const kind = this.#draw();
      const terms = this.#operator?.terms();
      const item = {
        resourceType: kind < 0.8 ? "table" : "shard",
        resourceId,
        body: `body of ${resourceId}`,
        ...terms,
      };
      if (this.#hasKeys && kind < 0.1) return { ...item, uniqueKey: `u${Math.floor(kind * 80)}` };
      if (kind < 0.5) return item;
      if (kind < 0.7) return { ...item, resourceId: `shared${Math.floor(kind * 50)}`, exclusivity: "resource" };
      return { ...item, partitionKey: `p${Math.floor(kind * 40)}`, exclusivity: "partition" };
    });
    const named = this.#draw();
    // Sometimes an id that was used before, with other items.
    const requestId = `req${named < 0.04 ? this.#usedId : this.#count}`;
    this.#usedId = this.#count;
    if (named < 0.6) return { f: "enqueue", args: { requestId, items } };
    if (named < 0.8) return { f: "enqueue", args: { items: [{ ...items[0], requestId: `${requestId}/7` }] } };
    return { f: "enqueue", args: { items } };
  }

  #work(caller: Caller): Wish {
    const kind = this.#draw();
    const held = caller.held[0];
    if (held === undefined || kind < 0.25) {
      const types = this.#draw() < 0.2 ? { resourceTypes: ["shard"] } : undefined;
      const id = this.#draw() < 0.85 ? { requestId: `lease${this.#count}` } : undefined;
      return { f: "lease", args: { maxItems: 2, leaseDurationMs: LEASE_MS, ...id, ...types } };
    }
    const { itemId, token } = held;
    const longer = kind < 0.27 && this.#operator === undefined ? { extendMs: 2 * LEASE_MS } : undefined;
    const progress = this.#operator === undefined ? {} : { progress: `${token} ${this.#count}` };
    const refs = caller.held.slice(0, 3).map((each) => ({ ...refOf(each), ...(each === held ? progress : {}) }));
    if (kind < 0.4) return { f: "heartbeat", args: { leases: refs, ...longer } };
    caller.held.shift();
    this.#write(caller, held);
    if (kind < 0.75) return { f: "complete", args: { leases: [{ itemId, token, result: "done" }] } };
    if (kind < 0.88) return { f: "fail", args: { leases: [{ itemId, token, reason: "drill", requeue: kind < 0.85 }] } };
    return { f: "release", args: { leases: [{ itemId, token }] } };
  }

  /** Between two requests: the resource answers at once. */
  #write(caller: Caller, { fenceKey: resource, itemId, token }: Held): void {
    if (caller.pending !== undefined || this.#draw() < 0.5) return;
    const args = { resource, itemId, token };
    const operation = { ...this.#begun(caller), f: "fenced_write" as const, args };
    this.#operations.push(operation);
    this.#pass(0.2);
    const isTaken = token >= (this.#highest.get(resource) ?? 0);
    if (isTaken) {
      this.#highest.set(resource, token);
      this.#fenced.push({ ...args, operation: operation.id });
    }
    const returnedNs = this.#ns();
    if (isTaken) this.#operations.push({ ...operation, returnedNs, type: "ok", result: {} });
    else
      this.#operations.push({ ...operation, returnedNs, type: "fail", error: { code: "stale_token", definite: true } });
  }

  #note(): void {
    for (const states of Object.values(this.#states)) if (this.#draw() < 0.7) states.push(this.#leader.hash());
  }

  #pass(msMax: number): void {
    this.#nowMs += msMax * (0.1 + 0.9 * this.#draw());
  }

  #ns(): string {
    return String(BOOT_NS + BigInt(Math.round(this.#nowMs * NS_PER_MS)));
  }
}

const refOf = ({ itemId, token }: Held) => ({ itemId, token });
