/** Who takes how much of which quota: the leases that live, and when the bucket of a rate is full again. */
import assert from "node:assert/strict";
import { QUOTA_OF_OTHERS, type Quota, type QuotaKind, quotaName } from "../../contracts/quotas.ts";
import { hashMeter } from "./hash.ts";
import { HashSum } from "./hasher.ts";
import { type HeapEntry, IndexedHeap } from "./indexed-heap.ts";
import type { Item } from "./item.ts";

/** Microseconds in a millisecond: a rate may be of many grants per ms. */
const US = 1_000;

/**
 * One group or quota key of items that wait or are leased, or whose bucket is not full yet.
 * Invariant: in the heap of buckets exactly while `fullAtUs` is not 0.
 */
export class Meter implements HeapEntry {
  readonly kind: QuotaKind;
  readonly name: string;
  /** Its own, or that of others. Derived. */
  quota: Quota | undefined = undefined;
  /** Leases that live. Derived. */
  leased = 0;
  /** Lanes that stand for it. Derived. */
  users = 0;
  /** Log time at which its bucket is full; 0 when it is. µs. */
  fullAtUs = 0;
  slot = -1;
  readonly tie: number;

  constructor(kind: QuotaKind, name: string, tie: number) {
    this.kind = kind;
    this.name = name;
    this.tie = tie;
  }

  get rank(): number {
    return this.fullAtUs;
  }

  /** Log time from which on it may take one more; 0 for now, Infinity for not before a lease of it ends. ms. */
  freeAt(at: number): number {
    const { quota } = this;
    if (quota === undefined) return 0;
    if (quota.leasesMax !== undefined && this.leased >= quota.leasesMax) return Number.POSITIVE_INFINITY;
    if (quota.rate === undefined) return 0;
    const { count, burst = count } = quota.rate;
    const freeUs = this.fullAtUs - (burst - 1) * intervalUs(quota.rate);
    return freeUs <= at * US ? 0 : Math.ceil(freeUs / US);
  }
}

/** Rounded up: a rate is never exceeded. */
const intervalUs = ({ count, perMs }: NonNullable<Quota["rate"]>): number => Math.ceil((perMs * US) / count);

/** The meters of a shard. Invariant: a meter is kept while it has leases, lanes or a bucket that is not full. */
export class Meters {
  readonly groups = new Map<string, Meter>();
  readonly keys = new Map<string, Meter>();
  /** Those whose bucket is not full, by when it is. */
  readonly buckets = new IndexedHeap<Meter>();
  /** Of the hashes of those. */
  readonly sum = new HashSum();
  /** Told of meters that may take more than before. */
  onFreed: (meter: Meter) => void = () => {};
  private quotas: ReadonlyMap<string, Quota> = new Map();
  private made = 0;

  /** Takes over quotas that were changed at log time `at`. */
  configure(quotas: ReadonlyMap<string, Quota>, at: number): void {
    this.quotas = quotas;
    for (const meter of [...this.groups.values(), ...this.keys.values()]) {
      meter.quota = this.quotaOf(meter);
      this.onFreed(meter);
      this.fit(meter, at * US);
    }
  }

  /** Counts a grant at log time `at`. The leader decides none above a quota. */
  take(item: Item, at: number): void {
    const { terms } = item;
    if (terms === undefined) return;
    if (terms.group !== undefined) this.takeOf(this.meterOf("group", terms.group), at);
    if (terms.quotaKey !== undefined) this.takeOf(this.meterOf("key", terms.quotaKey), at);
  }

  /** Counts a lease that lives, of a snapshot. */
  restore({ terms }: Item): void {
    if (terms?.group !== undefined) this.meterOf("group", terms.group).leased += 1;
    if (terms?.quotaKey !== undefined) this.meterOf("key", terms.quotaKey).leased += 1;
  }

  /** Takes in a bucket of a snapshot; false when it is there already. */
  restoreBucket(kind: QuotaKind, name: string, fullAtUs: number): boolean {
    const meter = this.meterOf(kind, name);
    if (fullAtUs === 0 || meter.fullAtUs !== 0) return false;
    this.fill(meter, fullAtUs);
    return true;
  }

  /** Counts the end of a lease. */
  giveBack({ terms }: Item): void {
    if (terms?.group !== undefined) this.giveBackOf(this.meterOf("group", terms.group));
    if (terms?.quotaKey !== undefined) this.giveBackOf(this.meterOf("key", terms.quotaKey));
  }

  /** The meter of a group or key, made where there is none. */
  meterOf(kind: QuotaKind, name: string): Meter {
    const meters = this.metersOf(kind);
    let meter = meters.get(name);
    if (meter !== undefined) return meter;
    this.made += 1;
    meter = new Meter(kind, name, this.made);
    meter.quota = this.quotaOf(meter);
    meters.set(name, meter);
    return meter;
  }

  /** A lane stands for it no more. */
  leave(meter: Meter): void {
    meter.users -= 1;
    this.dropIdle(meter);
  }

  private giveBackOf(meter: Meter): void {
    if (meter.leased === 0) assert.fail(`${meter.name} has no lease`);
    meter.leased -= 1;
    this.onFreed(meter);
    this.dropIdle(meter);
  }

  private takeOf(meter: Meter, at: number): void {
    if (meter.freeAt(at) !== 0) assert.fail(`${meter.kind} ${meter.name} is at its quota`);
    meter.leased += 1;
    const rate = meter.quota?.rate;
    if (rate === undefined) return;
    this.fill(meter, Math.max(meter.fullAtUs, at * US) + intervalUs(rate));
    this.sweep(at * US);
  }

  private fill(meter: Meter, fullAtUs: number): void {
    this.subtract(meter);
    const isNew = meter.fullAtUs === 0;
    meter.fullAtUs = fullAtUs;
    if (isNew) this.buckets.push(meter);
    else this.buckets.moved(meter);
    const { high, low } = hashMeter(meter);
    this.sum.add(high, low);
  }

  /** A bucket lacks no more than it holds by the rate that it has now; without a rate there is none. */
  private fit(meter: Meter, atUs: number): void {
    const rate = meter.quota?.rate;
    if (meter.fullAtUs === 0) return;
    if (rate === undefined) {
      this.forgetBucket(meter);
      return;
    }
    const emptyUs = atUs + (rate.burst ?? rate.count) * intervalUs(rate);
    if (meter.fullAtUs > emptyUs) this.fill(meter, emptyUs);
  }

  /** Forgets buckets that are full, so that what is remembered does not grow with the names that ever were. */
  private sweep(atUs: number): void {
    for (let meter = this.buckets.top(); meter !== undefined && meter.fullAtUs <= atUs; meter = this.buckets.top())
      this.forgetBucket(meter);
  }

  private forgetBucket(meter: Meter): void {
    this.subtract(meter);
    this.buckets.remove(meter);
    meter.fullAtUs = 0;
    this.dropIdle(meter);
  }

  private subtract(meter: Meter): void {
    if (meter.fullAtUs === 0) return;
    const { high, low } = hashMeter(meter);
    this.sum.subtract(high, low);
  }

  private dropIdle(meter: Meter): void {
    if (meter.leased > 0 || meter.users > 0 || meter.fullAtUs !== 0) return;
    this.metersOf(meter.kind).delete(meter.name);
  }

  private quotaOf({ kind, name }: Meter): Quota | undefined {
    return this.quotas.get(quotaName(kind, name)) ?? this.quotas.get(quotaName(kind, QUOTA_OF_OTHERS));
  }

  private metersOf(kind: QuotaKind): Map<string, Meter> {
    return kind === "group" ? this.groups : this.keys;
  }
}
