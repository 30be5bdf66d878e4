/** The stores of the mesh in the simulation: what they have committed survives a power cut, because they are opened as the processes open them. */
import { expect, test } from "vitest";
import { emptyFiles, FenceFile, StoreFile } from "./sim-files.ts";

test("a value that was put is there behind a power cut, and in its own file alone", () => {
  emptyFiles();
  const [mine, other] = [new StoreFile("a"), new StoreFile("b")];
  mine.put("key", "1");
  mine.put("key", "2");
  expect(mine.cut(0)).toEqual([]);
  expect([mine.get("key"), other.get("key")]).toEqual(["2", undefined]);
});

test("a fence and an effect are there behind a power cut", () => {
  emptyFiles();
  const file = new FenceFile("shard");
  expect(file.write("key", 7, "effect")).toBe("applied");
  file.cut(0);
  expect([file.write("key", 6, ""), file.write("key", 7, "effect")]).toEqual(["rejected", "duplicate"]);
  expect(file.hasEffect("effect")).toBe(true);
});

test("nothing of one run is there in the next", () => {
  new StoreFile("a").put("key", "1");
  new FenceFile("shard").write("key", 7, "effect");
  emptyFiles();
  expect(new StoreFile("a").get("key")).toBeUndefined();
  expect(new FenceFile("shard").write("key", 1, "effect")).toBe("applied");
});
