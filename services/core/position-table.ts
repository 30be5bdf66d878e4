/** Finds places by the hash of what stands there. All of it is two numbers per entry outside of the heap, so that a million cost no collection. */
import assert from "node:assert/strict";
import { STRIPES } from "./limits.ts";

/** Slots of a stripe that holds its first entry. A power of two. */
const SLOTS_MIN = 8;
const STRIPE_SHIFT = 32 - Math.log2(STRIPES);

/** Open addressing: each slot has a hash and a position plus one; 0 is free. An entry stands behind its hash's own slot without a gap. */
class Stripe {
  private slots = new Uint32Array(2 * SLOTS_MIN);
  private mask = SLOTS_MIN - 1;
  private count = 0;

  /** The first slot from the given one on that has the hash; -1 when a free one comes before. */
  find(hash: number, from: number): number {
    const { slots, mask } = this;
    for (let slot = from & mask; slots[2 * slot + 1] !== 0; slot = (slot + 1) & mask)
      if (slots[2 * slot] === hash) return slot;
    return -1;
  }

  positionAt(slot: number): number {
    return (this.slots[2 * slot + 1] as number) - 1;
  }

  add(hash: number, position: number): void {
    if (2 * (this.count + 1) > this.mask) this.grow();
    this.count += 1;
    this.put(hash, position + 1);
  }

  remove(hash: number, position: number): void {
    const { slots, mask } = this;
    let free = this.find(hash, hash);
    while (free !== -1 && slots[2 * free + 1] !== position + 1) free = this.find(hash, free + 1);
    assert(free !== -1, "the entry is not in the table");
    this.count -= 1;
    // What stands behind moves up as far as its own slot lets it.
    for (let slot = (free + 1) & mask; slots[2 * slot + 1] !== 0; slot = (slot + 1) & mask) {
      const fromOwn = (slot - (slots[2 * slot] as number)) & mask;
      if (fromOwn < ((slot - free) & mask)) continue;
      slots[2 * free] = slots[2 * slot] as number;
      slots[2 * free + 1] = slots[2 * slot + 1] as number;
      free = slot;
    }
    slots[2 * free + 1] = 0;
  }

  private put(hash: number, mark: number): void {
    const { slots, mask } = this;
    let slot = hash & mask;
    while (slots[2 * slot + 1] !== 0) slot = (slot + 1) & mask;
    slots[2 * slot] = hash;
    slots[2 * slot + 1] = mark;
  }

  private grow(): void {
    const { slots } = this;
    this.slots = new Uint32Array(2 * slots.length);
    this.mask = slots.length - 1;
    for (let at = 0; at < slots.length; at += 2) {
      const mark = slots[at + 1] as number;
      if (mark !== 0) this.put(slots[at] as number, mark);
    }
  }
}

/** Positions are below 2^32 - 1 and may share a hash; hashes are unsigned 32-bit integers. Invariant: a position has one entry. */
export class PositionTable {
  /** Each grows for itself: a table of a million would stall when it grows. */
  private readonly stripes: (Stripe | undefined)[] = new Array<Stripe | undefined>(STRIPES).fill(undefined);
  /** Where `first` and `next` have come to. */
  private stripe: Stripe | undefined = undefined;
  private hash = 0;
  private slot = -1;

  /** A position with this hash; -1 when there is none. */
  first(hash: number): number {
    this.stripe = this.stripes[hash >>> STRIPE_SHIFT];
    this.hash = hash;
    if (this.stripe === undefined) return -1;
    this.slot = this.stripe.find(hash, hash);
    return this.slot === -1 ? -1 : this.stripe.positionAt(this.slot);
  }

  /** The next one with the hash that was asked for last, as long as nothing was added or removed since. */
  next(): number {
    const { stripe } = this;
    if (stripe === undefined || this.slot === -1) return -1;
    this.slot = stripe.find(this.hash, this.slot + 1);
    return this.slot === -1 ? -1 : stripe.positionAt(this.slot);
  }

  add(hash: number, position: number): void {
    const at = hash >>> STRIPE_SHIFT;
    const stripe = this.stripes[at] ?? new Stripe();
    this.stripes[at] = stripe;
    stripe.add(hash, position);
  }

  remove(hash: number, position: number): void {
    const stripe = this.stripes[hash >>> STRIPE_SHIFT];
    assert(stripe !== undefined, "the entry is not in the table");
    stripe.remove(hash, position);
  }
}
