/** The dispatchers of a region as this one hears them: who lives, who leads what, and from that who should lead what. */
import { Gossip } from "../../../contracts/gossip.ts";
import { principalOfPeer } from "../../../contracts/ids.ts";
import type { Clock, Net, TimerHandle } from "../../../contracts/ports.ts";
import { gossipSubject } from "../../../contracts/subjects.ts";
import type { NodeStatus } from "./node-ports.ts";
import type { Precedence, Succession } from "./patience.ts";
import { lightestPeer, placeShards } from "./placement.ts";

/** How often one looks whether there is something new to say: who begins to follow can take over from then on. ms. */
const LOOK_MS = 50;
/** Words after which a silent dispatcher counts as gone. */
const SILENT_WORDS = 3;
/** How long a shard stays with the one that somebody handed it to, while that one lives. ms. */
const HELD_MS = 600_000;
/** Events that a successor may be behind: it must take over at once. */
const LAG_MAX = 10_000;

type ShardWord = Gossip["shards"][number];

interface Neighbour {
  readonly shards: ReadonlyMap<string, ShardWord>;
  /** How far this dispatcher was itself in each shard when the word came: what a lag is counted from. */
  readonly sequences: ReadonlyMap<string, number>;
  readonly isStopping: boolean;
  readonly heardMs: number;
}

export interface NeighboursOptions {
  readonly region: string;
  readonly peerId: string;
  /** Time between two words while nothing changes. ms. */
  readonly wordMs: number;
  readonly clock: Clock;
  readonly net: Net;
  /** What this dispatcher says of its shards. */
  readonly own: () => readonly ShardWord[];
}

/** A wrong picture costs a needless term or a late one, never data. */
export class Neighbours implements Precedence {
  readonly #options: NeighboursOptions;
  readonly #neighbours = new Map<string, Neighbour>();
  /** Successors named here that have not said yet that they lead: several shards let go at once are spread. */
  readonly #named = new Map<string, string>();
  /** Shards that we were asked to lead, and until when they are not spread. ms. */
  readonly #held = new Map<string, number>();
  #timer: TimerHandle | undefined;
  /** What was said last, without how far, and when. */
  #said = { parts: "", atMs: Number.NEGATIVE_INFINITY };
  #changedMs: number;
  #isStopping = false;

  constructor(options: NeighboursOptions) {
    this.#options = options;
    this.#changedMs = options.clock.monotonicMs();
  }

  /** Listens and speaks until `leave`, and listens on until the connection ends. */
  start(): void {
    const { net, region } = this.#options;
    net.subscribe(gossipSubject(region, "*"), ({ payload }) => this.#heard(payload));
    this.#speak();
  }

  /** Says for the last time what there is, and that nothing may be handed here any more. */
  leave(): void {
    if (this.#timer !== undefined) this.#options.clock.clearTimer(this.#timer);
    this.#timer = undefined;
    if (this.#isStopping) return;
    this.#isStopping = true;
    this.tell();
  }

  /** Says what there is now, whether it is new or not. */
  tell(): void {
    const { region, peerId, net, own, clock } = this.#options;
    const shards = [...own()];
    this.#said = { parts: partsOf(shards), atMs: clock.monotonicMs() };
    const word: Gossip = { peer: peerId, role: "dispatcher", stopping: this.#isStopping, shards };
    net.publish(gossipSubject(region, principalOfPeer(peerId)), new TextEncoder().encode(JSON.stringify(word)));
  }

  /** How long nobody has come or gone. ms. */
  stableMs(): number {
    this.#forgetSilent();
    return this.#options.clock.monotonicMs() - this.#changedMs;
  }

  /** A process is known to be gone, before its silence shows it. */
  gone(peer: string): void {
    if (this.#neighbours.delete(peer)) this.#changedMs = this.#options.clock.monotonicMs();
  }

  asked(shard: string): void {
    this.#held.set(shard, this.#options.clock.monotonicMs() + HELD_MS);
  }

  /**
   * Who should lead each shard that is hosted here, among those that live, host it and stay. One that we lead because somebody asked for it
   * stays, and the others are spread as if it were not there.
   */
  placement(): ReadonlyMap<string, string> {
    const { peerId, own } = this.#options;
    const peers = [peerId, ...this.#staying()].sort();
    const words = own();
    const held = words.filter((word) => this.#isHeld(word));
    const free = words.filter((word) => !held.includes(word));
    const placed = placeShards(
      peers,
      free.map(({ shard, part }) => ({ shard, leader: part === "leads" ? peerId : this.#leaderOf(shard) })),
    );
    return new Map([...placed, ...held.map(({ shard }) => [shard, peerId] as const)]);
  }

  isFirst(shard: string): boolean {
    return this.placement().get(shard) === this.#options.peerId;
  }

  /** Whether a peer follows a shard closely enough to take it over at once. */
  canTakeOver(peer: string, shard: string): boolean {
    return this.#staying().includes(peer) && this.#problemOf(peer, shard) === undefined;
  }

  successor(shard: string, to?: string): Succession {
    const candidates = this.#staying().filter((peer) => this.#problemOf(peer, shard) === undefined);
    const peer = to ?? (candidates.length === 0 ? undefined : lightestPeer(candidates, this.#loads(), shard));
    if (peer !== undefined && candidates.includes(peer)) {
      this.#named.set(shard, peer);
      this.#held.delete(shard);
      return { peer, reason: "", candidates };
    }
    const others = candidates.length === 0 ? "nobody else could" : `${candidates.join(", ")} could`;
    const reason =
      peer === undefined
        ? `no other dispatcher follows shard ${shard} closely enough to take it over`
        : `${peer} cannot take over shard ${shard}: it ${this.#problemOf(peer, shard)}; ${others}`;
    return { reason, candidates };
  }

  #isHeld({ shard, part }: ShardWord): boolean {
    return part === "leads" && (this.#held.get(shard) ?? 0) > this.#options.clock.monotonicMs();
  }

  /** Why a peer could not take over a shard now; undefined when it could. */
  #problemOf(peer: string, shard: string): string | undefined {
    const neighbour = this.#neighbours.get(peer);
    if (neighbour === undefined) return "is not heard of";
    if (neighbour.isStopping) return "is stopping";
    const word = neighbour.shards.get(shard);
    if (word?.part !== "follows") return "does not follow it";
    const lag = (neighbour.sequences.get(shard) ?? 0) - word.sequence;
    return lag > LAG_MAX ? `is ${lag} events behind, and at most ${LAG_MAX} are allowed` : undefined;
  }

  /** The neighbours that live and are not about to go, in order. */
  #staying(): readonly string[] {
    this.#forgetSilent();
    return [...this.#neighbours].flatMap(([peer, { isStopping }]) => (isStopping ? [] : [peer])).sort();
  }

  /** How many shards each neighbour leads, or has been named for. */
  #loads(): ReadonlyMap<string, number> {
    const loads = new Map<string, number>();
    const add = (peer: string, count: number): void => void loads.set(peer, (loads.get(peer) ?? 0) + count);
    for (const [peer, { shards }] of this.#neighbours)
      add(peer, [...shards.values()].filter(({ part }) => part === "leads").length);
    for (const peer of this.#named.values()) add(peer, 1);
    return loads;
  }

  #leaderOf(shard: string): string {
    let leader = "";
    let term = 0;
    for (const [peer, { shards }] of this.#neighbours) {
      const word = shards.get(shard);
      if (word?.part !== "leads" || word.term < term) continue;
      leader = peer;
      term = word.term;
    }
    return leader;
  }

  #heard(payload: Uint8Array): void {
    const { clock, peerId, own } = this.#options;
    const gossip = decode(payload);
    if (gossip === undefined || gossip.peer === peerId) return;
    const heardMs = clock.monotonicMs();
    const isStopping = gossip.stopping;
    if (this.#neighbours.get(gossip.peer)?.isStopping !== isStopping) this.#changedMs = heardMs;
    this.#neighbours.set(gossip.peer, {
      shards: new Map(gossip.shards.map((word) => [word.shard, word])),
      sequences: new Map(own().map(({ shard, sequence }) => [shard, sequence])),
      isStopping,
      heardMs,
    });
    for (const [shard, peer] of this.#named) if (peer === gossip.peer) this.#named.delete(shard);
  }

  #forgetSilent(): void {
    const { clock, wordMs } = this.#options;
    const nowMs = clock.monotonicMs();
    for (const [peer, { heardMs }] of this.#neighbours)
      if (nowMs - heardMs > wordMs * SILENT_WORDS) {
        this.#neighbours.delete(peer);
        this.#changedMs = nowMs;
      }
  }

  #speak(): void {
    const { clock, wordMs, own } = this.#options;
    const { parts, atMs } = this.#said;
    if (clock.monotonicMs() - atMs >= wordMs || partsOf(own()) !== parts) this.tell();
    this.#timer = clock.setTimer(LOOK_MS, () => this.#speak());
  }
}

/** What a dispatcher says of one of its shards. One that cannot be asked is no successor. */
export function wordOf({ shard, mode, term, sequence, isCutOff }: NodeStatus): ShardWord {
  const part = mode === "leading" ? "leads" : mode === "following" && !isCutOff ? "follows" : "absent";
  return { shard, part, term, sequence };
}

/** What others act on at once when it changes. */
const partsOf = (words: readonly ShardWord[]): string => words.map(({ shard, part }) => `${shard} ${part}`).join();

/** The word in a message; undefined for anything else, which anybody may have published. */
function decode(payload: Uint8Array): Gossip | undefined {
  try {
    const parsed = Gossip.safeParse(JSON.parse(new TextDecoder().decode(payload)));
    return parsed.success ? parsed.data : undefined;
  } catch {
    return undefined;
  }
}
