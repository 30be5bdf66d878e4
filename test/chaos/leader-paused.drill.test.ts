/** One short round of the drill in which the leader stands still and goes on: its promise, and that its figures say something. */
import { beforeEach, expect, test } from "vitest";
import { leaderPaused } from "../../chaos/drills/leader-paused.ts";
import { skipWithoutNats } from "../support/nats.ts";

const DRILL_MS = 120_000;

beforeEach(skipWithoutNats);

test(
  "a leader that stood still answers ok to nothing that is not in the log, refuses nothing for good and ends no lease early",
  async () => {
    const lines: string[] = [];
    const times = { pausedMs: 4_000, leaseMs: 5_000 };
    const report = await leaderPaused({ repeats: 1, seed: 7, report: (line) => lines.push(line) }, times);
    console.log(lines.join("\n"));
    expect(report).toMatchObject({ okNotInLog: 0, definiteRefusals: 0, expiredEarly: 0, lost: 0, doubled: 0 });
    expect(report.problems).toEqual([]);
    expect(report.expired).toBe(10);
    expect(report.retryableRefusals).toBeGreaterThan(0);
    expect(report.acknowledged).toBeGreaterThan(100);
  },
  DRILL_MS,
);
