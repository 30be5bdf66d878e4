/** The generator behind every seed of a drill and of a generated log: a seed that was written down must draw the same again. */
import { expect, test } from "vitest";
import { seededNumbers } from "../../services/runtime/seeded-numbers.ts";

test("a seed draws the same numbers in every release", () => {
  const next = seededNumbers(7);
  expect([next(), next(), next(), next()]).toEqual([50271532, 266108690, 4195786334, 3002305430]);
});
