/** Marks of types: a set that keeps its table. */
import { expect, test } from "vitest";
import { TypeMarks } from "../../services/core/type-marks.ts";

test("has what was marked and not unmarked, each once, and what is marked while it is read", () => {
  const marks = new TypeMarks();
  for (const name of ["a", "b", "a", "c"]) marks.add(name);
  marks.delete("b");
  marks.delete("never");
  expect([[...marks], marks.size]).toEqual([["a", "c"], 2]);
  const read: string[] = [];
  for (const name of marks) {
    read.push(name);
    if (name === "a") marks.add("d");
  }
  expect(read).toEqual(["a", "c", "d"]);
  marks.clear();
  expect([[...marks], marks.size]).toEqual([[], 0]);
});

test("forgets names that are no longer marked, and none that is, however many", () => {
  const marks = new TypeMarks();
  const names = Array.from({ length: 30_000 }, (_, index) => `type-${index}`);
  for (const name of names) marks.add(name);
  expect(marks.size).toBe(30_000);
  for (const name of names.slice(1)) marks.delete(name);
  for (let index = 0; index < 30_000; index += 1) {
    marks.add(`other-${index}`);
    marks.delete(`other-${index}`);
  }
  expect([...marks]).toEqual(["type-0"]);
});
