/** What the leader does to items by itself each tick: ends their delays, the time in which they may be granted, and their leases for a drain. */
import { endDrainedLeases, endsLeases } from "../../core/drain.ts";
import type { ShardState } from "../../core/state.ts";
import { buryLapsed } from "../../core/term.ts";
import type { OpenFrame } from "./open-frame.ts";

/** What one turn may add to a frame: others wait for it too. Bytes. */
const TURN_BYTES_MAX = 64 * 1_024;

/** `at`: log time of the open frame, or of one that was opened now: who is let go may be granted by it. ms. */
export function turnTimes(state: ShardState, at: number, openFrame: () => OpenFrame): void {
  if (state.ready.lapsed(at) !== undefined) {
    const open = openFrame();
    buryLapsed(state, open.head, Math.min(open.bytesLeft, TURN_BYTES_MAX), open);
  }
  if (endsLeases(state)) {
    const open = openFrame();
    endDrainedLeases(state, open.head.at, Math.min(open.bytesLeft, TURN_BYTES_MAX), open);
  }
  state.ready.release(at);
}
