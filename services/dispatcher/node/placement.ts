/** Who should lead which shard: spread evenly, moving as little as possible, and computed alike by everybody who sees the same peers. */
import assert from "node:assert/strict";

export interface PlacedShard {
  readonly shard: string;
  /** Peer that leads it now; empty when nobody does, or when its peer is gone. */
  readonly leader: string;
}

/**
 * Answers the peer that should lead each shard.
 *
 * A shard stays with a leader that lives, unless that peer leads more than its part (shards divided by peers, rounded up) while another one
 * leads less. What has no leader, and what is above a part, goes shard by shard to the peer that leads least; among equals to the one that the
 * rendezvous hash of shard and peer prefers, so that shards find back to where they were.
 */
export function placeShards(peers: readonly string[], shards: readonly PlacedShard[]): ReadonlyMap<string, string> {
  assert(peers.length > 0, "nobody to place shards on");
  const part = Math.ceil(shards.length / peers.length);
  const load = new Map(peers.map((peer) => [peer, 0]));
  const placed = new Map<string, string>();
  const homeless: string[] = [];
  // The leader's favourites first, so that what is above its part are the shards that like it least.
  for (const { shard, leader } of [...shards].sort(byAffection)) {
    const count = load.get(leader);
    if (count === undefined || count >= part) homeless.push(shard);
    else {
      load.set(leader, count + 1);
      placed.set(shard, leader);
    }
  }
  for (const shard of homeless.sort(byText)) {
    const peer = lightestPeer(peers, load, shard);
    load.set(peer, (load.get(peer) ?? 0) + 1);
    placed.set(shard, peer);
  }
  return placed;
}

/** How much a shard likes a peer: rendezvous hashing, the same number everywhere. 0 to 2^32 - 1. */
function affection(shard: string, peer: string): number {
  let hash = 0x811c9dc5;
  for (const text of [shard, "/", peer])
    for (let index = 0; index < text.length; index += 1) hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x7feb352d);
  hash = Math.imul(hash ^ (hash >>> 15), 0x846ca68b);
  return (hash ^ (hash >>> 16)) >>> 0;
}

/** The peer that leads least; among equals the one that the shard likes best. `peers` must not be empty. */
export function lightestPeer(peers: readonly string[], load: ReadonlyMap<string, number>, shard: string): string {
  let best = peers[0] as string;
  for (const peer of peers) {
    const lighter = (load.get(peer) ?? 0) - (load.get(best) ?? 0);
    const dearer = affection(shard, peer) - affection(shard, best);
    if (lighter < 0 || (lighter === 0 && (dearer > 0 || (dearer === 0 && peer < best)))) best = peer;
  }
  return best;
}

function byAffection(left: PlacedShard, right: PlacedShard): number {
  return affection(right.shard, right.leader) - affection(left.shard, left.leader) || byText(left.shard, right.shard);
}

const byText = (left: string, right: string): number => (left < right ? -1 : left > right ? 1 : 0);
