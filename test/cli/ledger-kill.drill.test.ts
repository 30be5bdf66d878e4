/** An export that is killed leaves no file of its name behind, at whatever moment, and the next one is whole. Fault: SIGKILL of the command. */
import { existsSync, mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { watch } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, onTestFinished, test } from "vitest";
import { ShardWorld } from "../core/shard-world.ts";
import { failOnLeakedServers, skipWithoutNats } from "../support/nats.ts";
import { startCli } from "./cli-process.ts";
import { StoredLog } from "./stored-log.ts";

beforeEach(skipWithoutNats);
afterEach(failOnLeakedServers);

const FRAMES = 1_500;
/** Bytes that are on the disk when the command is killed: nothing yet, the room for the header, a part, and another part. */
const KILLS = [0, 1_000, 500_000, 5_000_000];

test("a killed export leaves nothing of its name, and the next one is whole", async () => {
  const world = new ShardWorld({ at: 1_700_000_000_000 });
  for (let index = 0; index < FRAMES; index += 1) world.seed(1, { body: `${index} ${"x".repeat(6_000)}` });
  const log = await StoredLog.create(onTestFinished, world.frames);
  const folder = mkdtempSync(join(tmpdir(), "omnirelay-ledger-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const out = join(folder, "export.jsonl");
  const args = ["ledger", "export", "--out", out, "--nats-url", log.url];
  for (const bytes of KILLS) {
    rmSync(`${out}.partial`, { force: true });
    const stop = new AbortController();
    const changes = watch(folder, { signal: stop.signal });
    const { child, ended } = startCli(args, onTestFinished);
    for await (const _change of changes)
      if (existsSync(`${out}.partial`) && statSync(`${out}.partial`).size >= bytes) break;
    child.kill("SIGKILL");
    expect(await ended).toMatchObject({ signal: "SIGKILL" });
    expect(readdirSync(folder)).toEqual(["export.jsonl.partial"]);
  }
  expect(await startCli(args, onTestFinished).ended).toMatchObject({ code: 0, notes: "" });
  expect(readdirSync(folder)).toEqual(["export.jsonl"]);
  const verified = await log.ask("ledger", "verify", "--file", out, "--strict", "--json");
  expect(JSON.parse(verified.out)).toMatchObject({ ok: true, frames: world.frames.length });
});
