/** `omnirelay ingest delta` interrupted and killed: nothing is left running, and the next run goes on. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import Database from "better-sqlite3";
import { afterAll, describe, expect, test } from "vitest";
import { temporaryFolder } from "../catalog/delta-folder.ts";
import { failOnLeakedSuiteServers, natsAvailability } from "../support/nats.ts";
import type { Cleanup } from "../support/process.ts";
import { type CliProcess, startCli } from "./cli-process.ts";
import { ingestInput } from "./golden-tables.ts";

const nats = await natsAvailability();
const skipNote = nats.available ? "" : `, skipped: ${nats.reason}`;
const input = ingestInput();

afterAll(failOnLeakedSuiteServers);

/** A run as a process, with a NATS server and a dispatcher of its own. */
const ingest = (end: Cleanup, folder: string, ...args: readonly string[]): CliProcess =>
  startCli(["ingest", "delta", folder, ...args], end);

/** Resolves as soon as the catalog in a data folder has taken this many commits. */
async function commitsApplied(folder: string, count: number): Promise<void> {
  const file = join(folder, "catalog.sqlite");
  const applied = (): number => {
    if (!existsSync(file)) return 0;
    const db = new Database(file, { readonly: true });
    try {
      const isMade = db.prepare("SELECT 1 FROM sqlite_schema WHERE name = 'catalog_table'").get() !== undefined;
      return isMade
        ? (db.prepare<[], number>("SELECT coalesce(sum(version + 1), 0) FROM catalog_table").pluck().get() ?? 0)
        : 0;
    } finally {
      db.close();
    }
  };
  await expect.poll(applied, { timeout: 30_000, interval: 2 }).toBeGreaterThanOrEqual(count);
}

describe.skipIf(!nats.available)(`ingest delta${skipNote}`, { concurrent: true }, () => {
  test("an interrupted run says so, and the next one goes on", async ({ onTestFinished }) => {
    const folder = temporaryFolder(onTestFinished);
    const run = ingest(onTestFinished, input.folder, "--data-dir", folder, "--json");
    await commitsApplied(folder, 1);
    run.child.kill("SIGINT");
    expect(await run.ended).toMatchObject({
      code: 130,
      out: "",
      notes: expect.stringContaining("interrupted; run it again"),
    });
    const { out } = await ingest(onTestFinished, input.folder, "--data-dir", folder, "--json").ended;
    expect(JSON.parse(out)).toMatchObject({ tables: input.tables, completed: input.items });
  });

  test("a run that is killed again and again leaves nothing running, and the next one goes on", async ({
    onTestFinished,
  }) => {
    const folder = temporaryFolder(onTestFinished);
    for (const share of [0.01, 0.5]) {
      const run = ingest(onTestFinished, input.folder, "--data-dir", folder, "--json");
      await commitsApplied(folder, Math.ceil(input.items * share));
      run.child.kill("SIGKILL");
      await run.ended;
    }
    const { code, out } = await ingest(onTestFinished, input.folder, "--data-dir", folder, "--json").ended;
    expect(code).toBe(0);
    expect(JSON.parse(out)).toMatchObject({ tables: input.tables, items: input.items, completed: input.items });
  });

  test("its own dispatcher is started again when it is killed", async ({ onTestFinished }) => {
    const folder = temporaryFolder(onTestFinished);
    const run = ingest(onTestFinished, input.folder, "--data-dir", folder, "--json");
    await commitsApplied(folder, 1);
    const pid = Number(/"pid":(\d+)/.exec(readFileSync(join(folder, "dispatcher.log"), "utf8"))?.[1]);
    process.kill(pid, "SIGKILL");
    const { code, out, notes } = await run.ended;
    expect({ code, result: JSON.parse(out), notes }).toEqual({
      code: 0,
      result: { tables: input.tables, items: input.items, completed: input.items, duplicates: 0 },
      notes: "the dispatcher ended; it is started again\n",
    });
  });
});
