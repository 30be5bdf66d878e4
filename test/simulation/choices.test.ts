/** Draws that depend on nothing but seed, name and index. */
import { expect, test } from "vitest";
import { Choices } from "./choices.ts";

test("the draws of a name do not depend on how often others were drawn", () => {
  const [left, right] = [new Choices(7), new Choices(7)];
  const other = right.draws("other");
  for (let count = 0; count < 10; count += 1) other.next();
  const sequence = (choices: Choices): number[] => {
    const draws = choices.draws("mine");
    return Array.from({ length: 5 }, () => draws.next());
  };
  expect(sequence(left)).toEqual(sequence(right));
});

test("seeds and names give other draws, spread over the whole range", () => {
  expect(new Choices(1).draws("a").next()).not.toBe(new Choices(2).draws("a").next());
  expect(new Choices(1).draws("a").next()).not.toBe(new Choices(1).draws("b").next());
  const draws = new Choices(3).draws("many");
  const buckets = new Array<number>(10).fill(0);
  for (let count = 0; count < 10_000; count += 1) {
    const bucket = draws.below(10);
    buckets[bucket] = (buckets[bucket] as number) + 1;
  }
  expect(Math.min(...buckets)).toBeGreaterThan(850);
  expect(Math.max(...buckets)).toBeLessThan(1_150);
});

test("an overridden event is boring, and only what was not boring is remembered", () => {
  const made = (overrides = {}): string[] => {
    const choices = new Choices(5, overrides);
    for (let index = 0; index < 100; index += 1) choices.event("fault", index, 0.1);
    return choices.made;
  };
  const before = made();
  expect(before.length).toBeGreaterThan(2);
  const [first] = before;
  expect(made({ [first as string]: 0 })).toEqual(before.slice(1));
});
