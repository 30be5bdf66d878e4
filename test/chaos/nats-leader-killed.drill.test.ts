/** One round of the drill in which the NATS server that leads the stream is killed: its promise, and that its figures add up. */
import { beforeEach, expect, test } from "vitest";
import { natsLeaderKilled } from "../../chaos/drills/nats-leader-killed.ts";
import { skipWithoutNats } from "../support/nats.ts";

/** An election takes 4 to 9 s; starting, settling and catching up as long again. ms. */
const DRILL_MS = 120_000;

beforeEach(skipWithoutNats);

test(
  "a shard recovers by itself when the NATS server that leads its stream is killed, and nothing acknowledged is lost",
  async () => {
    const lines: string[] = [];
    const report = await natsLeaderKilled({ repeats: 1, seed: 7, report: (line) => lines.push(line) });
    expect(report).toMatchObject({ lost: 0, doubled: 0, problems: [] });
    expect(report.replicas).toEqual(Array(3).fill(expect.stringMatching(/^n[123] equal$/)));
    expect(report.messages).toBeGreaterThan(100);
    expect(report.runs).toHaveLength(1);
    expect(lines).toHaveLength(1);
  },
  DRILL_MS,
);
