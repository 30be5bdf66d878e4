/** When a client leaves a server over which nobody answers. */
import { expect, test } from "vitest";
import { Deafness } from "../../services/client/deafness.ts";

/** Asks once a second without an answer, and tells after how many seconds the server was left. */
function leavings(deafness: (onDeaf: () => void) => Deafness, seconds: number): readonly number[] {
  const left: number[] = [];
  let second = 0;
  const watched = deafness(() => left.push(second));
  for (; second < seconds; second += 1) watched.unanswered(second * 1_000);
  return left;
}

test("a server is left after four seconds, and then each time after twice as long: it may not be the server", () => {
  expect(leavings((onDeaf) => new Deafness(onDeaf), 35)).toEqual([4, 13, 30]);
});

test("an answer begins anew", () => {
  let count = 0;
  const deafness = new Deafness(() => {
    count += 1;
  });
  for (const second of [0, 1, 2, 3]) deafness.unanswered(second * 1_000);
  deafness.heard();
  for (const second of [4, 5, 6, 7]) deafness.unanswered(second * 1_000);
  expect(count).toBe(0);
  deafness.unanswered(8_000);
  expect(count).toBe(1);
});
