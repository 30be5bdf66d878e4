/** Quotas and fairness against a model that looks at every item for every grant. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { type NaiveShared, NaiveShares } from "../../chaos/checker/naive-shares.ts";
import type { Quota } from "../../contracts/quotas.ts";
import { assertInvariants, canonicalState } from "../../services/core/canonical.ts";
import { SnapshotCut } from "../../services/core/snapshot-cut.ts";
import { SnapshotLoader } from "../../services/core/snapshot-load.ts";
import type { ShardState } from "../../services/core/state.ts";
import { ShardWorld } from "./shard-world.ts";

interface ModelItem extends NaiveShared {
  readonly itemId: string;
  readonly rank: number;
  isLeased: boolean;
}

const isBefore = (left: ModelItem, right: ModelItem) =>
  left.rank < right.rank || (left.rank === right.rank && left.sequence < right.sequence);

class Model {
  items: ModelItem[] = [];
  readonly shares = new NaiveShares();

  lease(types: readonly string[] | undefined, maxItems: number, at: number): string[] {
    const granted: string[] = [];
    while (granted.length < maxItems) {
      const leased = this.items.filter(({ isLeased }) => isLeased);
      const isFree = (item: ModelItem) =>
        !item.isLeased && (types?.includes(item.resourceType) ?? true) && this.shares.isFree(item, leased, at);
      const first = this.shares.first(this.items.filter(isFree), isBefore);
      if (first === undefined) break;
      first.isLeased = true;
      this.shares.granted(first, at);
      granted.push(first.itemId);
    }
    return granted;
  }
}

const name = fc.constantFrom("a", "b", "c");
const type = fc.constantFrom("t1", "t2");
const quota = fc.record(
  {
    leasesMax: fc.integer({ min: 0, max: 3 }),
    rate: fc.record(
      { count: fc.constantFrom(1, 2, 4), perMs: fc.constantFrom(1, 20, 100), burst: fc.integer({ min: 1, max: 3 }) },
      { requiredKeys: ["count", "perMs"] },
    ),
    weight: fc.integer({ min: 1, max: 4 }),
  },
  { requiredKeys: [] },
);
const step = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      verb: fc.constant("enqueue" as const),
      count: fc.integer({ min: 1, max: 4 }),
      type,
      group: fc.option(name, { nil: undefined }),
      key: fc.option(name, { nil: undefined, freq: 2 }),
      priority: fc.constantFrom(0, 0, 1),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      verb: fc.constant("lease" as const),
      maxItems: fc.integer({ min: 1, max: 4 }),
      types: fc.option(fc.uniqueArray(type, { minLength: 1 }), { nil: undefined }),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      verb: fc.constantFrom("complete" as const, "release" as const, "expire" as const),
      place: fc.nat(),
    }),
  },
  { weight: 2, arbitrary: fc.record({ verb: fc.constant("wait" as const), ms: fc.constantFrom(1, 5, 30, 200) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      verb: fc.constant("quota" as const),
      kind: fc.constantFrom("group", "key"),
      name: fc.constantFrom("a", "b", "*"),
      quota: fc.option(quota),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      verb: fc.constant("fairness" as const),
      fairness: fc.constantFrom("off", "groups", "groups"),
    }),
  },
  { weight: 1, arbitrary: fc.record({ verb: fc.constantFrom("fold" as const, "reload" as const) }) },
);
type Step = typeof step extends fc.Arbitrary<infer Value> ? Value : never;

class Run {
  readonly world = new ShardWorld();
  readonly model = new Model();

  take(next: Step): void {
    const { world } = this;
    if (next.verb === "wait") world.at += next.ms;
    else if (next.verb === "fold") Object.assign(world, { state: world.fold() });
    else if (next.verb === "reload") Object.assign(world, { state: reloaded(world.state) });
    else if (next.verb === "fairness") this.setFairness(next.fairness);
    else if (next.verb === "quota") this.setQuota(`${next.kind}/${next.name}`, next.quota);
    else if (next.verb === "enqueue") this.enqueue(next);
    else if (next.verb === "lease") this.lease(next.types, next.maxItems);
    else if ("place" in next) this.end(next.verb, next.place);
    assertInvariants(world.state);
  }

  private enqueue({ count, type: resourceType, group, key: quotaKey, priority }: Extract<Step, { verb: "enqueue" }>) {
    const named = { ...(group === undefined ? {} : { group }), ...(quotaKey === undefined ? {} : { quotaKey }) };
    for (const itemId of this.world.seed(count, { resourceType, priority, ...named })) {
      const sequence = Number.parseInt(itemId, 36);
      const rank = this.world.at - priority * 2 ** 42;
      this.model.items.push({ itemId, sequence, resourceType, group, quotaKey, rank, isLeased: false });
    }
  }

  private lease(types: readonly string[] | undefined, maxItems: number): void {
    const expected = this.model.lease(types, maxItems, this.world.at);
    const request = { maxItems, ...(types === undefined ? {} : { resourceTypes: [...types] }) };
    const reply = this.world.send("lease", request);
    expect(reply["leases"].map(({ itemId }: { itemId: string }) => itemId)).toEqual(expected);
  }

  private end(verb: string, place: number): void {
    const { world, model } = this;
    const leased = model.items.filter(({ isLeased }) => isLeased);
    const item = leased[place % Math.max(1, leased.length)];
    if (item === undefined) return;
    const leases = [{ itemId: item.itemId, token: world.state.items.get(item.itemId)?.lease?.token ?? 1 }];
    // Its charged attempts are no matter of this model.
    if (verb === "complete" || world.state.items.get(item.itemId)?.charged === 4) {
      world.send("complete", { leases });
      model.items = model.items.filter((other) => other !== item);
    } else if (verb === "expire") world.expire(item.itemId);
    else world.send("release", { leases });
    item.isLeased = false;
  }

  private setQuota(quotaName: string, value: Quota | null): void {
    const { weight: _weight, ...ofKey } = value ?? {};
    const given = value === null || quotaName.startsWith("group/") ? value : ofKey;
    this.world.send("configure", { quotas: { [quotaName]: given } });
    this.model.shares.configure({ [quotaName]: given }, this.world.at);
  }

  private setFairness(fairness: string): void {
    this.world.send("configure", { options: { fairness: fairness === "groups" ? "groups" : "off" } });
    this.model.shares.setFair(fairness === "groups");
  }
}

function reloaded(state: ShardState): ShardState {
  const loader = new SnapshotLoader();
  const cut = new SnapshotCut(state);
  for (let slice = cut.next(3); slice !== undefined; slice = cut.next(3)) loader.add(slice);
  return loader.finish();
}

test("random quotas, groups and grants go as the model says, for whichever state leads", { timeout: 30_000 }, () => {
  fc.assert(
    fc.property(fc.array(step, { minLength: 10, maxLength: 80, size: "max" }), (steps) => {
      const run = new Run();
      for (const next of steps) run.take(next);
      expect([...canonicalState(run.world.fold())]).toEqual([...canonicalState(run.world.state)]);
    }),
    { numRuns: 120 },
  );
});
