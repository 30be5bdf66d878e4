/** Two rounds of the drill in which leadership is handed over on purpose, one by request and one by SIGTERM. */
import { beforeEach, expect, test } from "vitest";
import { plannedHandover } from "../../chaos/drills/planned-handover.ts";
import { skipWithoutNats } from "../support/nats.ts";

const DRILL_MS = 120_000;
/** The promise is 200 ms; on a machine that is busy with other tests a process alone may stand still for longer. ms. */
const GAP_MS_MAX = 2_000;

beforeEach(skipWithoutNats);

test(
  "a planned handover, by request or by SIGTERM, shows no error through the SDK, loses nothing and doubles nothing",
  async () => {
    const lines: string[] = [];
    const report = await plannedHandover({ repeats: 2, seed: 7, report: (line) => lines.push(line) });
    console.log(lines.join("\n"));
    expect(report).toMatchObject({ errors: 0, lost: 0, doubled: 0, problems: [] });
    expect(report.runs.map(({ by }) => by)).toEqual(["request", "SIGTERM"]);
    expect(report.completed).toBe(report.acknowledged);
    expect(report.acknowledged).toBeGreaterThan(100);
    expect(report.worstGapMs).toBeLessThan(GAP_MS_MAX);
  },
  DRILL_MS,
);
