/** `npm run chaos`: runs one drill against real processes and prints what it measured. Exit code 0: its promise was kept; 1: it was not, or nothing was shown; 2: wrong usage. */
import { randomInt } from "node:crypto";
import { accessSync, constants } from "node:fs";
import { tmpdir } from "node:os";
import { parseArgs } from "node:util";
import { endWhenUnread } from "./at-end.ts";
import { type Drill, SEED_MAX } from "./drill.ts";
import { bitFlip } from "./drills/bit-flip.ts";
import { containerKilled, containerPaused, networkCut } from "./drills/containers.ts";
import { diskFull } from "./drills/disk-full.ts";
import { fsyncError } from "./drills/fsync-error.ts";
import { leaderKilled } from "./drills/leader-killed.ts";
import { leaderPaused } from "./drills/leader-paused.ts";
import { matrix, matrixText, readMatrixFlags } from "./drills/matrix.ts";
import { natsLeaderKilled } from "./drills/nats-leader-killed.ts";
import { plannedHandover } from "./drills/planned-handover.ts";
import { powerCut } from "./drills/power-cut.ts";

const REPEATS_MAX = 1_000;
const REPEATS_DEFAULT = "10";
const MATRIX = "matrix";
const drills: Readonly<Record<string, Drill>> = {
  "leader-killed": leaderKilled,
  "leader-paused": leaderPaused,
  "nats-leader-killed": natsLeaderKilled,
  "planned-handover": plannedHandover,
  "power-cut": powerCut,
  "bit-flip": bitFlip,
  "disk-full": diskFull,
  "fsync-error": fsyncError,
  "container-killed": containerKilled,
  "container-paused": containerPaused,
  "network-cut": networkCut,
};
const names = [MATRIX, ...Object.keys(drills)];
const USAGE = `usage: npm run chaos -- --drill matrix [--seed 0..${SEED_MAX}] [--faults KIND[+KIND],…] [--seconds N] [--runs N] [--long]
                       [--evidence FOLDER] [--plant BUG] [--json]
       npm run chaos -- --drill ${Object.keys(drills).join("|")} [--repeats 1..${REPEATS_MAX}] [--seed 0..${SEED_MAX}]
`;

const report = (line: string): void => void process.stderr.write(`${line}\n`);

function refuse(problems: readonly string[]): never {
  process.stderr.write(`${problems.map((problem) => `${problem}\n`).join("")}${USAGE}`);
  process.exit(2);
}

function readFlags() {
  try {
    return parseArgs({
      options: {
        drill: { type: "string" },
        seed: { type: "string", default: String(randomInt(SEED_MAX)) },
        repeats: { type: "string" },
        faults: { type: "string" },
        seconds: { type: "string" },
        runs: { type: "string" },
        evidence: { type: "string" },
        plant: { type: "string" },
        long: { type: "boolean" },
        json: { type: "boolean" },
      },
    }).values;
  } catch (error) {
    return refuse([error instanceof Error ? error.message : String(error)]);
  }
}
type Flags = ReturnType<typeof readFlags>;

async function runMatrix(flags: Flags): Promise<readonly string[]> {
  if (flags.repeats !== undefined) refuse(["--repeats is not for the matrix, which has --runs"]);
  const request = readMatrixFlags(flags);
  if ("problems" in request) refuse(request.problems);
  const result = await matrix(request, report);
  process.stdout.write(flags.json === true ? `${JSON.stringify({ drill: MATRIX, ...result })}\n` : matrixText(result));
  return result.problems;
}

async function runDrill(name: string, drill: Drill, flags: Flags): Promise<readonly string[]> {
  const foreign = (["faults", "seconds", "runs", "evidence", "plant", "long"] as const).filter(
    (flag) => flags[flag] !== undefined,
  );
  if (foreign.length > 0) refuse(foreign.map((flag) => `--${flag} is for the matrix only`));
  const [repeats, seed] = [Number(flags.repeats ?? REPEATS_DEFAULT), Number(flags.seed)];
  const isWithin = (value: number, min: number, max: number): boolean =>
    Number.isSafeInteger(value) && value >= min && value <= max;
  if (!isWithin(repeats, 1, REPEATS_MAX))
    refuse([`--repeats: ${flags.repeats} is not a whole number from 1 to ${REPEATS_MAX}`]);
  if (!isWithin(seed, 0, SEED_MAX)) refuse([`--seed: ${flags.seed} is not a whole number from 0 to ${SEED_MAX}`]);
  report(`seed ${seed}`);
  const result = await drill({ repeats, seed, report });
  process.stdout.write(`${JSON.stringify({ drill: name, seed, ...result })}\n`);
  return result.problems;
}

function checkTemporaryFolder(): void {
  try {
    accessSync(tmpdir(), constants.W_OK | constants.X_OK);
  } catch (error) {
    refuse([
      `the folder for temporary files (TMPDIR) cannot be used: ${error instanceof Error ? error.message : error}`,
    ]);
  }
}

endWhenUnread();
const flags = readFlags();
const name = flags.drill ?? "";
const drill = Object.hasOwn(drills, name) ? drills[name] : undefined;
if (name !== MATRIX && drill === undefined)
  refuse([`--drill: there is no drill "${name}"; there are ${names.join(", ")}`]);
checkTemporaryFolder();
const problems = drill === undefined ? await runMatrix(flags) : await runDrill(name, drill, flags);
for (const problem of problems) report(problem);
process.exitCode = problems.length === 0 ? 0 : 1;
