/** The recovery benchmark in a tiny size, so that it cannot rot: it compares the state hashes itself and fails when they differ. */
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { beforeEach, expect, test } from "vitest";
import { skipWithoutNats } from "../support/nats.ts";

beforeEach(skipWithoutNats);

test.each(["life", "pending"])(
  "a log of the mix %s gives the same state by its snapshot and from its beginning",
  (mix) => {
    const args = [join(import.meta.dirname, "recovery.ts"), "--events", "3000", "--runs", "1", "--mix", mix, "--json"];
    const output = execFileSync(process.execPath, args, { encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] });
    const result = JSON.parse(output) as Record<string, Record<string, number>>;
    expect(result["replayEventsPerSecond"]).toBeGreaterThan(0);
    for (const name of ["replayMs", "loadMs", "restoreMs", "coldStartMs", "nodeStartMs", "modulesMs"])
      expect(result["median"]?.[name], name).toBeGreaterThan(0);
    const { sequence = 0, pending, active, deadLettered, records } = result["log"] ?? {};
    expect(result["snapshot"]?.["sequence"]).toBeLessThan(sequence);
    if (mix === "pending") expect([sequence, pending]).toEqual([3_002, 3_000]);
    else for (const count of [pending, active, deadLettered, records]) expect(count).toBeGreaterThan(0);
  },
);
