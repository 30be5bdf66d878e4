/** Nodes under random faults, seed by seed, on a virtual clock: safety throughout, liveness once the faults stop. */
import { expect, test } from "vitest";
import type { LogEvent } from "../../contracts/events.ts";
import { type Answer, type NodeUnit, NodeWorld } from "./node-world.ts";

const SEEDS = Number(process.env["SWARM_SEEDS"] ?? 200);
const FIRST = Number(process.env["SWARM_FIRST"] ?? 1);
const FAULT_MS = 20_000;
const HEAL_MS = 60_000;

/** A small seeded generator (mulberry32): the same seed gives the same run on every machine. */
function randomOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

interface Operation {
  readonly verb: "enqueue" | "lease" | "complete" | "heartbeat";
  readonly body: Record<string, unknown>;
  answers: Answer[];
  sentMs: number;
  done: Answer["body"] | undefined;
}

/** A client that repeats each operation with the same bytes until its outcome is definite. */
class Caller {
  readonly operations: Operation[] = [];
  readonly #world: NodeWorld;
  readonly #random: () => number;
  #count = 0;

  constructor(world: NodeWorld, random: () => number) {
    this.#world = world;
    this.#random = random;
  }

  step(isIssuing: boolean): void {
    for (const operation of this.open()) this.#settleOrRepeat(operation);
    if (!isIssuing || this.#random() > 0.25 || this.open().length > 20) return;
    const draw = this.#random();
    if (draw < 0.5) this.#issue("enqueue", { items: this.#items(), requestId: this.#id() });
    else if (draw < 0.8) this.#issue("lease", { maxItems: 3, leaseDurationMs: 1_500, requestId: this.#id() });
    else this.#settle(draw < 0.95 ? "complete" : "heartbeat");
  }

  open(): Operation[] {
    return this.operations.filter(({ done }) => done === undefined);
  }

  #items(): object[] {
    const exclusivity = (["none", "resource", "partition"] as const)[Math.floor(this.#random() * 3)];
    return Array.from({ length: 1 + Math.floor(this.#random() * 3) }, () => ({
      resourceType: "table",
      resourceId: `t-${Math.floor(this.#random() * 4)}`,
      exclusivity,
      partitionKey: `p-${Math.floor(this.#random() * 3)}`,
      maxAttempts: 50,
    }));
  }

  #settle(verb: "complete" | "heartbeat"): void {
    const leases = this.operations.flatMap((operation) => (operation.verb === "lease" ? leasesOf(operation) : []));
    const lease = leases[Math.floor(this.#random() * leases.length)];
    if (lease !== undefined) this.#issue(verb, { leases: [{ itemId: lease.itemId, token: lease.token }] });
  }

  #id(): string {
    this.#count += 1;
    return `op-${this.#count}`;
  }

  #issue(verb: Operation["verb"], body: Record<string, unknown>): void {
    const operation: Operation = { verb, body, answers: [], sentMs: 0, done: undefined };
    this.operations.push(operation);
    this.#send(operation);
  }

  #send(operation: Operation): void {
    operation.sentMs = this.#world.clock.monotonicMs();
    operation.answers = this.#world.send(operation.verb, { ...operation.body, timeoutMs: 700 });
  }

  #settleOrRepeat(operation: Operation): void {
    const [first] = operation.answers;
    if (first !== undefined && first.body.error?.code !== undefined && !isFinal(first.body)) this.#send(operation);
    else if (first !== undefined) operation.done = first.body;
    else if (this.#world.clock.monotonicMs() - operation.sentMs > 1_000) this.#send(operation);
  }
}

const RETRYABLE = new Set(["not_leader", "shutting_down", "unavailable", "unknown_outcome", "internal"]);
const isFinal = (body: Answer["body"]): boolean => !RETRYABLE.has(body.error?.code ?? "");
const leasesOf = ({ done }: Operation): { itemId: string; token: number }[] => (done?.["leases"] ?? []) as never;

const stopping = new WeakSet<NodeUnit>();

/** Applies one fault; those that last end by themselves. */
function fault(world: NodeWorld, units: NodeUnit[], random: () => number): void {
  const index = Math.floor(random() * units.length);
  const unit = units[index] as NodeUnit;
  // A process that is told to stop is left to it: two processes with one peer id are no fault that we promise to survive.
  if (stopping.has(unit)) return;
  const forMs = 50 + random() * 3_000;
  const later = (end: () => void): void => void world.clock.setTimer(forMs, end);
  const kinds: (() => void)[] = [
    () => unit.log.failNextAppend({ kind: "lose_ack" }),
    () => unit.log.failNextAppend({ kind: "vanish" }),
    () => unit.log.failNextAppend({ kind: "late", afterMs: random() * 4_000 }),
    () => unit.log.failNextAppend({ kind: "refuse" }),
    () => unit.log.failNextAppend({ kind: "delay", delayMs: random() * 1_800 }),
    () => unit.log.failNextAppend({ kind: "disconnect", isStored: random() < 0.5 }),
    () => unit.log.failNextReads(Math.ceil(random() * 5)),
    () => {
      unit.log.disconnect();
      later(() => unit.log.reconnect());
    },
    () => {
      unit.gossip.setConnected(false);
      later(() => unit.gossip.setConnected(true));
    },
    () => {
      unit.rpc.setConnected(false);
      later(() => unit.rpc.setConnected(true));
    },
    () => world.clock.stall(random() * 4_000),
    () => void world.stream.publish(Buffer.from("stray"), ""),
    () => {
      world.kill(unit);
      units[index] = world.addNode(`n${index}`, {}, unit.store);
    },
    () => {
      stopping.add(unit);
      unit.node.stop(() => {
        units[index] = world.addNode(`n${index}`, {}, unit.store);
      });
    },
  ];
  kinds[Math.floor(random() * kinds.length)]?.();
}

function runSeed(seed: number): void {
  const random = randomOf(seed);
  const world = new NodeWorld();
  const units = Array.from({ length: 1 + Math.floor(random() * 3) }, (_, index) => world.addNode(`n${index}`));
  const caller = new Caller(world, random);
  const untilMs = world.clock.monotonicMs() + FAULT_MS;
  while (world.clock.monotonicMs() < untilMs) {
    world.clock.advance(10 + random() * 30);
    caller.step(true);
    if (random() < 0.02) fault(world, units, random);
  }
  // Faults stop, connections come back (also after a fault that still waited for its append), and what was lost is repeated.
  world.clock.until(
    () => {
      for (const unit of units) heal(unit);
      caller.step(false);
      return caller.open().length === 0 && units.some(({ node }) => node.status().mode === "leading");
    },
    HEAL_MS,
    20,
  );
  world.clock.advance(3_000);
  checkAgainstLog(world, caller);
  checkConvergence(world, units);
}

function heal({ log, gossip, rpc }: NodeUnit): void {
  log.reconnect();
  gossip.setConnected(true);
  rpc.setConnected(true);
}

function checkAgainstLog(world: NodeWorld, caller: Caller): void {
  const events = world.frames().flatMap((frame) => frame.events) as LogEvent[];
  const enqueuedBy = new Map<string, string>();
  const completedTokens = new Set<number>();
  for (const event of events) {
    if (event.type === "enqueued") {
      expect(enqueuedBy.has(event.requestId ?? "")).toBe(false);
      enqueuedBy.set(event.requestId ?? "", event.itemId);
    }
    if (event.type === "completed") completedTokens.add(event.token);
  }
  for (const operation of caller.operations) {
    const results = (operation.done?.["results"] ?? []) as Record<string, unknown>[];
    if (operation.verb === "enqueue")
      for (const [index, result] of results.entries())
        expect(enqueuedBy.get(`${operation.body["requestId"] as string}/${index}`)).toBe(result["itemId"]);
    if (operation.verb === "complete") {
      const [{ token } = { token: 0 }] = operation.body["leases"] as { token: number }[];
      expect(completedTokens.has(token)).toBe(results[0]?.["error"] === undefined);
    }
  }
}

function checkConvergence(world: NodeWorld, units: readonly NodeUnit[]): void {
  const sequences = (): Set<number> => new Set(units.map(({ node }) => node.status().sequence));
  try {
    world.clock.until(
      () => {
        for (const unit of units) heal(unit);
        return sequences().size === 1;
      },
      HEAL_MS,
      20,
    );
  } catch {
    // The assertions below say how they differ.
  }
  const statuses = units.map(({ node }) => node.status());
  expect(statuses.filter(({ mode }) => mode === "halted")).toEqual([]);
  expect(statuses.filter(({ mode }) => mode === "leading")).toHaveLength(1);
  const [first] = statuses;
  for (const status of statuses) {
    expect(status.sequence).toBe(first?.sequence);
    expect(status.chain).toBe(first?.chain);
  }
  // A fault that still waited for its append may hit this very frame.
  let stats = world.ask("stats", { consistent: true });
  for (let attempt = 0; attempt < 5 && stats.error?.retryable === true; attempt += 1) {
    for (const unit of units) heal(unit);
    stats = world.ask("stats", { consistent: true });
  }
  expect(stats.error).toBeUndefined();
  expect(stats["stateHash"]).toBe(world.foldHash());
}

test(`${SEEDS} seeds of random faults keep every acknowledged request, in one log that all nodes agree on`, () => {
  for (let seed = FIRST; seed < FIRST + SEEDS; seed += 1) {
    try {
      runSeed(seed);
    } catch (error) {
      throw new Error(
        `seed ${seed}: SWARM_FIRST=${seed} SWARM_SEEDS=1 npx vitest run test/dispatcher/swarm.int.test.ts`,
        {
          cause: error,
        },
      );
    }
  }
}, 120_000);
