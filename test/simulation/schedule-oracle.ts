/** Watches what a log says of schedules: that a tick that is due is soon there, and which rare paths were taken; and judges what clients are told. */
import type { NaiveModel } from "../../chaos/checker/naive-model.ts";
import type { NaiveSchedule } from "../../chaos/checker/naive-schedules.ts";
import type { RequestOf } from "../../contracts/commands.ts";
import type { LogEvent } from "../../contracts/events.ts";
import type { Frame } from "../../contracts/frame.ts";
import type { Answer, Must } from "./answer-oracle.ts";
import type { LogOracle } from "./log-oracle.ts";
import type { Operation } from "./sim-client.ts";

/** How long a leader may write on beside a tick that is due, and what a stop between two frames counts at most. ms of log time. */
const LEFT_MS_MAX = 400;
const STEP_MS_MAX = 100;

export class ScheduleOracle {
  readonly #model: NaiveModel;
  readonly #fail: (invariant: string, message: string) => void;
  readonly #cover: (point: string) => void;
  /** A log that is nearly full takes no ticks. */
  readonly #isBounded: boolean;
  /** Log time that the leader wrote on beside each schedule that is due. ms. */
  readonly #leftMs = new Map<string, number>();
  readonly #ticked = new Map<string, number>();
  #last = { at: 0, term: 0 };

  constructor(
    model: NaiveModel,
    isBounded: boolean,
    fail: (invariant: string, message: string) => void,
    cover: (point: string) => void,
  ) {
    this.#model = model;
    this.#isBounded = isBounded;
    this.#fail = fail;
    this.#cover = cover;
  }

  /** An event that the model has just taken. */
  happened(event: LogEvent): void {
    if (event.type === "scheduled" || event.type === "unscheduled") this.#cover(event.type);
    if (event.type === "scheduled" && event.paused === true) this.#cover("scheduled_paused");
    if (event.type === "tickSkipped") this.#cover(`tick_skipped_${event.reason}`);
    if (event.type !== "enqueued" || event.schedule === undefined) return;
    const { name, tick } = event.schedule;
    const schedule = this.#model.schedules.byName.get(name);
    this.#cover(`ticked_${schedule?.catchUp}`);
    if (this.#model.isPaused) this.#cover("ticked_while_paused");
    if (this.#model.count("pending") > (this.#model.options?.pendingHigh ?? 0))
      this.#cover("ticked_under_backpressure");
    if (this.#model.at - tick > 1_500) this.#cover("ticked_late");
    if ((this.#ticked.get(name) ?? this.#model.term) < this.#model.term) this.#cover("ticked_under_another_leader");
    this.#ticked.set(name, this.#model.term);
  }

  /** A frame that the model has just taken. */
  wrote({ at, term }: Frame): void {
    const { at: lastAt, term: lastTerm } = this.#last;
    this.#last = { at, term };
    const isDue = ({ next }: NaiveSchedule): boolean => next <= lastAt && term === lastTerm && !this.#isBounded;
    for (const schedule of this.#model.schedules.byName.values()) {
      const ms = isDue(schedule) ? (this.#leftMs.get(schedule.name) ?? 0) + Math.min(at - lastAt, STEP_MS_MAX) : 0;
      this.#leftMs.set(schedule.name, ms);
      if (ms > LEFT_MS_MAX && schedule.catchUp !== "all")
        this.#fail("V1", `schedule ${schedule.name} has not ticked at ${at}, its next was at ${schedule.next}`);
    }
  }
}

/** What a schedule is at a sequence; undefined when there is none. */
function at({ history }: NaiveModel["schedules"], name: string, sequence: number): NaiveSchedule | undefined {
  return history.findLast((change) => change.name === name && change.sequence <= sequence)?.put;
}

export function judgeSchedules(log: LogOracle, { verb, body, principal }: Operation, answer: Answer, must: Must): void {
  const { schedules } = log.model;
  const { sequence } = answer;
  if (verb === "schedule-list") {
    const told = answer["schedules"] as readonly NaiveSchedule[];
    const known = [...new Set(schedules.history.map(({ name }) => name))].sort();
    const expected = known.flatMap((name) => at(schedules, name, sequence) ?? []);
    const textOf = (list: readonly NaiveSchedule[]) =>
      list.map(({ name, cron, catchUp }) => `${name} ${cron} ${catchUp}`);
    must(textOf(told).join() === textOf(expected).join(), "F7", `there are ${textOf(expected).join()}`);
    return;
  }
  const asked = body as RequestOf<"schedule-put">;
  const there = at(schedules, asked.name, sequence);
  if (verb === "schedule-delete") {
    must(there === undefined, "L7", `schedule ${asked.name} is there at ${sequence}`);
    return;
  }
  const isOwn = there?.principal === principal && there.cron === asked.cron && there.catchUp === asked.catchUp;
  must(isOwn, "L7", `schedule ${asked.name} is of ${there?.principal}: ${there?.cron}`);
  must(there?.isPaused === (asked.paused ?? false), "L7", `schedule ${asked.name} is paused: ${there?.isPaused}`);
}
