/** The dispatchers of a region as this one hears them: who lives, who leads what, and from that who should lead what. */
import { Gossip } from "../../../contracts/gossip.ts";
import { principalOfPeer } from "../../../contracts/ids.ts";
import type { Clock, Closable, Net, TimerHandle } from "../../../contracts/ports.ts";
import { gossipSubject } from "../../../contracts/subjects.ts";
import { placeShards } from "./placement.ts";

/** Words after which a silent dispatcher counts as gone. */
const SILENT_WORDS = 3;

type ShardWord = Gossip["shards"][number];

interface Neighbour {
  readonly shards: ReadonlyMap<string, ShardWord>;
  readonly heardMs: number;
}

export interface NeighboursOptions {
  readonly region: string;
  readonly peerId: string;
  /** Time between two words. ms. */
  readonly wordMs: number;
  readonly clock: Clock;
  readonly net: Net;
  /** What this dispatcher says of its shards. */
  readonly own: () => readonly ShardWord[];
}

/** A wrong picture costs a needless term or a late one, never data. */
export class Neighbours {
  readonly #options: NeighboursOptions;
  readonly #neighbours = new Map<string, Neighbour>();
  #subscription: Closable | undefined;
  #timer: TimerHandle | undefined;
  #changedMs: number;

  constructor(options: NeighboursOptions) {
    this.#options = options;
    this.#changedMs = options.clock.monotonicMs();
  }

  start(): void {
    const { net, region } = this.#options;
    this.#subscription = net.subscribe(gossipSubject(region, "*"), ({ payload }) => this.#heard(payload));
    this.#speak();
  }

  stop(): void {
    this.#subscription?.close();
    if (this.#timer !== undefined) this.#options.clock.clearTimer(this.#timer);
    this.#timer = undefined;
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

  /** Who should lead each shard that is hosted here, among those that live and host it. */
  placement(): ReadonlyMap<string, string> {
    this.#forgetSilent();
    const { peerId, own } = this.#options;
    const words = own();
    const peers = [peerId, ...this.#neighbours.keys()].sort();
    return placeShards(
      peers,
      words.map(({ shard, part }) => ({ shard, leader: part === "leads" ? peerId : this.#leaderOf(shard) })),
    );
  }

  /** Whether a peer follows a shard closely enough to take it over from one that stands at `sequence`. */
  canTakeOver(peer: string, shard: string, sequence: number, lagMax: number): boolean {
    const word = this.#neighbours.get(peer)?.shards.get(shard);
    return word?.part === "follows" && sequence - word.sequence <= lagMax;
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
    const gossip = decode(payload);
    if (gossip === undefined || gossip.peer === this.#options.peerId) return;
    const heardMs = this.#options.clock.monotonicMs();
    if (!this.#neighbours.has(gossip.peer)) this.#changedMs = heardMs;
    this.#neighbours.set(gossip.peer, { shards: new Map(gossip.shards.map((word) => [word.shard, word])), heardMs });
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
    const { region, peerId, own, net, clock, wordMs } = this.#options;
    const word: Gossip = { peer: peerId, role: "dispatcher", shards: [...own()] };
    net.publish(gossipSubject(region, principalOfPeer(peerId)), new TextEncoder().encode(JSON.stringify(word)));
    this.#timer = clock.setTimer(wordMs, () => this.#speak());
  }
}

/** The word in a message; undefined for anything else, which anybody may have published. */
function decode(payload: Uint8Array): Gossip | undefined {
  try {
    const parsed = Gossip.safeParse(JSON.parse(new TextDecoder().decode(payload)));
    return parsed.success ? parsed.data : undefined;
  } catch {
    return undefined;
  }
}
