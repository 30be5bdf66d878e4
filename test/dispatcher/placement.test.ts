/** Where shards belong: evenly spread, little moved, everybody agreeing. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { placeShards } from "../../services/dispatcher/node/placement.ts";

const shards = (count: number, leader: (index: number) => string = () => "") =>
  Array.from({ length: count }, (_, index) => ({ shard: `s${index}`, leader: leader(index) }));
const loads = (placed: ReadonlyMap<string, string>): Record<string, number> => {
  const counts: Record<string, number> = {};
  for (const peer of placed.values()) counts[peer] = (counts[peer] ?? 0) + 1;
  return counts;
};
const now = (placed: ReadonlyMap<string, string>) => [...placed].map(([shard, leader]) => ({ shard, leader }));

test("eight shards on three peers are spread three, three, two", () => {
  expect(Object.values(loads(placeShards(["a", "b", "c"], shards(8)))).sort()).toEqual([2, 3, 3]);
});

test("when a peer is gone only its shards move", () => {
  const before = placeShards(["a", "b", "c"], shards(8));
  const after = placeShards(
    ["a", "c"],
    now(before).map((each) => ({ ...each, leader: each.leader === "b" ? "" : each.leader })),
  );
  const moved = [...before].filter(([shard, leader]) => after.get(shard) !== leader);
  expect(moved.every(([, leader]) => leader === "b")).toBe(true);
  expect(Math.max(...Object.values(loads(after)))).toBe(4);
});

test("when it is back only as many move as make up its part", () => {
  const two = placeShards(["a", "c"], shards(8));
  const three = placeShards(["a", "b", "c"], now(two));
  const moved = [...two].filter(([shard, leader]) => three.get(shard) !== leader);
  expect(moved).toHaveLength(2);
  expect(moved.every(([shard]) => three.get(shard) === "b")).toBe(true);
});

test("no peer leads more than its part, nothing is left out, and a placement that is kept stays", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 7 }),
      fc.array(fc.integer({ min: 0, max: 8 }), { maxLength: 40 }),
      (count, leaders) => {
        const peers = Array.from({ length: count }, (_, index) => `p${index}`);
        const placed = placeShards(
          peers,
          shards(leaders.length, (index) => `p${leaders[index]}`),
        );
        expect(placed.size).toBe(leaders.length);
        expect(Math.max(0, ...Object.values(loads(placed)))).toBeLessThanOrEqual(Math.ceil(leaders.length / count));
        expect(placeShards([...peers].reverse(), now(placed))).toEqual(new Map(placed));
      },
    ),
  );
});
