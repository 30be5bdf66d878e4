/** Who waits for whom: quotas of groups and keys, rates, and turns between groups. */
import { describe, expect, test } from "vitest";
import type { RequestInput } from "../../contracts/commands.ts";
import type { ShardOptions } from "../../contracts/options.ts";
import type { QuotasPatch } from "../../contracts/quotas.ts";
import { applyFrame } from "../../services/core/apply.ts";
import { assertInvariants, canonicalState } from "../../services/core/canonical.ts";
import { DumpLines } from "../../services/core/dump-lines.ts";
import { dumpText } from "../../services/core/dump-text.ts";
import { SnapshotCut } from "../../services/core/snapshot-cut.ts";
import { SnapshotLoader } from "../../services/core/snapshot-load.ts";
import type { ShardState } from "../../services/core/state.ts";
import { ShardWorld } from "./shard-world.ts";

type Terms = Partial<RequestInput<"enqueue">["items"][number]>;

const worldOf = (quotas: QuotasPatch = {}, options: Partial<ShardOptions> = {}): ShardWorld => {
  const world = new ShardWorld({ options });
  world.send("configure", { quotas });
  return world;
};
const granted = (world: ShardWorld, request: RequestInput<"lease"> = {}): string[] => {
  const reply = world.send("lease", { maxItems: 100, ...request });
  assertInvariants(world.state);
  expect([...canonicalState(world.fold())]).toEqual([...canonicalState(world.state)]);
  expect([...canonicalState(reloaded(world.state))]).toEqual([...canonicalState(world.state)]);
  expect([...new DumpLines().add([...dumpText(world.state)].join(""))]).toEqual([...canonicalState(world.state)]);
  return reply["leases"].map((lease: { itemId: string }) => lease.itemId);
};
/** Resource types of what is granted: they name the groups here. */
const grantedTypes = (world: ShardWorld, maxItems: number): string =>
  granted(world, { maxItems })
    .map((itemId) => world.state.items.get(itemId)?.terms?.group ?? "-")
    .join("");
const end = (world: ShardWorld, itemId: string, verb: "complete" | "release" = "complete"): void => {
  world.send(verb, { leases: [{ itemId, token: world.state.items.get(itemId)?.lease?.token ?? 1 }] });
};
const holdsOf = (world: ShardWorld, itemId: string) =>
  world.send("explain", { itemId })["holds"].map((hold: { hold: string; until?: number }) => [hold.hold, hold.until]);
function reloaded(state: ShardState): ShardState {
  const loader = new SnapshotLoader();
  const cut = new SnapshotCut(state);
  for (let slice = cut.next(2); slice !== undefined; slice = cut.next(2)) loader.add(slice);
  const loaded = loader.finish();
  assertInvariants(loaded);
  return loaded;
}

describe("a quota of leases", () => {
  test.each([
    ["group", { group: "a" }],
    ["key", { quotaKey: "a" }],
  ] as const)("of a %s grants no more at once, and each end of a lease makes room", (kind, terms: Terms) => {
    const world = worldOf({ [`${kind}/a`]: { leasesMax: 2 } });
    const [first, second, third, fourth] = world.seed(4, terms) as [string, string, string, string];
    const [other] = world.seed(1);
    expect(granted(world)).toEqual([first, second, other]);
    expect(holdsOf(world, third)).toEqual([["quotaFull", undefined]]);
    end(world, first);
    expect(granted(world)).toEqual([third]);
    end(world, second, "release");
    expect(granted(world)).toEqual([second]);
    world.expire(second);
    expect(granted(world)).toEqual([second]);
    expect(world.send("quotas", {})["quotas"]).toEqual([{ name: `${kind}/a`, quota: { leasesMax: 2 }, leased: 2 }]);
    world.send("configure", { quotas: { [`${kind}/a`]: null } });
    expect(granted(world)).toEqual([fourth]);
  });

  test("of 0 stops a group; what is leased goes on", () => {
    const world = worldOf();
    const [first] = world.seed(2, { group: "a" }) as [string, string];
    expect(granted(world, { maxItems: 1 })).toEqual([first]);
    world.send("configure", { quotas: { "group/a": { leasesMax: 0 } } });
    expect(granted(world)).toEqual([]);
    end(world, first);
    expect(world.state.completedTotal).toBe(1);
    expect(granted(world)).toEqual([]);
  });

  test("of all others holds for each of them apart, and one of its own takes its place whole", () => {
    const world = worldOf({ "group/*": { leasesMax: 1 }, "group/big": { leasesMax: 3 } });
    for (const group of ["a", "b", "big"]) world.seed(4, { group });
    world.seed(2);
    expect(grantedTypes(world, 100)).toBe("abbigbigbig--");
    expect(world.send("quotas", { limit: 1 })).toMatchObject({
      quotas: [{ name: "group/*", leased: 2 }],
      cursor: "group/*",
    });
    expect(world.send("quotas", { cursor: "group/*" })).toMatchObject({ quotas: [{ name: "group/big", leased: 3 }] });
  });

  test("of a key that several groups and types share is one", () => {
    const world = worldOf({ "key/db": { leasesMax: 1 } });
    const [first] = world.seed(1, { group: "a", quotaKey: "db" }) as [string];
    const [second] = world.seed(1, { group: "b", quotaKey: "db", resourceType: "view" }) as [string];
    const [free] = world.seed(1, { group: "b", resourceType: "view" }) as [string];
    expect(granted(world)).toEqual([first, free]);
    end(world, first);
    expect(granted(world, { resourceTypes: ["table"] })).toEqual([]);
    expect(granted(world, { resourceTypes: ["view"] })).toEqual([second]);
  });

  test("keeps nothing of names that are over", () => {
    const world = worldOf({ "key/*": { leasesMax: 1, rate: { count: 1, perMs: 10 } } });
    for (let index = 0; index < 50; index += 1) {
      world.seed(1, { quotaKey: `k${index}`, group: `g${index}` });
      world.at += 10;
      for (const itemId of granted(world)) end(world, itemId);
    }
    const { meters } = world.state.ready.lanes;
    expect([meters.groups.size, meters.keys.size, meters.buckets.size]).toEqual([0, 1, 1]);
  });
});

test("explain names who goes first, not who stands before a lane that is free again", () => {
  const world = worldOf({ "key/db": { leasesMax: 1 } });
  const [first, second] = world.seed(2, { quotaKey: "db" }) as [string, string];
  const [third] = world.seed(1) as [string];
  expect(granted(world, { maxItems: 1 })).toEqual([first]);
  expect(granted(world, { maxItems: 1 })).toEqual([third]);
  const [fourth] = world.seed(1) as [string];
  end(world, first);
  expect(world.send("explain", { itemId: second })["holds"]).toMatchObject([{ hold: "next" }]);
  expect(world.send("explain", { itemId: fourth })["holds"]).toMatchObject([{ hold: "behind", itemId: second }]);
});

describe("a rate", () => {
  test("grants its burst at once, and then one at a time as it flows", () => {
    const world = worldOf({ "group/a": { rate: { count: 10, perMs: 1_000, burst: 3 } } });
    const ids = world.seed(6, { group: "a" });
    expect(granted(world)).toEqual(ids.slice(0, 3));
    expect(holdsOf(world, ids[3] ?? "")).toEqual([["rateLimited", world.at + 100]]);
    for (const itemId of ids.slice(0, 3)) end(world, itemId);
    world.at += 99;
    expect(granted(world)).toEqual([]);
    world.at += 1;
    expect(granted(world)).toEqual(ids.slice(3, 4));
    world.at += 250;
    expect(granted(world)).toEqual(ids.slice(4, 6));
  });

  test("explain sees at once what the rate has let go, before anybody asks for a lease", () => {
    const world = worldOf({ "group/a": { rate: { count: 1, perMs: 100 } } });
    const [, second] = world.seed(2, { group: "a" }) as [string, string];
    const [other] = world.seed(1) as [string];
    expect(granted(world, { maxItems: 1 })).toHaveLength(1);
    expect(granted(world, { maxItems: 1 })).toEqual([other]);
    const [last] = world.seed(1) as [string];
    const asked = { now: world.at + 150 };
    expect(world.send("explain", { itemId: second }, asked)["holds"]).toMatchObject([{ hold: "next" }]);
    expect(world.send("explain", { itemId: last }, asked)["holds"]).toMatchObject([{ hold: "behind", itemId: second }]);
  });

  test("counts every grant of an item, and gives back none", () => {
    const world = worldOf({ "key/a": { rate: { count: 1, perMs: 100 } } });
    const [itemId] = world.seed(1, { quotaKey: "a" }) as [string];
    expect(granted(world)).toEqual([itemId]);
    end(world, itemId, "release");
    expect(granted(world)).toEqual([]);
    world.at += 100;
    expect(granted(world)).toEqual([itemId]);
  });

  test("of many grants in a millisecond is kept to the microsecond", () => {
    const world = worldOf({ "key/a": { rate: { count: 4_000, perMs: 1_000, burst: 1 } } });
    world.seed(50, { quotaKey: "a" });
    let count = 0;
    for (let turn = 0; turn < 10; turn += 1) {
      count += granted(world).length;
      world.at += 1;
    }
    expect(count).toBe(10);
  });

  test.each([3, 7, 30, 600])("of %i grants in a millisecond lets no more through in the long run", (count) => {
    const ms = 50;
    const world = worldOf({ "key/a": { rate: { count, perMs: 1, burst: 5_000 } } }, { leasesPerPeerMax: 100_000 });
    for (let left = 5_000 + (ms + 1) * count; left > 0; left -= 1_000) world.seed(1_000, { quotaKey: "a" });
    let sum = 0;
    for (let turn = 0; turn <= ms; turn += 1) {
      for (let taken = 1_000; taken === 1_000; sum += taken)
        taken = world.send("lease", { maxItems: 1_000 })["leases"].length;
      world.at += 1;
    }
    expect(sum).toBeLessThanOrEqual(5_000 + ms * count);
    expect(sum).toBeGreaterThan(5_000 + ms * count * 0.8);
  });

  test("is what it was for a leader that takes over", () => {
    const world = worldOf({ "group/a": { rate: { count: 1, perMs: 1_000 } } });
    world.seed(2, { group: "a" });
    expect(granted(world)).toHaveLength(1);
    Object.assign(world, { state: world.fold() });
    expect(granted(world)).toEqual([]);
    Object.assign(world, { state: reloaded(world.state) });
    world.at += 999;
    expect(granted(world)).toEqual([]);
    world.at += 1;
    expect(granted(world)).toHaveLength(1);
  });
});

describe("a rate that is changed", () => {
  const HOUR = 3_600_000;

  test("lets go at its new time what was parked until its old one", () => {
    const world = worldOf({ "key/a": { rate: { count: 5, perMs: 5 * HOUR } } });
    const ids = world.seed(6, { quotaKey: "a" });
    expect(granted(world)).toEqual(ids.slice(0, 5));
    expect(granted(world)).toEqual([]);
    // 61 minutes for each of five: the first of them is back after 56.
    world.send("configure", { quotas: { "key/a": { rate: { count: 60, perMs: 61 * HOUR, burst: 5 } } } });
    world.at += 56 * 60_000;
    expect(granted(world)).toEqual(ids.slice(5));
  });

  test("to a faster one is no slower for what its bucket lacked before", () => {
    const world = worldOf({ "key/a": { rate: { count: 1, perMs: 24 * HOUR } } });
    const ids = world.seed(3, { quotaKey: "a" });
    expect(granted(world)).toEqual(ids.slice(0, 1));
    expect(granted(world)).toEqual([]);
    world.send("configure", { quotas: { "key/a": { rate: { count: 1, perMs: 1_000 } } } });
    expect(granted(world)).toEqual([]);
    expect(holdsOf(world, ids[1] ?? "")).toEqual([["rateLimited", world.at + 1_000]]);
    world.at += 1_000;
    expect(granted(world)).toEqual(ids.slice(1, 2));
  });

  test("begins anew with a full bucket after it was removed", () => {
    const world = worldOf({ "key/*": { rate: { count: 1, perMs: HOUR } } });
    const ids = world.seed(2, { quotaKey: "a" });
    expect(granted(world)).toEqual(ids.slice(0, 1));
    world.send("configure", { quotas: { "key/*": null } });
    expect(world.state.ready.lanes.meters.buckets.size).toBe(0);
    world.send("configure", { quotas: { "key/a": { rate: { count: 1, perMs: HOUR } } } });
    expect(granted(world)).toEqual(ids.slice(1));
  });
});

describe("fairness between groups", () => {
  const fair: Partial<ShardOptions> = { fairness: "groups" };

  test("lets them take turns, whoever was there first and however much waits", () => {
    const world = worldOf({}, fair);
    world.seed(6, { group: "a" });
    world.seed(2, { group: "b" });
    world.seed(3);
    expect(grantedTypes(world, 11)).toBe("ab-ab-a-aaa");
  });

  test("gives each its share by weight", () => {
    const world = worldOf({ "group/a": { weight: 3 } }, fair);
    world.seed(40, { group: "a" });
    world.seed(40, { group: "b" });
    const order = grantedTypes(world, 40);
    expect(order.replaceAll("b", "")).toHaveLength(30);
    for (let start = 0; start < 40; start += 4) expect(order.slice(start, start + 4)).toContain("b");
  });

  test("keeps priority and order within a group", () => {
    const world = worldOf({}, fair);
    const [low] = world.seed(1, { group: "a" });
    const [high] = world.seed(1, { group: "a", priority: 9 });
    const [other] = world.seed(1, { group: "b", priority: 1 });
    expect(granted(world)).toEqual([high, other, low]);
  });

  test("saves nothing up for who had nothing to do", () => {
    const world = worldOf({}, fair);
    world.seed(50, { group: "a" });
    expect(grantedTypes(world, 40)).toBe("a".repeat(40));
    world.seed(50, { group: "b" });
    expect(grantedTypes(world, 6).replaceAll("b", "")).toHaveLength(3);
  });

  test("passes over a group at its quota", () => {
    const world = worldOf({ "group/a": { leasesMax: 1 } }, fair);
    const [first] = world.seed(3, { group: "a" }) as [string];
    world.seed(3, { group: "b" });
    expect(grantedTypes(world, 4)).toBe("abbb");
    end(world, first);
    expect(grantedTypes(world, 4)).toBe("a");
  });

  test("goes on where it stood for a leader that takes over", () => {
    const world = worldOf({}, fair);
    world.seed(4, { group: "a" });
    world.seed(4, { group: "b" });
    expect(grantedTypes(world, 3)).toBe("aba");
    Object.assign(world, { state: reloaded(world.state) });
    expect(grantedTypes(world, 1)).toBe("b");
    Object.assign(world, { state: world.fold() });
    expect(grantedTypes(world, 2)).toBe("ab");
  });

  test("is forgotten when it is turned off, and then time alone counts", () => {
    const world = worldOf({}, fair);
    world.seed(4, { group: "a" });
    world.seed(4, { group: "b" });
    expect(grantedTypes(world, 3)).toBe("aba");
    world.send("configure", { options: { fairness: "off" } });
    expect(world.state.ready.lanes.shares.types.size).toBe(0);
    expect(grantedTypes(world, 3)).toBe("aab");
  });
});

describe("bad input", () => {
  const world = worldOf();
  test.each([
    ["a name of no kind", { team: { leasesMax: 1 } }],
    ["no name", { "group/": { leasesMax: 1 } }],
    ["a weight of a key", { "key/a": { weight: 2 } }],
    ["a weight of 0", { "group/a": { weight: 0 } }],
    ["negative leases", { "group/a": { leasesMax: -1 } }],
    ["a rate of 0", { "group/a": { rate: { count: 0, perMs: 1 } } }],
    ["a burst that takes years", { "group/a": { rate: { count: 1, perMs: 86_400_000, burst: 1_000 } } }],
    ["a field of no quota", { "group/a": { leases: 1 } }],
  ])("%s is refused without an event", (_what, quotas) => {
    const { sequence } = world.state;
    expect(() => world.send("configure", { quotas: quotas as QuotasPatch })).toThrow();
    expect(world.state.sequence).toBe(sequence);
  });

  test("more quotas than a shard may have are refused", () => {
    const many = (prefix: string, count: number) =>
      Object.fromEntries(Array.from({ length: count }, (_, index) => [`group/${prefix}${index}`, { leasesMax: 1 }]));
    world.send("configure", { quotas: many("a", 1_000) });
    expect(world.send("configure", { quotas: many("b", 1) }).error).toMatchObject({ code: "invalid_argument" });
    expect(world.send("configure", { quotas: { ...many("b", 1), "group/a0": null } }).error).toBeUndefined();
  });

  test("the same quota again changes nothing", () => {
    const { sequence } = world.state;
    world.send("configure", { quotas: { "group/a1": { leasesMax: 1 }, "group/nobody": null } });
    expect(world.state.sequence).toBe(sequence);
  });

  test("a log of state version 1 takes no group and no quota", () => {
    const old = new ShardWorld();
    old.state.logVersion = 1;
    expect(old.send("configure", { quotas: { "group/a": { leasesMax: 1 } } }).error?.code).toBe("unsupported_version");
    const items = [{ resourceType: "t", resourceId: "r", group: "a" }];
    expect(old.send("enqueue", { items })["results"][0].error.code).toBe("unsupported_version");
  });

  test("a grant above a quota is a bug that a follower finds", () => {
    const follower = worldOf({ "group/a": { leasesMax: 1 } });
    const [first, second] = follower.seed(2, { group: "a" }) as [string, string];
    granted(follower);
    const frame = follower.frames.at(-1);
    if (frame === undefined) throw new Error("nothing was granted");
    const [event] = frame.events;
    if (event?.type !== "leased") throw new Error("nothing was granted");
    expect(event.itemId).toBe(first);
    const again = { ...frame, first: frame.first + 1, events: [{ ...event, itemId: second }] };
    expect(() => applyFrame(follower.state, again)).toThrow("at its quota");
  });
});
