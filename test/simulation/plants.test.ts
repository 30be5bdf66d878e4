/** The planted bugs fit the source as it is. */
import { expect, test } from "vitest";
import { occurrences, PLANTS } from "./plants.ts";

test("each planted bug replaces a text that stands in its file exactly once", () => {
  expect(PLANTS.length).toBeGreaterThanOrEqual(20);
  expect(PLANTS.filter((plant) => occurrences(plant) !== 1).map(({ name }) => name)).toEqual([]);
});

test("each planted bug has a name of its own and changes something", () => {
  expect(new Set(PLANTS.map(({ name }) => name)).size).toBe(PLANTS.length);
  expect(PLANTS.filter(({ find, replace }) => find === replace)).toEqual([]);
});
