/** `npm run chaos`: runs one drill against real processes and prints what it measured. */
import { parseArgs } from "node:util";
import { leaderKilled } from "./drills/leader-killed.ts";

const REPEATS_MAX = 1_000;
const drills = { "leader-killed": leaderKilled } as const;

const { values } = parseArgs({
  options: { drill: { type: "string", default: "leader-killed" }, repeats: { type: "string", default: "10" } },
});
const drill = Object.hasOwn(drills, values.drill) ? drills[values.drill as keyof typeof drills] : undefined;
const repeats = Number(values.repeats);
if (drill === undefined || !Number.isSafeInteger(repeats) || repeats < 1 || repeats > REPEATS_MAX) {
  process.stderr.write(
    `usage: npm run chaos -- --drill ${Object.keys(drills).join("|")} --repeats 1..${REPEATS_MAX}\n`,
  );
  process.exit(2);
}
const report = await drill(repeats, (line) => process.stderr.write(`${line}\n`));
process.stdout.write(`${JSON.stringify({ drill: values.drill, ...report })}\n`);
process.exitCode = report.lost === 0 && report.doubled === 0 ? 0 : 1;
