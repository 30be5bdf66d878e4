/** One process under the drills' hand: orders that follow one another closely, as faults give them. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { DrillProcess } from "../../chaos/driver/drill-process.ts";

/** Says at once that it lives, and that it serves unless it is told to be mute. */
const SCRIPT = `console.log("lives"); if (process.argv[2] !== "mute") console.log("serves"); setInterval(() => {}, 1000);`;
const BOUND_MS = 10_000;

/** `muteLives`: lives that never come to serve. */
function drillProcess(...muteLives: readonly number[]) {
  const folder = mkdtempSync(join(tmpdir(), "omnirelay-test-"));
  const script = join(folder, "script.cjs");
  writeFileSync(script, SCRIPT);
  const unordered: string[] = [];
  const process = new DrillProcess({
    name: "p1",
    script,
    argsOf: (life) => (muteLives.includes(life) ? ["mute"] : []),
    readyText: "serves",
    logFile: join(folder, "log"),
    onUnordered: (what) => unordered.push(what),
  });
  onTestFinished(async () => {
    await process.close();
    rmSync(folder, { recursive: true });
  });
  return { process, unordered };
}

test("a start that a kill ends resolves, and the next start brings up a new life, however soon it follows", async () => {
  const turnsMax = 12;
  const muteLives = Array.from({ length: turnsMax }, (_, index) => 1 + 2 * index);
  const { process, unordered } = drillProcess(...muteLives);
  for (let turns = 0; turns < turnsMax; turns += 1) {
    const killed = process.start();
    await process.written(/lives/, BOUND_MS);
    expect(await process.kill()).toEqual({ code: null, signal: "SIGKILL" });
    for (let turn = 0; turn < turns; turn += 1) await Promise.resolve();
    await process.start();
    expect([process.isRunning, process.lives]).toEqual([true, 2 * (turns + 1)]);
    await killed;
    await process.kill();
  }
  expect(unordered).toEqual([]);
});

test("a start while the process is being ended waits for its end, and that end counts as ordered", async () => {
  const { process, unordered } = drillProcess();
  for (const end of [() => process.kill(), () => process.stop(BOUND_MS), () => process.dismiss({}, 1)]) {
    await process.start();
    const { pid, lives } = process;
    const [, ended] = await Promise.all([process.start(), end(), process.start()]);
    expect(ended).not.toBeUndefined();
    expect([process.isRunning, process.lives, process.pid === pid]).toEqual([true, lives + 1, false]);
  }
  expect(unordered).toEqual([]);
});

test("a kill behind a start that waits for an end takes that start back", async () => {
  const { process } = drillProcess();
  await process.start();
  await Promise.all([process.kill(), process.start(), process.kill()]);
  expect([process.isRunning, process.lives]).toEqual([false, 1]);
});

test("an end that nobody ordered is told, and the process is started again", async () => {
  const { process, unordered } = drillProcess();
  await process.start();
  const isBack = process.written(/serves/, BOUND_MS);
  process.signal("SIGKILL");
  await isBack;
  expect([process.isRunning, process.lives, unordered]).toEqual([
    true,
    2,
    ["p1 ended by itself: code null, signal SIGKILL"],
  ]);
});
