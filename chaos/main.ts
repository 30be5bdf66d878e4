/** `npm run chaos`: runs one drill against real processes and prints what it measured. */
import { randomInt } from "node:crypto";
import { parseArgs } from "node:util";
import type { Drill } from "./drill.ts";
import { leaderKilled } from "./drills/leader-killed.ts";
import { leaderPaused } from "./drills/leader-paused.ts";
import { natsLeaderKilled } from "./drills/nats-leader-killed.ts";
import { plannedHandover } from "./drills/planned-handover.ts";

const REPEATS_MAX = 1_000;
const SEED_MAX = 2 ** 32 - 1;
const drills: Readonly<Record<string, Drill>> = {
  "leader-killed": leaderKilled,
  "leader-paused": leaderPaused,
  "nats-leader-killed": natsLeaderKilled,
  "planned-handover": plannedHandover,
};

const { values } = parseArgs({
  options: {
    drill: { type: "string", default: "leader-killed" },
    repeats: { type: "string", default: "10" },
    seed: { type: "string", default: String(randomInt(SEED_MAX)) },
  },
});
const drill = Object.hasOwn(drills, values.drill) ? drills[values.drill] : undefined;
const [repeats, seed] = [Number(values.repeats), Number(values.seed)];
const isWithin = (value: number, min: number, max: number): boolean =>
  Number.isSafeInteger(value) && value >= min && value <= max;
if (drill === undefined || !isWithin(repeats, 1, REPEATS_MAX) || !isWithin(seed, 0, SEED_MAX)) {
  const names = Object.keys(drills).join("|");
  process.stderr.write(
    `usage: npm run chaos -- --drill ${names} --repeats 1..${REPEATS_MAX} [--seed 0..${SEED_MAX}]\n`,
  );
  process.exit(2);
}
process.stderr.write(`seed ${seed}\n`);
const report = await drill({ repeats, seed, report: (line) => process.stderr.write(`${line}\n`) });
process.stdout.write(`${JSON.stringify({ drill: values.drill, seed, ...report })}\n`);
for (const problem of report.problems) process.stderr.write(`${problem}\n`);
process.exitCode = report.problems.length === 0 ? 0 : 1;
