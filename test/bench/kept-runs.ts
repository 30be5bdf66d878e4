/** Raw results for tests: as short as a test can say them. */
import type { KeptRun } from "./merge.ts";
import type { Results, Row } from "./results.ts";

/** A row of S5 D2 with the value of each of its rounds. */
export const row = (peer: string, values: readonly number[], more: Partial<Row> = {}): Row => ({
  ...{ scenario: "S5", case: "", durability: "D2", peer, doubles: 0 },
  runs: values.map((value) => ({ value })),
  ...more,
});

/** The same value in five rounds: enough to be told without a mark. */
export const five = (value: number): readonly number[] => Array.from({ length: 5 }, () => value);

export const results = (...rows: Row[]): Results => ({
  ...{ format: 1, date: "2026-01-01T00:00:00.000Z", size: "full", seed: 1, placement: "pinned" },
  machine: { cpu: "c", cores: 2, memoryGiB: 8, node: "v24", commit: "abc", fsyncMs: 0.2 },
  ...{ peers: {}, rows, notRun: [], syncs: [], probes: [] },
});

export const kept = (...rows: Row[]): KeptRun => ({ name: "first.json", results: results(...rows) });

/** A run of that day of January and of a commit of its own. */
export const keptOn = (day: number, rows: readonly Row[], more: Partial<Results> = {}): KeptRun => ({
  name: `${day}.json`,
  results: {
    ...results(...rows),
    date: `2026-01-0${day}T00:00:00.000Z`,
    machine: { ...results().machine, commit: `commit${day}` },
    ...more,
  },
});
