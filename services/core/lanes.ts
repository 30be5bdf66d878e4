/** The leasable items, in lines by resource type, group and quota key, and whose turn it is. Derived from the items; never hashed. */
import assert from "node:assert/strict";
import { FairShares, type Pass } from "./fair-shares.ts";
import { type HeapEntry, IndexedHeap, isBefore } from "./indexed-heap.ts";
import type { Item } from "./item.ts";
import { type Meter, Meters } from "./meters.ts";
import { RankQueue } from "./rank-queue.ts";
import { StripedMap } from "./striped-map.ts";
import type { TypeMarks } from "./type-marks.ts";

/** The leasable items of one resource type, group and quota key. Invariant: never empty; rank and tie are those of its first item. */
export class Lane implements HeapEntry {
  readonly turn: Turn;
  readonly quotaKey: string | undefined;
  readonly meter: Meter | undefined;
  readonly items = new RankQueue<Item>();
  /** Out of the turn's lanes, because its quota is used up. */
  isParked = false;
  /** It has no items any more: another lane may have taken its place. */
  isGone = false;
  rank = 0;
  tie = 0;
  slot = -1;

  constructor(turn: Turn, quotaKey: string | undefined, meter: Meter | undefined) {
    this.turn = turn;
    this.quotaKey = quotaKey;
    this.meter = meter;
  }
}

/** The lanes of one group within a resource type. */
export class Turn implements HeapEntry {
  readonly type: TypeLanes;
  readonly group: string | undefined;
  readonly meter: Meter | undefined;
  readonly byKey = new Map<string | undefined, Lane>();
  /** Those that are not parked. */
  readonly lanes = new IndexedHeap<Lane>();
  /** How far its group is, where it was granted something lately. */
  pass: Pass | undefined;
  isParked = false;
  /** How far ahead it is, 0 when it is not; then those of its first item. A parked lane of it can only have been before that one. */
  rank = 0;
  tie = 0;
  last = 0;
  /** Among the turns of its type; -1 while it is parked or all its lanes are. */
  slot = -1;

  constructor(type: TypeLanes, group: string | undefined, meter: Meter | undefined, pass: Pass | undefined) {
    this.type = type;
    this.group = group;
    this.meter = meter;
    this.pass = pass;
  }

  /** How far its group is ahead; 0 when it is not. */
  get ahead(): number {
    return this.pass === undefined || this.pass.slot < 0 ? 0 : this.pass.rank;
  }
}

/** The groups of one resource type. Rank and tie are those of the item that is granted next. */
export class TypeLanes implements HeapEntry {
  readonly resourceType: string;
  readonly byGroup = new Map<string | undefined, Turn>();
  /** Whose turn it is, by their first items, and behind those who has had more than the others. */
  readonly turns = new IndexedHeap<Turn>();
  /** How many of these have had more. */
  aheadCount = 0;
  rank = 0;
  tie = 0;
  slot = -1;

  constructor(resourceType: string) {
    this.resourceType = resourceType;
  }

  firstLane(): Lane | undefined {
    return this.turns.top()?.lanes.top();
  }
}

/** What is parked for one meter, in the heap of those whose rate lets them go on at a known time: its rank. ms. */
interface Parked extends HeapEntry {
  rank: number;
  readonly meter: Meter;
  readonly places: Set<Lane | Turn>;
}

/**
 * Invariant: a type is among `byHead` exactly while one of its turns has a place; everything with items is in `types`.
 * Only a leader parks, and only what comes first when it looks for the next item; what is freed comes back when it looks again.
 */
export class Lanes {
  readonly types = new StripedMap<TypeLanes>();
  readonly byHead = new IndexedHeap<TypeLanes>();
  readonly meters = new Meters();
  readonly shares = new FairShares();
  /** Resource types that got something leasable since the leader looked last; kept only where somebody looks. */
  shown: TypeMarks | undefined = undefined;
  /** Types whose first lane may have a quota and, with somebody ahead, a better one behind it: rank alone does not tell. */
  private readonly metered = new Set<TypeLanes>();
  private readonly parked = new Map<Meter, Parked>();
  private readonly refills = new IndexedHeap<Parked>();
  private readonly freed = new Set<Meter>();

  constructor() {
    this.meters.onFreed = (meter) => {
      if (this.parked.has(meter)) this.freed.add(meter);
    };
    this.shares.onMoved = (turn) => this.place(turn);
  }

  show(item: Item): void {
    this.shown?.add(item.resourceType);
    const known = this.laneOf(item);
    if (known === undefined) {
      const lane = this.newLane(item);
      lane.items.push(item);
      lane.rank = item.rank;
      lane.tie = item.tie;
      lane.turn.lanes.push(lane);
      this.place(lane.turn);
      return;
    }
    known.items.push(item);
    if (isBefore(item.rank, item.tie, known.rank, known.tie)) this.follow(known, item);
  }

  hide(item: Item): void {
    const lane = this.laneOf(item);
    if (lane === undefined) assert.fail(`item ${item.itemId} has no lane`);
    lane.items.remove(item);
    const head = lane.items.top();
    if (head === undefined) this.dropLane(lane);
    else if (head.rank !== lane.rank || head.tie !== lane.tie) this.follow(lane, head);
  }

  /** The types of some names; undefined stands for all of them. */
  of(resourceTypes: readonly string[] | undefined): readonly TypeLanes[] | undefined {
    if (resourceTypes === undefined) return undefined;
    const types = new Set<TypeLanes>();
    for (const resourceType of resourceTypes) {
      const type = this.types.get(resourceType);
      if (type !== undefined) types.add(type);
    }
    return [...types];
  }

  /** The item of some types that is to be granted next at log time `at`. Parks what it comes upon whose quota is used up. */
  next(types: readonly TypeLanes[] | undefined, at: number): Item | undefined {
    if (this.freed.size > 0) this.reopen(at);
    // Of each of them: whose first lane is parked may have a better one behind it.
    for (const type of types ?? this.metered) this.open(type, at);
    // Any other only falls back.
    if (types === undefined) this.openFirst(at);
    return this.firstLane(types)?.items.top();
  }

  /** Opens the first type as long as another one becomes the first by that. */
  private openFirst(at: number): void {
    let opened: TypeLanes | undefined;
    for (let type = this.byHead.top(); type !== undefined && type !== opened; type = this.byHead.top()) {
      this.open(type, at);
      opened = type;
    }
  }

  /** Parks the first lane of a type as long as its quota, or that of its group, is used up. */
  private open(type: TypeLanes, at: number): void {
    for (let lane = type.firstLane(); lane !== undefined; lane = type.firstLane()) {
      const { turn } = lane;
      if (turn.meter !== undefined && turn.meter.freeAt(at) !== 0) this.parkTurn(turn, turn.meter, at);
      else if (lane.meter !== undefined && lane.meter.freeAt(at) !== 0) this.parkLane(lane, lane.meter, at);
      else return;
    }
  }

  /** Whether something is to be granted at log time `at`, of one type or of any. */
  offers(type: string | undefined, at: number): boolean {
    return this.next(type === undefined ? undefined : this.of([type]), at) !== undefined;
  }

  /** The first leasable item, whatever its quota. */
  peek(): Item | undefined {
    return this.firstLane(undefined)?.items.top();
  }

  /** Lets go what the flow of rates allows at log time `at`. */
  refill(at: number): void {
    for (let refill = this.refills.top(); refill !== undefined && refill.rank <= at; refill = this.refills.top()) {
      this.refills.remove(refill);
      this.freed.add(refill.meter);
    }
    if (this.freed.size > 0) this.reopen(at);
  }

  /** Moves an item's group on, for it was granted something. */
  charge({ kind }: Item): void {
    if (this.shares.isFull) this.forgetShares();
    const { resourceType, group = "", lane } = kind;
    const turn = lane === undefined || lane.isGone ? this.turnOf(resourceType, group) : lane.turn;
    const meter = turn === undefined ? this.meters.groups.get(group) : turn.meter;
    this.shares.charge(resourceType, group, meter?.quota?.weight ?? 1, turn);
  }

  /** Takes in how far a group of a snapshot is ahead; false when it cannot be. */
  restorePass(resourceType: string, group: string, ahead: number): boolean {
    return this.shares.restorePass(resourceType, group, ahead, this.turnOf(resourceType, group));
  }

  /** All groups start anew. */
  forgetShares(): void {
    if (this.shares.types.size === 0) return;
    this.shares.clear();
    for (const type of this.types.values()) for (const turn of type.byGroup.values()) this.place(turn);
  }

  /** `group`: empty for the items that have none. */
  private turnOf(resourceType: string, group: string): Turn | undefined {
    return this.types.get(resourceType)?.byGroup.get(group === "" ? undefined : group);
  }

  /** Looked up once for a kind of items, as long as the lane is there. */
  private laneOf({ kind }: Item): Lane | undefined {
    if (kind.lane === undefined || kind.lane.isGone)
      kind.lane = this.types.get(kind.resourceType)?.byGroup.get(kind.group)?.byKey.get(kind.quotaKey);
    return kind.lane;
  }

  private newLane({ kind }: Item): Lane {
    const { resourceType, group, quotaKey } = kind;
    let type = this.types.get(resourceType);
    if (type === undefined) {
      type = new TypeLanes(resourceType);
      this.types.set(resourceType, type);
    }
    let turn = type.byGroup.get(group);
    if (turn === undefined) {
      turn = this.newTurn(type, group);
      type.byGroup.set(group, turn);
    }
    const meter = quotaKey === undefined ? undefined : this.enter(this.meters.meterOf("key", quotaKey));
    const lane = new Lane(turn, quotaKey, meter);
    turn.byKey.set(quotaKey, lane);
    kind.lane = lane;
    return lane;
  }

  private newTurn(type: TypeLanes, group: string | undefined): Turn {
    const meter = group === undefined ? undefined : this.enter(this.meters.meterOf("group", group));
    const pass = this.shares.passOf(type.resourceType, group ?? "");
    const turn = new Turn(type, group, meter, pass);
    if (pass !== undefined) pass.turn = turn;
    return turn;
  }

  private enter(meter: Meter): Meter {
    meter.users += 1;
    return meter;
  }

  private dropLane(lane: Lane): void {
    const { turn, meter } = lane;
    const { type } = turn;
    turn.byKey.delete(lane.quotaKey);
    lane.isGone = true;
    if (lane.isParked) this.unpark(lane, meter);
    else turn.lanes.remove(lane);
    if (meter !== undefined) this.meters.leave(meter);
    this.place(turn);
    if (turn.byKey.size > 0) return;
    type.byGroup.delete(turn.group);
    if (turn.pass !== undefined) this.shares.leave(turn.pass);
    if (turn.isParked) this.unpark(turn, turn.meter);
    if (turn.meter !== undefined) this.meters.leave(turn.meter);
    if (type.byGroup.size === 0) this.types.delete(type.resourceType);
  }

  /** Gives a lane the place of its first item. */
  private follow(lane: Lane, head: Item): void {
    lane.rank = head.rank;
    lane.tie = head.tie;
    if (lane.isParked) return;
    lane.turn.lanes.moved(lane);
    this.place(lane.turn);
  }

  /** Puts a group where it belongs among those of its type. */
  private place(turn: Turn): void {
    const { type } = turn;
    const { turns } = type;
    const head = turn.isParked ? undefined : turn.lanes.top();
    const isPlaced = turn.slot >= 0;
    if (isPlaced && turn.rank > 0) type.aheadCount -= 1;
    if (head !== undefined) {
      turn.rank = turn.ahead;
      turn.tie = head.rank;
      turn.last = head.tie;
      if (turn.rank > 0) type.aheadCount += 1;
      if (isPlaced) turns.moved(turn);
      else turns.push(turn);
    } else if (isPlaced) turns.remove(turn);
    const first = type.firstLane();
    if (first === undefined) {
      if (type.slot >= 0) this.byHead.remove(type);
      this.metered.delete(type);
      return;
    }
    const isMetered = first.meter !== undefined || first.turn.meter !== undefined;
    if (isMetered && type.aheadCount > 0) this.metered.add(type);
    else if (this.metered.size > 0) this.metered.delete(type);
    if (type.slot >= 0 && type.rank === first.rank && type.tie === first.tie) return;
    type.rank = first.rank;
    type.tie = first.tie;
    if (type.slot < 0) this.byHead.push(type);
    else this.byHead.moved(type);
  }

  private firstLane(types: readonly TypeLanes[] | undefined): Lane | undefined {
    if (types === undefined) return this.byHead.top()?.firstLane();
    let first: TypeLanes | undefined;
    for (const type of types)
      if (type.slot >= 0 && (first === undefined || isBefore(type.rank, type.tie, first.rank, first.tie))) first = type;
    return first?.firstLane();
  }

  private parkTurn(turn: Turn, meter: Meter, at: number): void {
    turn.isParked = true;
    this.place(turn);
    this.park(turn, meter, at);
  }

  private parkLane(lane: Lane, meter: Meter, at: number): void {
    lane.isParked = true;
    lane.turn.lanes.remove(lane);
    this.place(lane.turn);
    this.park(lane, meter, at);
  }

  private park(place: Lane | Turn, meter: Meter, at: number): void {
    let parked = this.parked.get(meter);
    if (parked === undefined) {
      parked = { meter, places: new Set(), rank: 0, tie: meter.tie, slot: -1 };
      this.parked.set(meter, parked);
    }
    parked.places.add(place);
    if (parked.slot < 0) this.awaitRate(parked, at);
  }

  /** Notes when the rate of a meter, which may have changed, lets its places go on; what waits for the end of a lease is told. */
  private awaitRate(parked: Parked, at: number): void {
    if (parked.slot >= 0) this.refills.remove(parked);
    parked.rank = parked.meter.freeAt(at);
    if (Number.isFinite(parked.rank)) this.refills.push(parked);
  }

  private unpark(place: Lane | Turn, meter: Meter | undefined): void {
    if (meter === undefined) return;
    const parked = this.parked.get(meter);
    if (parked === undefined) return;
    parked.places.delete(place);
    if (parked.places.size === 0) this.forget(parked);
  }

  private forget(parked: Parked): void {
    this.parked.delete(parked.meter);
    if (parked.slot >= 0) this.refills.remove(parked);
  }

  /** Puts back what was parked for a quota that has room again. */
  private reopen(at: number): void {
    for (const meter of this.freed) {
      const parked = this.parked.get(meter);
      if (parked === undefined) continue;
      if (meter.freeAt(at) !== 0) {
        this.awaitRate(parked, at);
        continue;
      }
      this.forget(parked);
      for (const place of parked.places) {
        place.isParked = false;
        const turn = place instanceof Lane ? place.turn : place;
        if (place instanceof Lane) turn.lanes.push(place);
        this.place(turn);
        if (turn.slot >= 0) this.shown?.add(turn.type.resourceType);
      }
    }
    this.freed.clear();
  }
}
