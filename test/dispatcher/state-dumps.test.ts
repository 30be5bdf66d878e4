/** The states that halted nodes leave behind: for the dispatcher's own user alone, and never so many that they fill the disk. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import type { Reporter } from "../../contracts/ports.ts";
import { dumpText } from "../../services/core/dump-text.ts";
import type { ShardState } from "../../services/core/state.ts";
import { StateDumps } from "../../services/dispatcher/state-dumps.ts";
import { ShardWorld } from "../core/shard-world.ts";

const PLACE = { region: "local", shard: "default" };
const HALT = { code: "state_diverged", message: "the state differs" } as const;

function folder(): string {
  const path = mkdtempSync(join(tmpdir(), "omnirelay-dumps-"));
  onTestFinished(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

function told(): { readonly reporter: Reporter; readonly events: string[] } {
  const events: string[] = [];
  const take = (event: string): void => void events.push(event);
  return { reporter: { info: take, warn: take, error: take }, events };
}

function stateOf(items: number): ShardState {
  const world = new ShardWorld();
  world.seed(items);
  return world.state;
}

const modeOf = (path: string): string => (statSync(path).mode & 0o777).toString(8);

test("the dump of a halted node is whole, and nobody but its user may read it or look into its folder", async () => {
  const dataDir = folder();
  // What items hold may be anybody's: the most generous mask must not open it.
  const mask = process.umask(0);
  onTestFinished(() => void process.umask(mask));
  const dumps = new StateDumps(dataDir);
  const { reporter, events } = told();
  const state = stateOf(3);
  dumps.write(PLACE, HALT, state, reporter);
  await dumps.settled();
  const path = join(dataDir, "dumps", `local.default.${String(state.sequence).padStart(20, "0")}.state_diverged.jsonl`);
  expect(readFileSync(path, "utf8")).toBe([...dumpText(state)].join(""));
  expect([modeOf(path), modeOf(join(dataDir, "dumps"))]).toEqual(["600", "700"]);
  expect(events).toEqual(["state_dumped"]);
});

test("the three newest of a shard are kept, what an earlier process left unfinished goes, and other shards' stay", async () => {
  const dataDir = folder();
  mkdirSync(join(dataDir, "dumps"));
  for (const name of ["local.default.7.log_gap.jsonl.partial", "local.other.7.log_gap.jsonl"])
    writeFileSync(join(dataDir, "dumps", name), "");
  const dumps = new StateDumps(dataDir);
  const { reporter } = told();
  const states = [1, 2, 3, 4].map(stateOf);
  for (const state of states) {
    dumps.write(PLACE, HALT, state, reporter);
    await dumps.settled();
  }
  const names = states.slice(1).map(({ sequence }) => `local.default.${String(sequence).padStart(20, "0")}`);
  expect(readdirSync(join(dataDir, "dumps")).sort()).toEqual([
    ...names.map((name) => `${name}.state_diverged.jsonl`),
    "local.other.7.log_gap.jsonl",
  ]);
});

test("a dump that cannot be written is told, and nothing else happens", async () => {
  const dataDir = folder();
  writeFileSync(join(dataDir, "dumps"), "no folder");
  const dumps = new StateDumps(dataDir);
  const { reporter, events } = told();
  dumps.write(PLACE, HALT, stateOf(1), reporter);
  await dumps.settled();
  expect(events).toEqual(["dump_failed"]);
});
