/** When which lease runs out, on whatever clock the caller counts. A renewal moves a number; the heap is put right when it comes up. */
import { type HeapEntry, IndexedHeap } from "./indexed-heap.ts";

export interface Due {
  readonly itemId: string;
  readonly token: number;
  readonly reason: "duration" | "age";
}

interface Deadline extends HeapEntry {
  rank: number;
  readonly itemId: string;
  readonly token: number;
  reason: "duration" | "age";
  /** The true deadline, never before `rank`. ms. */
  deadlineMs: number;
}

/** Deadlines by token. Invariant: rank <= deadlineMs, so the top of the heap is never later than the earliest deadline. */
export class Deadlines {
  private readonly byToken = new Map<number, Deadline>();
  private readonly heap = new IndexedHeap<Deadline>();

  get size(): number {
    return this.byToken.size;
  }

  /** Sets or moves the deadline of a lease. */
  set(itemId: string, token: number, deadlineMs: number, reason: "duration" | "age"): void {
    const known = this.byToken.get(token);
    if (known === undefined) {
      const deadline = { itemId, token, reason, deadlineMs, rank: deadlineMs, tie: token, slot: -1 };
      this.byToken.set(token, deadline);
      this.heap.push(deadline);
      return;
    }
    known.deadlineMs = deadlineMs;
    known.reason = reason;
    if (deadlineMs >= known.rank) return;
    known.rank = deadlineMs;
    this.heap.moved(known);
  }

  /** Without effect for an unknown token. */
  remove(token: number): void {
    const known = this.byToken.get(token);
    if (known === undefined) return;
    this.byToken.delete(token);
    this.heap.remove(known);
  }

  /** What is left of a lease; 0 when it is unknown or has run out. ms. */
  remaining(token: number, nowMs: number): number {
    const known = this.byToken.get(token);
    return known === undefined ? 0 : Math.max(0, known.deadlineMs - nowMs);
  }

  /** The lease that ran out first, if any did. It stays until it is removed or moved. */
  due(nowMs: number): Due | undefined {
    const top = this.settled();
    return top !== undefined && top.deadlineMs <= nowMs ? top : undefined;
  }

  /** The earliest deadline of all; undefined when there is none. ms. */
  earliest(): number | undefined {
    return this.settled()?.deadlineMs;
  }

  clear(): void {
    this.byToken.clear();
    this.heap.clear();
  }

  /** The top of the heap after those that were moved to later have been put back. */
  private settled(): Deadline | undefined {
    for (;;) {
      const top = this.heap.top();
      if (top === undefined || top.rank === top.deadlineMs) return top;
      top.rank = top.deadlineMs;
      this.heap.moved(top);
    }
  }
}
