/**
 * Whose turn it is among the groups of a resource type: start-time fair queueing. Each grant moves its group on by a step that is the shorter
 * the larger its weight; who is not ahead of the type's time goes first. A group that had nothing to do has saved nothing up.
 */
import { hashPass, hashTurn } from "./hash.ts";
import { HashSum } from "./hasher.ts";
import { type HeapEntry, IndexedHeap } from "./indexed-heap.ts";
import type { Turn } from "./lanes.ts";

/** How far one grant moves a group of weight 1. */
const STEP = 2 ** 20;
/** Groups that are remembered at once. Beyond, all start anew: fairness looks back over some rounds, not over all names that ever were. */
const PASSES_MAX = 100_000;

/** How far a group is. It is ahead while it is above the time of its type, and only then it has a slot; kept longer for its turn. */
export interface Pass extends HeapEntry {
  readonly turns: Turns;
  readonly group: string;
  rank: number;
  /** Its items that are leasable; undefined where there are none. Derived. */
  turn: Turn | undefined;
  /** Its hash. */
  high: number;
  low: number;
}

/** The turns of one resource type. */
interface Turns {
  readonly resourceType: string;
  /** Where the group was that was granted something last. */
  time: number;
  /** Of those that are ahead, or have a turn. */
  readonly passes: Map<string, Pass>;
  /** Those that are ahead. */
  readonly byPass: IndexedHeap<Pass>;
}

/** Invariant: a pass is among `byPass` exactly while it is above the time of its type, and known to the turn that it knows. */
export class FairShares {
  readonly types = new Map<string, Turns>();
  readonly sum = new HashSum();
  /** Told of a turn whose place among the groups of its type changes. */
  onMoved: (turn: Turn) => void = () => {};
  private count = 0;
  private made = 0;

  /** Whether it remembers as much as it may; then it is to be cleared. */
  get isFull(): boolean {
    return this.count >= PASSES_MAX;
  }

  /** The pass of a group; undefined when it has none. */
  passOf(resourceType: string, group: string): Pass | undefined {
    return this.types.get(resourceType)?.passes.get(group);
  }

  /** Tells a pass that its group has nothing leasable any more. */
  leave(pass: Pass): void {
    pass.turn = undefined;
    if (pass.slot < 0) pass.turns.passes.delete(pass.group);
  }

  /** Moves a group on by one grant. `turn`: what of it is leasable. */
  charge(resourceType: string, group: string, weight: number, turn: Turn | undefined): void {
    const turns = this.types.get(resourceType) ?? this.begin(resourceType, 0);
    const own = turn?.pass ?? turns.passes.get(group) ?? this.newPass(turns, group, turn);
    const time = Math.max(turns.time, own.rank);
    if (time > turns.time) {
      this.subtractTurn(turns);
      turns.time = time;
      this.addTurn(turns);
      for (let pass = turns.byPass.top(); pass !== undefined && pass.rank <= time; pass = turns.byPass.top())
        this.fallBack(pass);
    }
    this.advance(own, time + Math.floor(STEP / weight));
  }

  /** Forgets everything, as when fairness is turned off. */
  clear(): void {
    for (const { passes } of this.types.values())
      for (const { turn } of passes.values()) if (turn !== undefined) turn.pass = undefined;
    this.types.clear();
    this.sum.high = 0;
    this.sum.low = 0;
    this.count = 0;
  }

  /** Takes in the time of a type of a snapshot; false when it is there already. */
  restoreTurn(resourceType: string, time: number): boolean {
    if (this.types.has(resourceType)) return false;
    this.begin(resourceType, time);
    return true;
  }

  /** Takes in a group of a snapshot; false when it cannot be. */
  restorePass(resourceType: string, group: string, rank: number, turn: Turn | undefined): boolean {
    const turns = this.types.get(resourceType);
    if (turns === undefined || turns.passes.has(group) || rank <= turns.time) return false;
    this.advance(this.newPass(turns, group, turn), rank);
    return true;
  }

  private begin(resourceType: string, time: number): Turns {
    const turns = { resourceType, time, passes: new Map<string, Pass>(), byPass: new IndexedHeap<Pass>() };
    this.types.set(resourceType, turns);
    this.addTurn(turns);
    return turns;
  }

  private newPass(turns: Turns, group: string, turn: Turn | undefined): Pass {
    this.made += 1;
    const pass = { turns, group, rank: 0, tie: this.made, slot: -1, turn, high: 0, low: 0 };
    turns.passes.set(group, pass);
    if (turn !== undefined) turn.pass = pass;
    return pass;
  }

  /** Puts a group that is not ahead so far ahead. */
  private advance(pass: Pass, rank: number): void {
    const { turns, group, turn } = pass;
    const { high, low } = hashPass(turns.resourceType, group, rank);
    pass.rank = rank;
    pass.high = high;
    pass.low = low;
    turns.byPass.push(pass);
    this.count += 1;
    this.sum.add(high, low);
    if (turn === undefined) turns.passes.set(group, pass);
    else this.onMoved(turn);
  }

  /** The time of its type has come up to a group that was ahead. */
  private fallBack(pass: Pass): void {
    const { turns, group, turn } = pass;
    turns.byPass.remove(pass);
    this.count -= 1;
    this.sum.subtract(pass.high, pass.low);
    if (turn === undefined) turns.passes.delete(group);
    else this.onMoved(turn);
  }

  private addTurn({ resourceType, time }: Turns): void {
    const { high, low } = hashTurn(resourceType, time);
    this.sum.add(high, low);
  }

  private subtractTurn({ resourceType, time }: Turns): void {
    const { high, low } = hashTurn(resourceType, time);
    this.sum.subtract(high, low);
  }
}
