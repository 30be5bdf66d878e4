/** The benchmark in its small size, so that it cannot rot: it checks ids itself and fails when an item is lost or doubled. */
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { beforeEach, expect, test } from "vitest";
import { skipWithoutNats } from "../support/nats.ts";

beforeEach(skipWithoutNats);

test("the small benchmark completes every item and reports medians and ratios with its machine", () => {
  const output = execFileSync(process.execPath, [join(import.meta.dirname, "main.ts"), "--small", "--json"], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
  });
  const result = JSON.parse(output) as Record<string, Record<string, unknown>>;
  expect(result["machine"]).toMatchObject({ node: process.version, natsServer: expect.stringMatching(/^\d+\.\d+/) });
  for (const sync of ["always", "lazy"])
    for (const scenario of ["rawQueue", "batch100", "singles", "rawRequests"]) {
      const { median, ratioToRawQueue } = result[sync] as Record<string, Record<string, number>>;
      expect(median?.[scenario]).toBeGreaterThan(0);
      expect(ratioToRawQueue?.[scenario]).toBeGreaterThan(0);
    }
});
