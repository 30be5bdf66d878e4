/** What the command writes for people, whatever it has to show. */
import { expect, test } from "vitest";
import { timeText } from "../../services/cli/terminal.ts";

test("shows a time, and the number itself of one that no calendar has", () => {
  expect(timeText(0)).toBe("1970-01-01T00:00:00.000Z");
  expect(timeText(undefined)).toBe("");
  expect(timeText(8.64e15 + 1)).toBe("8640000000000001 ms");
});
