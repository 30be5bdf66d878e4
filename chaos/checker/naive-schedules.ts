/** The rules of schedules, written again: each tick in its turn and once, by who put the schedule, with what it was put with. */
import { isDeepStrictEqual } from "node:util";
import type { Actor, EventOf } from "../../contracts/events.ts";
import { TICK_LATE_MS_MAX } from "../../contracts/limits.ts";

type Scheduled = EventOf<"scheduled">;
type Tick = Pick<EventOf<"tickSkipped">, "name" | "tick" | "next">;
type Must = (isRight: boolean, invariant: string, message: string) => void;

export interface NaiveSchedule extends Pick<Scheduled, "name" | "cron" | "timeZone" | "catchUp" | "item"> {
  readonly principal: string;
  readonly isPaused: boolean;
  /** Its next tick; infinite while it is paused. ms. */
  next: number;
}

/** Invariant: `byName` holds every schedule that is there, as it was last put; `history` each change with its sequence. */
export class NaiveSchedules {
  readonly byName = new Map<string, NaiveSchedule>();
  readonly history: { readonly sequence: number; readonly name: string; readonly put: NaiveSchedule | undefined }[] =
    [];
  readonly #must: Must;

  constructor(must: Must) {
    this.#must = must;
  }

  /** `hasHolder`: whether an unfinished item has the unique key of its items. */
  take(
    event: EventOf<"scheduled" | "unscheduled" | "tickSkipped">,
    actor: Actor | undefined,
    { sequence, at }: { readonly sequence: number; readonly at: number },
    hasHolder: (uniqueKey: string) => boolean,
  ): void {
    if (event.type === "scheduled") this.#put(event, actor as Actor, sequence, at);
    else if (event.type === "tickSkipped") this.#skipped(event, hasHolder, at);
    else {
      this.#must(this.byName.delete(event.name), "Q6", `there is no schedule ${event.name} to be deleted`);
      this.history.push({ sequence, name: event.name, put: undefined });
    }
  }

  #put(event: Scheduled, { principal }: Actor, sequence: number, at: number): void {
    const { name, cron, timeZone, catchUp, item, paused = false, next } = event;
    const before = this.byName.get(name);
    this.#must(paused === (next === undefined), "Q6", `schedule ${name}, paused ${paused}, ticks at ${next}`);
    // One that changes in other things keeps a tick that is due.
    const isKept = before?.cron === cron && before.timeZone === timeZone && before.next === next;
    const isNear = next === undefined || isKept || (next > at && isTick(cron, next, at));
    this.#must(isNear, "Q6", `schedule ${name} put at ${at} ticks at ${next}`);
    const put = { name, cron, timeZone, catchUp, item, principal, isPaused: paused };
    this.byName.set(name, { ...put, next: next ?? Number.POSITIVE_INFINITY });
    this.history.push({ sequence, name, put: this.byName.get(name) });
  }

  /** An item of a tick. */
  made({ item, schedule }: EventOf<"enqueued">, principal: string, at: number): void {
    if (schedule === undefined) return;
    const known = this.#moved(schedule, at);
    if (known === undefined) return;
    const { name } = schedule;
    this.#must(principal === known.principal, "Q6", `${principal} enqueues for schedule ${name} of ${known.principal}`);
    this.#must(isDeepStrictEqual(item, known.item), "Q6", `schedule ${name} makes another item than it was put with`);
  }

  #skipped(event: EventOf<"tickSkipped">, hasHolder: (uniqueKey: string) => boolean, at: number): void {
    const known = this.#moved(event, at);
    if (known === undefined) return;
    const { item, catchUp, name } = known;
    const isRight =
      event.reason === "missed"
        ? catchUp === "none" && at - event.tick > TICK_LATE_MS_MAX
        : item.uniqueKey !== undefined && hasHolder(item.uniqueKey);
    this.#must(isRight, "Q6", `schedule ${name} skips its tick at ${event.tick}: ${event.reason}`);
  }

  #moved({ name, tick, next }: Tick, at: number): NaiveSchedule | undefined {
    const known = this.byName.get(name);
    if (known === undefined) {
      this.#must(false, "Q6", `there is no schedule ${name} that ticks`);
      return undefined;
    }
    const { cron, catchUp } = known;
    this.#must(tick <= at, "Q6", `schedule ${name} ticks at ${at} for ${tick}`);
    const isNext = tick === known.next || (catchUp !== "all" && tick > known.next && isTick(cron, tick, tick - 1));
    this.#must(isNext, "R1", `schedule ${name}, ${catchUp}, ticks at ${tick}, its next was at ${known.next}`);
    const isFollowing = next !== undefined && next > tick && isTick(cron, next, tick);
    this.#must(isFollowing, "Q6", `schedule ${name} ticks at ${next} behind ${tick}`);
    if (catchUp !== "all")
      this.#must((next ?? 0) > at, "Q6", `schedule ${name} ticks at ${tick}, ${next} is over at ${at}`);
    known.next = next ?? Number.POSITIVE_INFINITY;
    return known;
  }
}

/** Whether it is the first tick behind a time. Known of what ticks every so many seconds; others are believed. */
function isTick(cron: string, tick: number, after: number): boolean {
  const seconds = /^\*\/(\d+) \* \* \* \* \*$/.exec(cron)?.[1];
  if (seconds === undefined) return true;
  const stepMs = Number(seconds) * 1_000;
  return tick === (Math.floor(after / stepMs) + 1) * stepMs;
}
