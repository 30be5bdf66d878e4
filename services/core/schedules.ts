/** The schedules of a shard: by name, and by when they tick next. */
import type { ItemPayload } from "../../contracts/commands.ts";
import type { CATCH_UPS } from "../../contracts/schedules.ts";
import { hashSchedule, specDigest } from "./hash.ts";
import { HashSum } from "./hasher.ts";
import { type HeapEntry, IndexedHeap } from "./indexed-heap.ts";

/** What a schedule is made of; `sequence` is that of the event that put it. */
export interface ScheduleFields {
  readonly name: string;
  readonly cron: string;
  readonly timeZone: string;
  readonly catchUp: (typeof CATCH_UPS)[number];
  readonly paused: boolean;
  readonly item: ItemPayload;
  /** Who put it. */
  readonly principal: string;
  readonly sequence: number;
  /** Its next tick; undefined while it is paused, or when it never ticks again. ms. */
  readonly next: number | undefined;
}

/** Replaced as a whole, so that a snapshot may keep it. */
export class Schedule implements ScheduleFields, HeapEntry {
  readonly name: string;
  readonly cron: string;
  readonly timeZone: string;
  readonly catchUp: ScheduleFields["catchUp"];
  readonly paused: boolean;
  readonly item: ItemPayload;
  readonly principal: string;
  readonly sequence: number;
  readonly next: number | undefined;
  /** Of what it says. */
  readonly digest: string;
  readonly high: number;
  readonly low: number;
  /** Place among those that tick. Derived. */
  slot = -1;

  /** `digest`: where it is known; a body is long. */
  constructor(fields: ScheduleFields, digest: string = specDigest(fields)) {
    this.name = fields.name;
    this.cron = fields.cron;
    this.timeZone = fields.timeZone;
    this.catchUp = fields.catchUp;
    this.paused = fields.paused;
    this.item = fields.item;
    this.principal = fields.principal;
    this.sequence = fields.sequence;
    this.next = fields.next;
    this.digest = digest;
    const { high, low } = hashSchedule(this);
    this.high = high;
    this.low = low;
  }

  get rank(): number {
    return this.next ?? Number.POSITIVE_INFINITY;
  }

  /** Of ticks at the same time that of the older schedule comes first. */
  get tie(): number {
    return this.sequence;
  }
}

/** Invariant: `ticking` holds exactly those that have a next tick; `sum` is that of their hashes. */
export class Schedules {
  readonly byName = new Map<string, Schedule>();
  readonly ticking = new IndexedHeap<Schedule>();
  readonly sum = new HashSum();

  get size(): number {
    return this.byName.size;
  }

  /** The schedule that ticks first, if it does by a time. */
  due(at: number): Schedule | undefined {
    const first = this.ticking.top();
    return first !== undefined && first.rank <= at ? first : undefined;
  }

  /** Puts a schedule in the place of the one of its name. */
  put(schedule: Schedule): void {
    this.remove(schedule.name);
    this.byName.set(schedule.name, schedule);
    this.sum.add(schedule.high, schedule.low);
    if (schedule.next !== undefined) this.ticking.push(schedule);
  }

  /** Without effect when there is none. */
  remove(name: string): void {
    const schedule = this.byName.get(name);
    if (schedule === undefined) return;
    this.byName.delete(name);
    this.sum.subtract(schedule.high, schedule.low);
    if (schedule.next !== undefined) this.ticking.remove(schedule);
  }

  inOrder(): Schedule[] {
    return [...this.byName.values()].sort((left, right) => (left.name < right.name ? -1 : 1));
  }
}
