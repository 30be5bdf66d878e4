/** Lanes, quotas and turns against what follows from the items, in O(n). For tests, auditors and dumps. */
import assert from "node:assert/strict";
import { hashMeter, hashPass, hashTurn } from "./hash.ts";
import { HashSum, hexOf } from "./hasher.ts";
import { type HeapEntry, type IndexedHeap, isBefore } from "./indexed-heap.ts";
import type { Item } from "./item.ts";
import type { Lanes, Turn } from "./lanes.ts";
import type { Meter } from "./meters.ts";
import type { ShardState } from "./state.ts";

const idOf = (item: Item): string => item.itemId;

/** What is taken of rates, and whose turn it is, each with its table. */
export function shareRecords({ ready: { lanes } }: ShardState): readonly (readonly [string, object])[] {
  const records: [string, object][] = [];
  for (const { kind, name, fullAtUs } of lanes.meters.buckets.entries)
    records.push(["bucket", { kind, name, fullAtUs }]);
  for (const { resourceType, time, byPass } of lanes.shares.types.values()) {
    records.push(["turn", { resourceType, time }]);
    for (const { group, rank: ahead } of byPass.entries) records.push(["pass", { resourceType, group, ahead }]);
  }
  return records;
}

/** `leasable`: in order of enqueue. */
export function checkLeasable(lanes: Lanes, leasable: readonly Item[]): void {
  const shown: Item[] = [];
  checkHeap(lanes.byHead);
  let open = 0;
  for (const type of lanes.types.values()) {
    checkHeap(type.turns);
    const aheadCount = type.turns.entries.filter(({ rank }) => rank > 0).length;
    assert.equal(type.aheadCount, aheadCount, `groups of ${type.resourceType} that are ahead`);
    assert(type.byGroup.size > 0, `type ${type.resourceType} has lanes`);
    const first = type.firstLane();
    assert.equal(type.slot >= 0, first !== undefined, `type ${type.resourceType} is among the heads`);
    if (first !== undefined) {
      open += 1;
      assert.deepEqual([type.rank, type.tie], [first.rank, first.tie], `rank of ${type.resourceType}`);
    }
    for (const turn of type.byGroup.values()) shown.push(...checkTurn(lanes, turn));
  }
  assert.equal(lanes.byHead.size, open, "types with something to grant");
  shown.sort((left, right) => left.sequence - right.sequence);
  assert.deepEqual(shown.map(idOf), leasable.map(idOf), "lanes hold exactly what is leasable");
}

function checkTurn(lanes: Lanes, turn: Turn): readonly Item[] {
  const { type, group, byKey } = turn;
  const shown: Item[] = [];
  checkHeap(turn.lanes);
  assert(byKey.size > 0, `group ${group} has lanes`);
  const head = turn.isParked ? undefined : turn.lanes.top();
  assert(turn.pass === lanes.shares.passOf(type.resourceType, group ?? ""), `pass of ${group}`);
  assert(turn.pass === undefined || turn.pass.turn === turn, `turn of ${group}`);
  assert.equal(type.turns.entries[turn.slot] === turn, head !== undefined, `place of ${group}`);
  if (head !== undefined) assert.deepEqual([turn.rank, turn.tie, turn.last], [turn.ahead, head.rank, head.tie]);
  assert.equal(turn.meter?.name, group, `meter of group ${group}`);
  for (const lane of byKey.values()) {
    checkHeap(lane.items.late);
    assert.equal(lane.meter?.name, lane.quotaKey, `meter of key ${lane.quotaKey}`);
    assert.equal(lane.isParked, turn.lanes.entries[lane.slot] !== lane, `place of lane ${lane.quotaKey}`);
    assert.deepEqual([lane.rank, lane.tie], [lane.items.top()?.rank, lane.items.top()?.tie], `rank of a lane`);
    for (const item of lane.items.values()) {
      const { group: itemGroup, quotaKey } = item.terms ?? {};
      assert.deepEqual([item.resourceType, itemGroup, quotaKey], [type.resourceType, group, lane.quotaKey]);
      shown.push(item);
    }
  }
  return shown;
}

/** Meters as they follow from the leases, and the sums of hashes. */
export function checkShares({ ready: { lanes } }: ShardState, items: readonly Item[]): void {
  const { meters, shares } = lanes;
  checkHeap(meters.buckets);
  const leased = items.filter((item) => item.status === "leased");
  const sum = new HashSum();
  const check = (meter: Meter, field: "group" | "quotaKey") => {
    assert.equal(
      meter.leased,
      leased.filter(({ terms }) => terms?.[field] === meter.name).length,
      `leases of ${meter.name}`,
    );
    assert(meter.leased > 0 || meter.users > 0 || meter.fullAtUs > 0, `${meter.name} is kept for something`);
    assert.equal(meter.fullAtUs > 0, meters.buckets.entries.includes(meter), `bucket of ${meter.name}`);
    const { high, low } = hashMeter(meter);
    if (meter.fullAtUs > 0) sum.add(high, low);
  };
  for (const meter of meters.groups.values()) check(meter, "group");
  for (const meter of meters.keys.values()) check(meter, "quotaKey");
  for (const { terms } of leased) {
    assert(terms?.group === undefined || meters.groups.has(terms.group), `meter of ${terms?.group}`);
    assert(terms?.quotaKey === undefined || meters.keys.has(terms.quotaKey), `meter of ${terms?.quotaKey}`);
  }
  assert.equal(hexOf(meters.sum), hexOf(sum), "hash of buckets");
  const turns = new HashSum();
  for (const { resourceType, time, passes, byPass } of shares.types.values()) {
    checkHeap(byPass);
    const turn = hashTurn(resourceType, time);
    turns.add(turn.high, turn.low);
    for (const pass of byPass.entries) assert(passes.get(pass.group) === pass, `pass of ${pass.group}`);
    for (const { group, rank, slot, turn } of passes.values()) {
      assert.equal(slot >= 0, rank > time, `${group} is ahead`);
      assert(slot >= 0 || turn !== undefined, `${group} is kept for something`);
      const shown = lanes.types.get(resourceType)?.byGroup.get(group === "" ? undefined : group);
      assert(turn === shown, `what is leasable of ${group}`);
      if (slot < 0) continue;
      const { high, low } = hashPass(resourceType, group, rank);
      turns.add(high, low);
    }
  }
  assert.equal(hexOf(shares.sum), hexOf(turns), "hash of turns");
}

export function checkHeap<Entry extends HeapEntry>(heap: IndexedHeap<Entry>): void {
  for (const [slot, entry] of heap.entries.entries()) {
    assert.equal(entry.slot, slot, "slot");
    const above = (slot - 1) >> 1;
    const parent = heap.entries[above] as Entry;
    if (slot === 0) continue;
    const [parentRank, rank] = [heap.rankAt(above), heap.rankAt(slot)];
    const isEqual = parentRank === rank && parent.tie === entry.tie;
    const isFirst = isBefore(parentRank, parent.tie, rank, entry.tie);
    assert(isFirst || (isEqual && (parent.last ?? 0) < (entry.last ?? 0)), "order of the heap");
  }
}
