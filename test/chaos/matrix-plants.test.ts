/** Bugs that the matrix plants still have their place in the source: one that is not planted would be called caught by chance only. */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { PLANTS, type PlantName } from "../../chaos/driver/plant.ts";

test.each(Object.keys(PLANTS) as PlantName[])("what the planted %s replaces stands in its file once", (name) => {
  const { file, find } = PLANTS[name];
  expect(readFileSync(new URL(`../../${file}`, import.meta.url), "utf8").split(find)).toHaveLength(2);
});
