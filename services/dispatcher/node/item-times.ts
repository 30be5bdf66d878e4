/** What the clock does to pending items: ends their delays, and the time in which they may be granted. */
import type { ShardState } from "../../core/state.ts";
import { buryLapsed } from "../../core/term.ts";
import type { OpenFrame } from "./open-frame.ts";

/** What one turn may add to a frame: others wait for it too. Bytes. */
const BURY_BYTES_MAX = 64 * 1_024;

/** `at`: log time of the open frame, or of one that was opened now: who is let go may be granted by it. ms. */
export function turnTimes(state: ShardState, at: number, openFrame: () => OpenFrame): void {
  if (state.ready.lapsed(at) !== undefined) {
    const open = openFrame();
    buryLapsed(state, open.head, Math.min(open.bytesLeft, BURY_BYTES_MAX), open);
  }
  state.ready.release(at);
}
