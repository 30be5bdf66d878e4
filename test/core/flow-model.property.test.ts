/** Random flows against a model that looks at every item for every question. */
import fc from "fast-check";
import { expect, test } from "vitest";
import type { RequestInput } from "../../contracts/commands.ts";
import { FAILURE_POLICIES, type FailurePolicy } from "../../contracts/flows.ts";
import { assertInvariants, canonicalState } from "../../services/core/canonical.ts";
import { endDoomed } from "../../services/core/doomed.ts";
import { stateHash } from "../../services/core/hash.ts";
import { SnapshotCut } from "../../services/core/snapshot-cut.ts";
import { SnapshotLoader } from "../../services/core/snapshot-load.ts";
import { ShardWorld } from "./shard-world.ts";

interface ModelItem {
  readonly itemId: string;
  readonly enqueuedAt: number;
  readonly partition: string | undefined;
  readonly dependsOn: readonly ModelItem[];
  readonly policy: FailurePolicy;
  status: "pending" | "leased" | "deadLettered" | "completed" | "cancelled" | "purged";
  endedAt: number;
  result: string | undefined;
  /** It was ended for a dependency, or brought back from that. */
  wasDoomed: boolean;
}

const isOver = ({ status }: ModelItem) => status === "completed" || status === "cancelled" || status === "purged";
const hasFailed = (item: ModelItem) => isOver(item) && item.status !== "completed";
const isDoomed = (item: ModelItem) =>
  item.status === "pending" && !item.wasDoomed && item.policy !== "run" && item.dependsOn.some(hasFailed);
const sinceOf = (item: ModelItem) =>
  Math.max(item.enqueuedAt, ...(item.wasDoomed ? [] : item.dependsOn.map(({ endedAt }) => endedAt)));

/** In order of enqueue. */
class Model {
  readonly items: ModelItem[] = [];

  next(): ModelItem | undefined {
    const eligible = this.items.filter((item) => this.isEligible(item));
    return eligible.sort((left, right) => sinceOf(left) - sinceOf(right))[0];
  }

  isEligible(item: ModelItem): boolean {
    if (item.status !== "pending") return false;
    if (!item.wasDoomed && (isDoomed(item) || !item.dependsOn.every(isOver))) return false;
    return this.isFirst(item);
  }

  /** Whether nothing of its partition comes before it. */
  isFirst(item: ModelItem): boolean {
    if (item.partition === undefined) return true;
    const others = this.items.filter(({ partition }) => partition === item.partition);
    return (
      others.every(({ status }) => status !== "leased") && others.find(({ status }) => status === "pending") === item
    );
  }

  /** What the leader's turn makes of it. */
  turn(): void {
    const next = () => this.items.find((item) => isDoomed(item) && this.isFirst(item));
    for (let item = next(); item !== undefined; item = next()) {
      item.wasDoomed = true;
      if (item.policy === "deadLetter") item.status = "deadLettered";
      else item.status = "cancelled";
    }
  }
}

const entry = fc.record({
  /** Places among all items, the newest first. */
  dependsOn: fc.array(fc.nat({ max: 7 }), { maxLength: 3 }),
  policy: fc.constantFrom(...FAILURE_POLICIES),
  partition: fc.constantFrom(undefined, undefined, "p", "q"),
});
const step = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      verb: fc.constant("enqueue" as const),
      entries: fc.array(entry, { minLength: 1, maxLength: 4 }),
    }),
  },
  { weight: 6, arbitrary: fc.record({ verb: fc.constant("lease" as const) }) },
  {
    weight: 8,
    arbitrary: fc.record({
      verb: fc.constantFrom("complete" as const, "complete" as const, "fail" as const, "release" as const),
      place: fc.nat(),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      verb: fc.constantFrom("cancel" as const, "purge" as const, "redrive" as const, "redrive" as const),
      place: fc.nat(),
    }),
  },
  { weight: 3, arbitrary: fc.record({ verb: fc.constantFrom("turn" as const, "wait" as const, "reload" as const) }) },
);
type Step = typeof step extends fc.Arbitrary<infer Value> ? Value : never;

class Run {
  readonly world = new ShardWorld({ options: { onDeadLetter: "continue" } });
  readonly model = new Model();

  take(next: Step): void {
    const { world, model } = this;
    if (next.verb === "wait") world.at += 1;
    else if (next.verb === "reload") this.reload();
    else if (next.verb === "turn") this.turn();
    else if (next.verb === "enqueue") this.enqueue(next.entries);
    else if (next.verb === "lease") this.lease();
    else if ("place" in next) this.change(next.verb, next.place);
    assertInvariants(world.state);
    for (const item of model.items) {
      const known = world.state.items.get(item.itemId)?.status ?? world.state.records.get(item.itemId)?.ending;
      expect([item.itemId, known]).toEqual([item.itemId, item.status]);
    }
  }

  private enqueue(entries: readonly (typeof entry extends fc.Arbitrary<infer Value> ? Value : never)[]): void {
    const { world, model } = this;
    const first = model.items.length;
    const named = entries.map(({ dependsOn }, index) => {
      const places = dependsOn.map((back) => first + index - 1 - back).filter((place) => place >= 0);
      return [...new Set(places)];
    });
    const items = entries.map(({ policy, partition }, index): RequestInput<"enqueue">["items"][number] => {
      const dependsOn = (named[index] ?? []).map((place) =>
        place >= first ? { index: place - first } : { itemId: model.items[place]?.itemId ?? "" },
      );
      return {
        resourceType: "t",
        resourceId: "r",
        ...(partition === undefined ? undefined : { exclusivity: "partition", partitionKey: partition }),
        ...(dependsOn.length === 0 ? undefined : { dependsOn, onDependencyFailure: policy }),
      };
    });
    const results = world.send("enqueue", { items })["results"] as { itemId: string }[];
    for (const [index, { itemId }] of results.entries()) {
      const { policy, partition } = entries[index] as (typeof entries)[number];
      const dependsOn = (named[index] ?? []).map((place) => model.items[place] as ModelItem);
      // What ended before is no later place.
      const fields = { itemId, enqueuedAt: world.at, partition, dependsOn, policy };
      model.items.push({ ...fields, status: "pending", endedAt: 0, result: undefined, wasDoomed: false });
    }
  }

  private lease(): void {
    const expected = this.model.next();
    const [lease] = this.world.send("lease", {})["leases"];
    expect(lease?.itemId).toBe(expected?.itemId);
    if (expected === undefined) return;
    expected.status = "leased";
    const dependencies = expected.dependsOn.map((one) => ({
      itemId: one.itemId,
      outcome: isOver(one) ? one.status : "pending",
      ...(one.result === undefined ? undefined : { result: one.result }),
    }));
    expect(lease.dependencies ?? []).toEqual(dependencies);
  }

  private change(verb: Extract<Step, { place: number }>["verb"], place: number): void {
    const { world, model } = this;
    const from = {
      complete: "leased",
      fail: "leased",
      release: "leased",
      cancel: "pending",
      purge: "deadLettered",
      redrive: "deadLettered",
    };
    const open = model.items.filter(({ status }) => status === from[verb]);
    const item = open[place % Math.max(1, open.length)];
    if (item === undefined) return;
    const { itemId } = item;
    const lease = { itemId, token: world.state.items.get(itemId)?.lease?.token ?? 1 };
    const result = place % 2 === 0 ? `of ${itemId}` : undefined;
    if (verb === "complete") world.send(verb, { leases: [{ ...lease, ...(result && { result }) }] });
    else if (verb === "fail") world.send(verb, { leases: [{ ...lease, reason: "bad", requeue: false }] });
    else if (verb === "release") world.send(verb, { leases: [lease] });
    else world.send(verb, { itemIds: [itemId] });
    const to = {
      complete: "completed",
      fail: "deadLettered",
      release: "pending",
      cancel: "cancelled",
      purge: "purged",
      redrive: "pending",
    } as const;
    if (verb === "complete") item.result = result;
    // Nothing holds it back any more; its place stays that of when it could run.
    if (verb === "redrive") Object.assign(item, { enqueuedAt: sinceOf(item), wasDoomed: true });
    item.status = to[verb];
    if (isOver(item)) item.endedAt = world.at;
  }

  private turn(): void {
    this.world.frame((sink) => endDoomed(this.world.state, this.world.at, 1_000_000, sink));
    const open = this.model.items.filter((item) => !isOver(item));
    this.model.turn();
    for (const item of open) if (isOver(item)) item.endedAt = this.world.at;
  }

  private reload(): void {
    const { world } = this;
    const { state } = world;
    const cut = new SnapshotCut(state);
    const loader = new SnapshotLoader();
    for (let text = cut.next(2); text !== undefined; text = cut.next(2)) loader.add(text);
    const copies = [loader.finish(), world.fold()];
    for (const copy of copies) {
      expect([...canonicalState(copy)]).toEqual([...canonicalState(state)]);
      expect(stateHash(copy)).toBe(stateHash(state));
    }
    Object.assign(world, { state: copies[0] });
  }
}

test("flows run, wait and end as a model says that looks at every item", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const run = new Run();
      for (const next of steps) run.take(next);
    }),
    { numRuns: 300 },
  );
});

test("a snapshot that is cut while dependents are told is that of its moment", () => {
  const world = new ShardWorld();
  const [itemId = ""] = world.seed(1);
  world.seed(20, { dependsOn: [{ itemId }] });
  const cut = new SnapshotCut(world.state);
  const lines = [...canonicalState(world.state)];
  const loader = new SnapshotLoader();
  loader.add(cut.next(5) ?? "");
  world.send("complete", { leases: [{ ...world.take(), result: "r" }] });
  for (let text = cut.next(5); text !== undefined; text = cut.next(5)) loader.add(text);
  expect([...canonicalState(loader.finish())]).toEqual(lines);
});
