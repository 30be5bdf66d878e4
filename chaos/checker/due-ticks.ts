/** Whether a schedule that is due ticks while its leader writes on. */
import type { Frame } from "../../contracts/frame.ts";
import type { NaiveSchedules } from "./naive-schedules.ts";
import type { Tally } from "./tally.ts";

/** How long a leader may write on beside a tick that is due, and what a stop between two frames counts at most. ms of log time. */
const LEFT_MS_MAX = 2_000;
const STEP_MS_MAX = 100;

export class DueTicks {
  readonly #schedules: NaiveSchedules;
  readonly #tally: Tally;
  /** Log time that was written beside each schedule that is due. ms. */
  readonly #leftMs = new Map<string, number>();
  #last = { at: 0, term: 0 };

  constructor(schedules: NaiveSchedules, tally: Tally) {
    this.#schedules = schedules;
    this.#tally = tally;
  }

  /** A frame that the model has just taken. One whose missed ticks are all made catches up for as long as it takes. */
  wrote({ at, term }: Pick<Frame, "at" | "term">): void {
    const { at: lastAt, term: lastTerm } = this.#last;
    this.#last = { at, term };
    for (const { name, next, catchUp } of this.#schedules.byName.values()) {
      const isLeft = next <= lastAt && term === lastTerm && catchUp !== "all";
      const ms = isLeft ? (this.#leftMs.get(name) ?? 0) + Math.min(at - lastAt, STEP_MS_MAX) : 0;
      this.#leftMs.set(name, ms);
      const isKept = ms <= LEFT_MS_MAX;
      this.#tally.check("V1", isKept, () => `schedule ${name} has not ticked at ${at}, its next was at ${next}`);
    }
  }
}
