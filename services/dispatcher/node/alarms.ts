/** What a node tells an operator of by itself: messages of strangers in its log, and each alarm once when it comes and once when it goes. */
import type { Alarm, Reporter } from "../../../contracts/ports.ts";

/** How long after the last void message its alarm stands. ms. */
const VOID_ALARM_MS = 600_000;

/** Void messages are stepped over; that there are any means that somebody may publish where only dispatchers should. */
export class VoidAlarm {
  #count = 0;
  #lastMs = Number.NEGATIVE_INFINITY;

  /** `count`: void messages that this node has read in all. */
  look(count: number, nowMs: number): void {
    if (count > this.#count) this.#lastMs = nowMs;
    this.#count = count;
  }

  alarms(nowMs: number): readonly Alarm[] {
    if (nowMs - this.#lastMs > VOID_ALARM_MS) return [];
    const message = `${this.#count} messages in the stream are no frames of this log and were stepped over: somebody else publishes on its subject; let only the dispatchers' users do that`;
    return [{ code: "void_messages", message, isServing: true }];
  }
}

/** Says when an alarm comes and goes; its message may change in between. */
export class AlarmLines {
  readonly #reporter: Reporter;
  #codes: ReadonlySet<string> = new Set();

  constructor(reporter: Reporter) {
    this.#reporter = reporter;
  }

  look(alarms: readonly Alarm[]): void {
    if (alarms.length === 0 && this.#codes.size === 0) return;
    for (const { code, message, isServing } of alarms)
      if (!this.#codes.has(code)) this.#reporter.error("alarm_raised", { code, message, isServing });
    const codes = new Set(alarms.map(({ code }) => code));
    for (const code of this.#codes) if (!codes.has(code)) this.#reporter.info("alarm_cleared", { code });
    this.#codes = codes;
  }
}

/** Whether the `count`th of something is told: the first, the second, the fourth and so on, so that a flood is one story. */
export const isToldAt = (count: number): boolean => Number.isInteger(Math.log2(count));
