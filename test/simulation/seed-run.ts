/** Runs one seed: faults, then healing, then the proof that everything ended well. */
import { AssertionError } from "node:assert";
import { assertInvariants, canonicalState } from "../../services/core/canonical.ts";
import { stateHash } from "../../services/core/hash.ts";
import type { ShardState } from "../../services/core/state.ts";
import { Choices, type Overrides } from "./choices.ts";
import { Nemesis } from "./nemesis.ts";
import { drawPlan, type Profile } from "./plan.ts";
import { foldFromSnapshots } from "./refold.ts";
import { emptyFiles } from "./sim-files.ts";
import type { SimShard } from "./sim-shard.ts";
import { type Violation, World } from "./world.ts";

export interface SeedSpec {
  readonly seed: number;
  readonly profile: Profile;
  readonly overrides?: Overrides | undefined;
  /** Ends the faults early. ms. */
  readonly faultMsMax?: number | undefined;
  readonly isVerbose?: boolean | undefined;
}

export interface SeedResult {
  readonly seed: number;
  readonly violations: readonly Violation[];
  readonly coverage: ReadonlyMap<string, number>;
  readonly faults: ReadonlyMap<string, number>;
  readonly virtualMs: number;
  readonly events: number;
  readonly operations: number;
  /** The same for two runs that did the same. */
  readonly trace: string;
  /** Keys of the draws that mattered, for the shrinker. */
  readonly made: readonly string[];
}

/** How long healing may take. Elections of the stream, half-open connections and confirmations are over long before. ms. */
const HEAL_MS = 60_000;
/** How long an alarm may outlast its cause: a snapshot that failed is tried again at least so often. ms. */
const CALM_MS = 75_000;
const CALM_STEP_MS = 500;
const STEP_MS = 50;
const TIMERS_MAX = 400;

export function runSeed(spec: SeedSpec, inspect: (world: World) => void = () => undefined): SeedResult {
  emptyFiles();
  const choices = new Choices(spec.seed, spec.overrides);
  const plan = drawPlan(choices, spec.profile);
  const world = new World(choices, plan, spec.isVerbose);
  for (const dispatcher of world.dispatchers) dispatcher.start();
  for (const client of [...world.callers, ...world.workers]) client.start();
  new Nemesis(world).start();
  const isFound = (): boolean => world.violations.length > 0;
  world.scheduler.runUntil(Math.min(plan.faultMs, spec.faultMsMax ?? plan.faultMs), isFound);
  if (!isFound()) heal(world);
  if (!isFound()) calm(world);
  if (!isFound()) converge(world);
  for (const shard of world.shards) shard.coverTimeouts();
  inspect(world);
  return resultOf(spec.seed, world);
}

/** Everything comes back; whatever is open must end, and what is pending must be worked off. */
function heal(world: World): void {
  world.isHealed = true;
  const { scheduler } = world;
  for (const shard of world.shards) {
    shard.stream.heal();
    shard.shelf.isDown = false;
    // A log that is full to the brim can be helped by its operator alone.
    if (shard.stream.bytesMax !== -1) shard.stream.bytesMax *= 10;
  }
  world.registry.isDown = false;
  world.checkpoints.isDown = false;
  for (const dispatcher of world.dispatchers) {
    dispatcher.isDiskBroken = false;
    dispatcher.life?.process.resume();
  }
  for (const { process } of world.clients) process.resume();
  scheduler.drain();
  let [fewest, endMs] = [Number.POSITIVE_INFINITY, scheduler.nowMs + HEAL_MS];
  // Faults that were under way end by themselves; until then they are undone again and again.
  for (let isResumed = false; scheduler.nowMs < endMs; ) {
    mend(world);
    if (!isResumed && world.shards.every((shard) => isLed(world, shard))) {
      isResumed = true;
      for (const shard of world.shards) world.callers[0]?.resume(shard);
    }
    if (isResumed) unschedule(world);
    // One may have been asked for long ago and begin only now.
    if (isResumed) for (const shard of world.shards) world.callers[0]?.drainer.end(shard);
    scheduler.runUntil(scheduler.nowMs + STEP_MS, () => world.violations.length > 0);
    if (world.violations.length > 0 || (isResumed && isSettled(world))) return;
    // A single slow worker may have much to do: what counts is that it becomes less.
    const left = unfinished(world);
    if (left >= fewest) continue;
    fewest = left;
    endMs = scheduler.nowMs + HEAL_MS;
  }
  world.fail("V1", `not settled ${HEAL_MS} ms after the last fault or progress: ${picture(world)}`);
}

/** Every alarm ends with what it was about, once the nodes have looked again; the sink keeps up. */
function calm(world: World): void {
  const { scheduler, shards, violations } = world;
  const endMs = scheduler.nowMs + CALM_MS;
  while (standing(world).length > 0 && violations.length === 0 && scheduler.nowMs < endMs) {
    for (const shard of shards) shard.report("sink-a", 0);
    scheduler.runUntil(scheduler.nowMs + CALM_STEP_MS);
  }
  const [first] = standing(world);
  if (violations.length === 0 && first !== undefined) world.fail("V4", `${CALM_MS} ms after healing ${first}`);
}

/** The alarms that nothing explains any more; that strangers have published is told for ten minutes. */
function standing({ dispatchers, shards }: World): readonly string[] {
  const strangers = new Set(shards.flatMap(({ shard, log }) => (log.voids > 0 ? [shard] : [])));
  const standing: string[] = [];
  for (const dispatcher of dispatchers)
    for (const { shard, mode, alarms } of dispatcher.statuses())
      for (const { code, message } of alarms)
        if (code !== "void_messages" || !strangers.has(shard))
          standing.push(`${dispatcher.peerId}/${shard} ${mode} tells ${code}: ${message}`);
  return standing;
}

function mend(world: World): void {
  for (const dispatcher of world.dispatchers) {
    if (dispatcher.life === undefined) dispatcher.start();
    for (const connection of dispatcher.connections) {
      connection.heal();
      connection.reconnect();
    }
  }
  for (const { connection } of world.clients) {
    connection.heal();
    connection.reconnect();
  }
}

/** Ends the schedules that there are, once nobody is about to put one. */
function unschedule({ clients, shards, callers }: World): void {
  if (clients.some(({ open }) => [...open].some(({ verb }) => verb.startsWith("schedule-")))) return;
  for (const shard of shards) if (shard.log.model.schedules.byName.size > 0) callers[0]?.unschedule(shard);
}

function isLed(world: World, { shard }: SimShard): boolean {
  const modes = world.dispatchers.flatMap((each) => each.statuses()).filter((status) => status.shard === shard);
  return modes.filter(({ mode }) => mode === "leading").length === 1;
}

/** No operation but long polls is open, nothing that may be leased waits, and every node has read the same log. */
function isSettled(world: World): boolean {
  for (const client of world.clients) for (const { verb } of client.open) if (verb !== "lease") return false;
  return world.shards.every((shard) => {
    const { model } = shard.log;
    if (model.schedules.byName.size > 0 || model.isPaused || model.drains.on !== undefined) return false;
    if (!isLed(world, shard) || model.count("leased") > 0 || model.doomed().length > 0) return false;
    // Every delay ends within seconds.
    if (model.items.some((item) => model.isEligible(item, Number.POSITIVE_INFINITY))) return false;
    return world.dispatchers.every(({ life, peerId }) => {
      const status = life?.nodes.map((node) => node.status()).find((each) => each.shard === shard.shard);
      if (life?.isStopping !== false || status === undefined) return false;
      return (
        (status.mode === "leading" || status.mode === "following") &&
        status.sequence === model.sequence &&
        peerId !== ""
      );
    });
  });
}

function converge(world: World): void {
  for (const shard of world.shards) {
    const { state } = shard.log;
    const refolded = foldFromSnapshots(shard);
    for (const each of [state, refolded ?? state]) mustBeSound(world, each);
    if (refolded !== undefined && [...canonicalState(refolded)].join("\n") !== [...canonicalState(state)].join("\n"))
      world.fail("S2", `${shard.shard}: snapshot and tail give another state than the log from its beginning`);
    askFinally(world, shard);
    shard.log.ends(shard.stream.lastSequence);
    shard.resource.check();
  }
  for (const { life, peerId } of world.dispatchers)
    if ((life?.process.timerCount ?? 0) > TIMERS_MAX)
      world.fail("V1", `${peerId} holds ${life?.process.timerCount} timers`);
}

/** Q1, F3: what the state keeps beside its items follows from them. */
function mustBeSound(world: World, state: ShardState): void {
  try {
    assertInvariants(state);
  } catch (error) {
    if (!(error instanceof AssertionError)) throw error;
    world.fail("Q1", error.message);
  }
}

/** Each node leads once more and tells its hash: a handover also writes the hash that all others compare with theirs. */
function askFinally(world: World, shard: SimShard): void {
  const client = world.callers[0]?.client;
  if (client === undefined) return;
  const { scheduler } = world;
  for (let round = 0; round < world.dispatchers.length; round += 1) {
    let isOver = false;
    client.issue(shard, "stats", { consistent: true }, (answer) => {
      isOver = true;
      // The state may have gone on meanwhile; then the hash of the log is that of a later state.
      if (answer?.sequence !== shard.log.sequence) return;
      if (answer["stateHash"] !== stateHash(shard.log.state))
        world.fail("S1", `${shard.shard}: the leader's hash differs`);
      else world.cover("final_hash_compared");
    });
    scheduler.runUntil(scheduler.nowMs + 10_000, () => isOver || world.violations.length > 0);
    if (!isOver && world.violations.length === 0) world.fail("V1", `no answer after healing: ${picture(world)}`);
    if (world.violations.length > 0 || world.dispatchers.length === 1) return;
    let isMoved = false;
    client.issue(shard, "handover", {}, () => {
      isMoved = true;
    });
    scheduler.runUntil(scheduler.nowMs + 10_000, () => isMoved || world.violations.length > 0);
  }
}

function unfinished({ shards }: World): number {
  return shards.reduce((sum, { log: { model } }) => sum + model.count("pending") + model.count("leased"), 0);
}

function picture(world: World): string {
  const nodes = world.dispatchers.flatMap((each) =>
    each
      .statuses()
      .map(
        ({ shard, mode, term, sequence, unackedMs }) =>
          `${each.peerId}/${shard} ${mode} ${term}@${sequence} ${unackedMs}`,
      ),
  );
  const logs = world.shards.map(({ shard, log, stream }) => {
    const { model } = log;
    return `${shard}: ${model.sequence}, stream ${stream.lastSequence}, pending ${model.count("pending")}, leased ${model.count("leased")}`;
  });
  const open = world.clients.flatMap((client) =>
    [...client.open].map(({ id, verb, attempts }) => `${id} ${verb} x${attempts}`),
  );
  return [...nodes, ...logs, ...open].join("; ");
}

function resultOf(seed: number, world: World): SeedResult {
  const { scheduler } = world;
  const tips = world.shards.map(({ log }) => log.reader.tip.chain.slice(0, 16)).join(".");
  return {
    seed,
    violations: world.violations,
    coverage: world.coverage,
    faults: world.faults,
    virtualMs: scheduler.nowMs,
    events: scheduler.count,
    operations: world.stats.operations,
    trace: `${scheduler.count}.${scheduler.trace}.${world.stats.answers}.${tips}`,
    made: world.choices.made,
  };
}
