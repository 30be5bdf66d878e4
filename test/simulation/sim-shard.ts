/** One shard of a simulated mesh: its stream, its shared snapshots, its oracles, and what its nodes have said. */

import type { LeaseWish } from "../../chaos/checker/naive-item.ts";
import type { FailureWish } from "../../chaos/checker/naive-terms.ts";
import type { RequestOf } from "../../contracts/commands.ts";
import type { Frame } from "../../contracts/frame.ts";
import { LOG_VERSION_MAX } from "../../contracts/limits.ts";
import { OPTIONS_OF_TERMS, SHARD_OPTIONS_DEFAULT, type ShardOptions } from "../../contracts/options.ts";
import type { AppendOutcome } from "../../contracts/ports.ts";
import { checkpointKey, logSubject, registryKey } from "../../contracts/subjects.ts";
import type { Halt } from "../../services/core/log-reader.ts";
import type { NodeConfig } from "../../services/dispatcher/node/node-config.ts";
import { chainOf, encodeFrame } from "../../services/runtime/frame-codec.ts";
import { type Answer, AnswerOracle } from "./answer-oracle.ts";
import { LogOracle } from "./log-oracle.ts";
import { Resource } from "./resource.ts";
import type { Operation } from "./sim-client.ts";
import { SnapshotShelf, type StoredSnapshot } from "./sim-snapshots.ts";
import { type AppendFate, SimStream } from "./sim-stream.ts";
import type { World } from "./world.ts";

export const REGION = "sim";
const GENESIS_MS = 1_000;
/** A follower that this much is kept for is never left behind within a run. */
const PATIENT_MS = 60_000;
const PATIENT_BYTES = 1_000_000;
/** How long a trim may be under way. ms. */
const DECIDED_MS = 2_500;

/** Lines of the nodes that show that a rare path was taken. */
const TOLD: ReadonlySet<string> = new Set([
  "append_unclear",
  "void_message",
  "snapshot_loaded",
  "snapshot_published",
  "snapshot_off_the_log",
  "log_trimmed",
  "log_trimmed_ahead",
  "leader_gone",
  "follow_failed",
  "follow_stalled",
  "handing_over",
  "trim_failed",
  "foreign_beat",
  "registry_unread",
]);

export class SimShard {
  readonly shard: string;
  readonly logId: string;
  readonly stream: SimStream;
  readonly shelf = new SnapshotShelf();
  readonly log: LogOracle;
  readonly answers: AnswerOracle;
  readonly resource: Resource;
  readonly times: Partial<NodeConfig>;
  readonly #world: World;
  readonly #wishes = new Map<string, LeaseWish>();
  readonly #failures = new Map<number, FailureWish[]>();
  readonly #dated = new Set<string>();
  readonly #timedOut = new Set<string>();
  #arrivals = 0;
  /** Stream sequence that each follower has reported. */
  readonly positions = new Map<string, number>();

  constructor(shard: string, world: World) {
    this.shard = shard;
    this.logId = `log-${shard}`;
    this.#world = world;
    this.times = world.plan.times;
    const { scheduler, choices, plan } = world;
    const nowMs = (): number => scheduler.nowMs;
    const fail = (invariant: string, message: string): void => world.fail(invariant, `${shard}: ${message}`);
    const cover = (point: string): void => world.cover(point);
    this.log = new LogOracle({
      ...{ region: REGION, shard, logId: this.logId, isStrict: plan.isStrict, nowMs, fail, cover },
      isBounded: plan.bytesMax !== -1,
      wishOf: (principal, requestId) => this.#wishes.get(`${principal} ${requestId}`),
      failuresOf: (token) => this.#failures.get(token) ?? [],
      isDated: (principal, requestId) => this.#dated.has(`${principal} ${requestId}`),
      onCompleted: (itemId) => this.resource.completed(itemId),
    });
    this.answers = new AnswerOracle(this.log, fail, cover, nowMs);
    this.resource = new Resource(shard, this.log, fail, cover);
    this.stream = new SimStream({
      ...{ subject: logSubject(REGION, shard), bytesMax: plan.bytesMax, isSynced: plan.isSynced, scheduler, cover },
      draws: choices.draws(`stream.${shard}`),
      serverTimeMs: () => this.serverMs,
      onCommit: (message) => this.log.committed(message),
      onTrim: (keepFrom) => this.#trimmed(keepFrom),
    });
    this.#create();
  }

  /** The time of its servers, which log time follows. ms. */
  get serverMs(): number {
    return GENESIS_MS + this.#world.scheduler.nowMs;
  }

  /** What happens to the append that arrives at the stream now. */
  fateOf(): AppendFate | undefined {
    const { choices, plan, isHealed } = this.#world;
    this.#arrivals += 1;
    if (isHealed || plan.appendFaults === 0) return undefined;
    const drawn = choices.event(`fault.append.${this.shard}`, this.#arrivals, plan.appendFaults);
    if (drawn === undefined) return undefined;
    const kinds = ["lose_ack", "vanish", "refuse", "late", "slow", "delay_ack"] as const;
    const kind = kinds[Math.floor(drawn * kinds.length)] ?? "lose_ack";
    this.#world.countFault(`append_${kind}`);
    const delayMs = choices.at(`append.delay.${this.shard}`, this.#arrivals) ** 2 * 4_500;
    return kind === "late" || kind === "slow" || kind === "delay_ack" ? { kind, delayMs } : { kind };
  }

  sending(_payload: Uint8Array, chain: string): void {
    this.log.sending(chain);
  }

  /** An append has ended, as far as its caller knows. */
  answered({ kind }: AppendOutcome, chain: string): void {
    if (kind === "timeout") this.#timedOut.add(chain);
    if (kind === "wrong_last" && this.log.places.has(chain)) this.#world.cover("wrong_last_was_mine");
  }

  /** What became of the appends that timed out is known in the end. */
  coverTimeouts(): void {
    for (const chain of this.#timedOut)
      this.#world.cover(this.log.places.has(chain) ? "append_timeout_committed" : "append_timeout_lost");
  }

  asked({ verb, principal, id, body }: Operation): void {
    if (verb === "lease") {
      const wish = body as Partial<LeaseWish>;
      const { peerId = principal, maxItems = 1, leaseDurationMs, resourceTypes } = wish;
      this.#wishes.set(`${principal} ${id}`, { peerId, maxItems, leaseDurationMs, resourceTypes });
    }
    if (verb === "enqueue" && "after" in body)
      for (const [index] of (body as unknown as { items: readonly object[] }).items.entries())
        this.#dated.add(`${principal} ${id}/${index}`);
    if (verb === "fail")
      for (const { token, requeue = true, delayMs, penalty = true } of (body as RequestOf<"fail">).leases)
        this.#failures.set(token, [...(this.#failures.get(token) ?? []), { requeue, delayMs, penalty }]);
  }

  /** R2: a second answer to the same request says the same. */
  compare({ id, verb, answer, body }: Operation, other: Answer): void {
    if (answer === undefined || answer.error !== undefined || other.error !== undefined) return;
    // Without `after` nobody can tell a repeat from beyond the horizon.
    if ((verb !== "enqueue" || !("after" in body && "requestId" in body)) && verb !== "fail") return;
    for (const [index, entry] of (answer.results ?? []).entries()) {
      const { itemId, sequence, outcome } = other.results?.[index] ?? {};
      // A refusal may be overcome by the repeat, and what has been forgotten is said to be.
      if (entry.error !== undefined || other.results?.[index]?.error !== undefined) continue;
      // Whom a unique key belongs to is another answer later, and no memory is kept of it.
      const isOfKey = [entry["itemId"], itemId].some((each) => this.#isOfOther(each as string, id, index));
      if (verb === "enqueue" && isOfKey) continue;
      if (itemId !== entry["itemId"] || sequence !== entry["sequence"] || outcome !== entry["outcome"])
        this.#world.fail("R2", `${id} was answered ${JSON.stringify(answer)} and ${JSON.stringify(other)}`);
    }
  }

  #isOfOther(itemId: string, id: string, index: number): boolean {
    return this.log.model.byId.get(itemId)?.requestId !== `${id}/${index}`;
  }

  reported(peerId: string, level: string, event: string, fields: unknown): void {
    if (this.#world.isVerbose)
      console.error(this.#world.scheduler.nowMs.toFixed(1), peerId, this.shard, level, event, JSON.stringify(fields));
    if (event === "term_ended" && (fields as { end: string }).end === "deposed") this.#world.cover("deposed");
    if (event === "halted") {
      const { code, message } = fields as Halt;
      this.log.ends(this.stream.lastSequence);
      this.#world.fail("halt", `${peerId} halted on ${this.shard}: ${code}: ${message}`);
    }
    if (event === "alarm_raised") this.#world.cover(`alarm_${(fields as { code: string }).code}`);
    if (TOLD.has(event)) this.#world.cover(`told_${event}`);
  }

  /** S2, and architecture section 9: a snapshot is of what stands in the log, and labelled so. */
  published({ place }: StoredSnapshot): void {
    const streamSequence = this.log.places.get(place.chain);
    if (streamSequence !== place.streamSequence)
      this.#world.fail("S2", `a snapshot of ${this.shard} at ${place.sequence} is of no frame of the log`);
  }

  /** L1: what is trimmed is covered by snapshots that everybody can load, and has been read by every follower that it is kept for. */
  #trimmed(keepFrom: number): void {
    const covering = this.shelf.stored.filter(({ place }) => place.streamSequence >= keepFrom - 1);
    // A log that is full is trimmed below the newest one.
    if (covering.length < (this.stream.bytesMax === -1 ? 2 : 1))
      this.#world.fail("L1", `${this.shard} is trimmed up to ${keepFrom}, above all but ${covering.length} snapshots`);
    // A trim that was decided before a follower was registered may come behind it.
    const { scheduler, plan } = this.#world;
    if (plan.faults.some((name) => name === "slow_net" || name === "half_open" || name === "pause")) return;
    for (const [name, { keepMs, keepBytes }] of this.log.state.followers) {
      const position = this.positions.get(name);
      const isSettled = scheduler.nowMs - (this.log.followersSinceMs.get(name) ?? 0) > DECIDED_MS;
      const isKept = isSettled && keepMs >= PATIENT_MS && keepBytes >= PATIENT_BYTES && this.stream.bytesMax === -1;
      // One that lacks something already must start anew; nothing is kept for it.
      const isLost = position === undefined || position + 1 < this.stream.firstSequence;
      if (isKept && !isLost && keepFrom > position + 1)
        this.#world.fail("K1", `${this.shard} is trimmed up to ${keepFrom}, and ${name} has read up to ${position}`);
    }
  }

  /** A follower says how far it has come; it lags by a drawn number of messages. */
  report(name: string, lag: number): void {
    const { checkpoints } = this.#world;
    const before = this.positions.get(name) ?? 0;
    const frames = this.log.frames;
    const place = this.log.places.get(this.log.chains[Math.max(0, frames.length - 1 - lag)] ?? "") ?? 1;
    // What is no frame is read too.
    const streamSequence = lag === 0 ? this.stream.lastSequence : Math.max(before, place);
    this.positions.set(name, streamSequence);
    const frame = frames[Math.max(0, frames.length - 1 - lag)] as Frame;
    const checkpoint = {
      logId: this.logId,
      streamSequence,
      sequence: frame.first,
      chain: "",
      term: frame.term,
      at: frame.at,
    };
    const key = checkpointKey(name, REGION, this.shard);
    checkpoints.put(key, Buffer.from(JSON.stringify(checkpoint)), checkpoints.entries.get(key)?.revision ?? 0);
  }

  /** A log of an older release knows nothing of newer options. */
  #beginning(): { readonly logVersion: number; readonly options: ShardOptions } {
    const { shardOptions, termOptions, features } = this.#world.plan;
    const options = { ...SHARD_OPTIONS_DEFAULT, ...(shardOptions as object), ...(termOptions as object) };
    if (!features.has("old_log")) return { logVersion: LOG_VERSION_MAX, options };
    const known = Object.entries(options).filter(([name]) => !OPTIONS_OF_TERMS.has(name));
    return { logVersion: 1, options: Object.fromEntries(known) as unknown as ShardOptions };
  }

  #create(): void {
    const { registry } = this.#world;
    const genesis: Frame = {
      ...{ schema: 1, logId: this.logId, region: REGION, shard: this.shard, term: 0, writer: "provisioner" },
      ...{ append: "genesis", first: 1, count: 1, at: GENESIS_MS, prev: "", pending: 0, active: 0, actors: [] },
      events: [
        {
          type: "logCreated",
          logId: this.logId,
          ...this.#beginning(),
          tokenEpoch: 0,
        },
      ],
    };
    const payload = encodeFrame(genesis);
    this.stream.append(payload, chainOf(payload), 0, undefined);
    registry.put(registryKey(REGION, this.shard), Buffer.from(JSON.stringify({ logId: this.logId })), 0);
  }
}
