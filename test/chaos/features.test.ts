/** The features of a run follow from its seed, and every few runs meet the plain load, the whole queue, and something between. */
import { expect, test } from "vitest";
import { drawFeatures, FEATURES } from "../../chaos/driver/features.ts";
import { ItemWishes } from "../../chaos/driver/item-wishes.ts";
import { EnqueueItem } from "../../contracts/commands.ts";

const seeds = Array.from({ length: 100 }, (_, index) => index + 1);

test("a seed always draws the same", () => {
  for (const seed of seeds) expect(drawFeatures(seed)).toEqual(drawFeatures(seed));
});

test("five runs in a row have one without features, one with all, and others with some", () => {
  for (const first of seeds.slice(0, 20)) {
    const counts = seeds.slice(first, first + 5).map((seed) => drawFeatures(seed).length);
    expect([Math.min(...counts), Math.max(...counts)]).toEqual([0, FEATURES.length]);
    expect(counts.filter((count) => count > 0 && count < FEATURES.length)).toHaveLength(3);
  }
});

test("each feature is there without each other one in some run", () => {
  const draws = seeds.map((seed) => new Set(drawFeatures(seed)));
  for (const one of FEATURES)
    for (const other of FEATURES)
      if (one !== other)
        expect(
          draws.some((drawn) => drawn.has(one) && !drawn.has(other)),
          `${one} without ${other}`,
        ).toBe(true);
});

test("items have what the features say, and are good ones", () => {
  const item = { resourceType: "table", resourceId: "r" };
  const plain = new ItemWishes([], 7);
  expect(plain.ofItem(1_000_000)).toEqual({});
  const fields = new Set<string>();
  const all = new ItemWishes(FEATURES, 7);
  for (let count = 0; count < 500; count += 1) {
    const wish = all.ofItem(1_700_000_000_000);
    for (const field of Object.keys(wish)) fields.add(field);
    expect(EnqueueItem.safeParse({ ...item, ...wish }).error).toBeUndefined();
  }
  expect([...fields].sort()).toEqual([
    ...["delayMs", "group", "leaseDurationMs", "maxAttempts", "notAfter", "notBefore", "priority"],
    ...["quotaKey", "retry", "uniqueKey"],
  ]);
});
