/** Who a client of ours is on the bus, from the peer id that a process was given. */
import { principalOfPeer } from "../../contracts/ids.ts";

/** `worker--a` -> principal `worker`, name `a`; `worker` -> principal `worker` without a name. */
export function identityOf(peerId: string): { readonly principal: string; readonly peerName?: string } {
  const principal = principalOfPeer(peerId);
  return peerId === principal ? { principal } : { principal, peerName: peerId.slice(principal.length + 2) };
}

/** The peer id of a part of a process: `mesh` and `worker-1` -> `mesh--worker-1`, `mesh--a` and `worker-1` -> `mesh--a-worker-1`. */
export function partPeerId(peerId: string, part: string): string {
  const { principal, peerName } = identityOf(peerId);
  return `${principal}--${peerName === undefined ? part : `${peerName}-${part}`}`;
}
