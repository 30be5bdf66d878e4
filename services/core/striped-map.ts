/** A map of many small maps: a map of a million keys stalls for 100 ms when it grows, each of these for a millisecond. */
import { STRIPES } from "./limits.ts";

export class StripedMap<Value> {
  private readonly stripes: Map<string, Value>[] = Array.from({ length: STRIPES }, () => new Map<string, Value>());

  get size(): number {
    let size = 0;
    for (const stripe of this.stripes) size += stripe.size;
    return size;
  }

  get(key: string): Value | undefined {
    return this.stripeOf(key).get(key);
  }

  set(key: string, value: Value): void {
    this.stripeOf(key).set(key, value);
  }

  delete(key: string): boolean {
    return this.stripeOf(key).delete(key);
  }

  *values(): Generator<Value> {
    for (const stripe of this.stripes) yield* stripe.values();
  }

  /** By the last two characters: ids count up there. A bad spread costs stalls, never answers. */
  private stripeOf(key: string): Map<string, Value> {
    const last = key.length - 1;
    const code = last > 0 ? key.charCodeAt(last) * 31 + key.charCodeAt(last - 1) : key.charCodeAt(0);
    return this.stripes[code & (STRIPES - 1)] as Map<string, Value>;
  }
}

/** One whose keys are looked for by decide and then by apply: what was found last, or not found, is kept at hand. */
export class RecallingMap<Value> extends StripedMap<Value> {
  private lastKey: string | undefined = undefined;
  private lastValue: Value | undefined = undefined;

  override get(key: string): Value | undefined {
    if (key === this.lastKey) return this.lastValue;
    const value = super.get(key);
    this.lastKey = key;
    this.lastValue = value;
    return value;
  }

  override set(key: string, value: Value): void {
    super.set(key, value);
    this.lastKey = key;
    this.lastValue = value;
  }

  override delete(key: string): boolean {
    this.lastKey = undefined;
    this.lastValue = undefined;
    return super.delete(key);
  }
}
