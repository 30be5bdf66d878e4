/** What the leader does by itself each turn: ends delays, the time in which items may be granted, items whose dependencies failed, and leases for a drain; makes the items of schedules. */
import { endDoomed } from "../../core/doomed.ts";
import { endDrainedLeases, endsLeases } from "../../core/drain.ts";
import { writeTicks } from "../../core/schedule-ticks.ts";
import { buryLapsed } from "../../core/term.ts";
import type { LeaderTermOptions } from "./leader-term-options.ts";
import type { OpenFrame } from "./open-frame.ts";

/** What one turn may add to a frame: others wait for it too. Bytes. */
const TURN_BYTES_MAX = 64 * 1_024;

/** `at`: log time of the open frame, or of one that was opened now: who is let go may be granted by it. ms. */
export function turnTimes(
  { state, upkeep, nextTick }: Pick<LeaderTermOptions, "state" | "upkeep" | "nextTick">,
  at: number,
  openFrame: () => OpenFrame,
): void {
  if (state.ready.lapsed(at) !== undefined) {
    const open = openFrame();
    buryLapsed(state, open.head, Math.min(open.bytesLeft, TURN_BYTES_MAX), open);
  }
  if (state.ready.doomed.size > 0) {
    const open = openFrame();
    endDoomed(state, open.head.at, Math.min(open.bytesLeft, TURN_BYTES_MAX), open);
  }
  if (endsLeases(state)) {
    const open = openFrame();
    endDrainedLeases(state, open.head.at, Math.min(open.bytesLeft, TURN_BYTES_MAX), open);
  }
  // A log that is nearly full takes no items: their ticks wait, as if nobody led.
  if (state.schedules.due(at) !== undefined && upkeep.pressure.level !== "full") {
    const open = openFrame();
    writeTicks(state, open.head.at, open.bytesLeft, nextTick, open);
  }
  state.ready.release(at);
}
