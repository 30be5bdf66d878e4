/** The simulation itself: thousands of seeds without a violation, every rare path met, every planted bug found, the same twice. */
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { PLANTS } from "./plants.ts";

const MAIN = fileURLToPath(new URL("main.ts", import.meta.url));
/** Fewer seeds do not meet every coverage point. CI runs as many behind those of this test. */
const COVERING_SEEDS = 3_000;
const SEEDS = process.env["SIM_SEEDS"] ?? "1000";
const IS_FULL = process.env["SIM_PLANTS"] === "all";
/** Bugs of several kinds that few seeds show. */
const QUICK = [
  "reply_before_ack",
  "append_without_expectation",
  "snapshot_mislabelled",
  "expiry_not_charged",
  "granted_while_paused",
  "commits_stay_in_memory",
  "completed_before_its_effect",
  "alarm_of_a_former_leader_stays",
  "free_failure_charged",
  "priority_lost_in_a_snapshot",
  "redrive_keeps_charged",
  "purge_leaves_its_partition_halted",
];

interface Ended {
  readonly code: number;
  readonly output: string;
}

function simulate(...args: readonly string[]): Promise<Ended> {
  return new Promise((resolve) => {
    execFile(process.execPath, [MAIN, ...args], { maxBuffer: 64 * 1024 * 1024 }, (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : Number(error.code), output: `${stdout}${stderr}` }),
    );
  });
}

test(`${SEEDS} seeds of random faults break no invariant, and ${COVERING_SEEDS} meet every coverage point`, async () => {
  const isCovering = Number(SEEDS) >= COVERING_SEEDS;
  const { code, output } = await simulate("--seeds", SEEDS, ...(isCovering ? ["--check-coverage"] : []));
  expect(code, output).toBe(0);
}, 900_000);

test("a seed that is run twice does the same", async () => {
  const { code, output } = await simulate("--seeds", "40", "--check-determinism", "--no-shrink");
  expect(code, output).toBe(0);
}, 120_000);

test("servers that do not sync what they acknowledge lose it when they lose their power one at a time, and that is noticed", async () => {
  const { code, output } = await simulate("--profile", "unsynced", "--seeds", "200", "--json");
  expect(code, output).toBe(1);
  const { failures } = JSON.parse(output.split("\n")[0] ?? "") as { failures: { invariant: string }[] };
  expect(new Set(failures.map(({ invariant }) => invariant))).toEqual(new Set(["L3"]));
}, 120_000);

test("planted bugs are found", async () => {
  const names = IS_FULL ? PLANTS.map(({ name }) => name) : QUICK;
  const { code, output } = await simulate("--plant", names.join(","), "--seeds", "2000");
  expect(code, output).toBe(0);
  expect(output.match(/^found /gm)).toHaveLength(names.length);
}, 1_800_000);

test("an impossible order is refused with its reason and without a trace", async () => {
  const orders = [
    ["--seeds", "0"],
    ["--seeds", "abc"],
    ["--first", "9007199254740993"],
    ["--first", "4294967295", "--seeds", "2"],
    ["--profile", "huge"],
    ["--plant", "unknown"],
    ["--wrong"],
    ["--replay", fileURLToPath(new URL("no-such-file.json", import.meta.url))],
    ["--replay", fileURLToPath(new URL("../../package.json", import.meta.url))],
  ];
  for (const args of orders) {
    const { code, output } = await simulate(...args);
    expect(code, output).toBe(2);
    expect(output).toMatch(/must be|no plant|Unknown option|cannot be read|is no saved run/);
    expect(output).not.toMatch(/^ {4}at /m);
  }
}, 60_000);
