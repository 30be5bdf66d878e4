/** What is under way, by tokens. */
import { expect, test } from "vitest";
import { Seats } from "../../services/jetstream/seats.ts";

test("a token finds its own value, and nothing once that is taken, although its seat has another one", () => {
  const seats = new Seats<string>();
  const [first, second] = [seats.add("first"), seats.add("second")];
  expect([seats.get(first), seats.take(second), seats.take(second)]).toEqual(["first", "second", undefined]);
  const third = seats.add("third");
  expect(third.split("-")[0]).toBe(second.split("-")[0]);
  expect([seats.get(second), seats.get(third), seats.size]).toEqual([undefined, "third", 2]);
  expect(seats.entries()).toEqual([
    [first, "first"],
    [third, "third"],
  ]);
});

test("a token that is none of ours finds nothing", () => {
  const seats = new Seats<string>();
  seats.add("only");
  for (const token of ["", "0", "0-", "-1", "0-2", "1-1", "x-1", "0-1.5", "__proto__-1"])
    expect(seats.get(token), token).toBe(undefined);
});
