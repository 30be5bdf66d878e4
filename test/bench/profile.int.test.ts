/** The profile in its small size, so that it cannot rot: figures of all three processes, and functions of ours among those that are named. */
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { beforeEach, expect, test } from "vitest";
import { skipWithoutNats } from "../support/nats.ts";

beforeEach(skipWithoutNats);

const MAIN = join(import.meta.dirname, "profile/main.ts");
const profile = (...args: string[]) =>
  spawnSync(process.execPath, [MAIN, ...args], { encoding: "utf8", timeout: 50_000 });

interface Side {
  readonly perItem: number;
  readonly areas: readonly { readonly name: string; readonly perItem: number; readonly share: number }[];
}

test("a small profile says what each process takes for an item, and which of our code takes it", () => {
  const { stdout, stderr, status } = profile("--items", "1500", "--runs", "1", "--json");
  expect(status, stderr).toBe(0);
  const { results } = JSON.parse(stdout) as { results: Record<string, unknown>[] };
  const [result = {}] = results;
  const { here } = result["figures"] as Record<string, { itemsPerSecond: number; cpuUsPerItem: object }>;
  expect(here?.itemsPerSecond).toBeGreaterThan(0);
  expect(Object.keys(here?.cpuUsPerItem ?? {})).toEqual(["dispatcher", "client", "natsServer"]);
  for (const kind of ["cpu", "heap"])
    for (const [side, area] of [
      ["dispatcher", "services/core"],
      ["client", "services/client"],
    ] as const) {
      const { areas, perItem } = (result[kind] as Record<string, Side>)[side] as Side;
      expect(areas.map(({ name }) => name)).toContain(area);
      expect(areas.reduce((sum, line) => sum + line.perItem, 0)).toBeCloseTo(perItem);
    }
});

test("an option that is wrong is refused by name, with what may be said instead", () => {
  const { stderr, status } = profile("--scenarios", "batches,raw", "--items", "0");
  expect(status).toBe(2);
  expect(stderr).toMatch(/invalid_options: --scenarios.*batches.*\n--items: .*\n {2}--scenarios: what is driven/);
  expect(profile("--item", "5").stderr).toMatch(/invalid_options: Unknown option '--item'/);
});
