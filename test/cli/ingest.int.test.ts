/** `omnirelay ingest delta` as a user runs it: on a data folder of its own, twice, with broken tables, interrupted, killed. */
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "better-sqlite3";
import { afterEach, describe, expect, onTestFinished, test } from "vitest";
import { openCatalog } from "../../services/catalog/mod.ts";
import { LeaseClient } from "../../services/client/mod.ts";
import { addLine, commitFile, deltaFolder, writeCommit } from "../catalog/delta-folder.ts";
import { testMesh } from "../support/mesh.ts";
import { failOnLeakedServers, natsAvailability } from "../support/nats.ts";
import { startProcess } from "../support/process.ts";
import { type CliProcess, startCli } from "./cli-process.ts";
import { ingestInput } from "./golden-tables.ts";

const nats = await natsAvailability();
const skipNote = nats.available ? "" : `, skipped: ${nats.reason}`;
const input = ingestInput();

function dataFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "omnirelay-ingest-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

const ingest = (folder: string, ...args: readonly string[]): CliProcess =>
  startCli(["ingest", "delta", folder, ...args], onTestFinished);
const whole = (duplicates: number) => ({
  tables: input.tables,
  items: input.items,
  completed: input.items,
  duplicates,
});

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

afterEach(failOnLeakedServers);

describe.skipIf(!nats.available)(`ingest delta${skipNote}`, () => {
  test("prints the catalog and nothing else, and a second run finds everything done", async () => {
    const args = ["--data-dir", dataFolder(), "--json"];
    const first = await ingest(input.folder, ...args).ended;
    expect({ code: first.code, result: JSON.parse(first.out) }).toEqual({ code: 0, result: whole(0) });
    const second = await ingest(input.folder, ...args).ended;
    expect({ code: second.code, result: JSON.parse(second.out) }).toEqual({ code: 0, result: whole(input.items) });
  });

  test("a broken table is named, the others are done, and the exit code is 1", async () => {
    const folder = deltaFolder({ good: [addLine("a", 1), addLine("b", 2)], cut: [addLine("a", 1).slice(0, -9)] });
    writeCommit(folder, "hole", commitFile(1), addLine("a", 1));
    const { code, out, notes } = await ingest(folder, "--data-dir", dataFolder(), "--json").ended;
    expect(code).toBe(1);
    expect(JSON.parse(out)).toMatchObject({ tables: { good: { version: 1, activeBytes: 3 } }, items: 2, completed: 2 });
    expect(Object.keys(JSON.parse(out).tables)).toEqual(["good"]);
    expect(notes).toMatch(/table "cut", .*0000\.json, line 1: the line is not valid JSON, perhaps truncated/);
    expect(notes).toMatch(/table "hole", .*0001\.json: the log does not begin at version 0/);
  });

  test("new commits of a known table are taken, and another table under a known name is refused", async () => {
    const args = ["--data-dir", dataFolder(), "--json"];
    const folder = deltaFolder({ t: [addLine("a", 1)] });
    await ingest(folder, ...args).ended;
    writeCommit(folder, "t", commitFile(1), addLine("b", 5));
    const grown = await ingest(folder, ...args).ended;
    expect(JSON.parse(grown.out)).toMatchObject({
      tables: { t: { version: 1, activeBytes: 6 } },
      items: 2,
      completed: 2,
      duplicates: 1,
    });
    const other = deltaFolder({ t: [addLine("other", 9), addLine("c", 1), addLine("d", 1)], u: [addLine("u", 3)] });
    const refused = await ingest(other, ...args).ended;
    expect(refused.code).toBe(1);
    expect(refused.notes).toMatch(
      /table "t", version 0: refused: a commit with other contents was enqueued under this name before/,
    );
    expect(JSON.parse(refused.out)).toMatchObject({
      tables: { t: { version: 1, activeBytes: 6 }, u: { activeBytes: 3 } },
      items: 4,
      completed: 1,
    });
  });

  test("a commit above the shard's limit is named before anything of its table is sent", async () => {
    const folder = deltaFolder({ large: [addLine("a", 1), addLine("x".repeat(70_000), 1)], small: [addLine("a", 1)] });
    const { code, out, notes } = await ingest(folder, "--data-dir", dataFolder(), "--json").ended;
    expect(code).toBe(1);
    expect(notes).toMatch(
      /table "large": version 1: the commit has 700\d\d bytes, more than the 65536 of an item body/,
    );
    expect(JSON.parse(out)).toMatchObject({ items: 1, completed: 1 });
  });

  test("an interrupted run says so, and the next one goes on", async () => {
    const folder = dataFolder();
    const run = ingest(input.folder, "--data-dir", folder, "--json");
    await commitsApplied(folder, 1);
    run.child.kill("SIGINT");
    expect(await run.ended).toMatchObject({
      code: 130,
      out: "",
      notes: expect.stringContaining("interrupted; run it again"),
    });
    const { out } = await ingest(input.folder, "--data-dir", folder, "--json").ended;
    expect(JSON.parse(out)).toMatchObject({ tables: input.tables, completed: input.items });
  });

  test("a run that is killed again and again leaves nothing running, and the next one goes on", async () => {
    const folder = dataFolder();
    for (const share of [0.01, 0.3, 0.7]) {
      const run = ingest(input.folder, "--data-dir", folder, "--json");
      await commitsApplied(folder, Math.ceil(input.items * share));
      run.child.kill("SIGKILL");
      await run.ended;
    }
    const { code, out } = await ingest(input.folder, "--data-dir", folder, "--json").ended;
    expect(code).toBe(0);
    expect(JSON.parse(out)).toMatchObject({ tables: input.tables, items: input.items, completed: input.items });
  });

  test("its own dispatcher is started again when it is killed", async () => {
    const folder = dataFolder();
    const run = ingest(input.folder, "--data-dir", folder, "--json");
    await commitsApplied(folder, 1);
    const pid = Number(/"pid":(\d+)/.exec(readFileSync(join(folder, "dispatcher.log"), "utf8"))?.[1]);
    process.kill(pid, "SIGKILL");
    const { code, out, notes } = await run.ended;
    expect({ code, result: JSON.parse(out), notes }).toEqual({
      code: 0,
      result: whole(0),
      notes: "the dispatcher ended; it is started again\n",
    });
  });

  test("a data folder in use is told, with what to do", async () => {
    const folder = dataFolder();
    const mesh = startCli(["up", "--roles", "dispatcher", "--data-dir", folder], onTestFinished);
    await expect.poll(() => mesh.out(), { timeout: 20_000 }).toContain('"msg":"ready"');
    const { code, notes } = await ingest(input.folder, "--data-dir", folder).ended;
    expect(code).toBe(1);
    expect(notes).toMatch(/give its address with --nats-url/);
    mesh.child.kill("SIGTERM");
    expect((await mesh.ended).code).toBe(0);
  });

  test("the commits of a shard go into one catalog: of two runs at once one does all, the other is told where they go", async () => {
    const mesh = await testMesh(onTestFinished);
    await mesh.dispatcher("d1");
    const args = ["--nats-url", mesh.server.url, "--json"];
    const folders = [dataFolder(), dataFolder()];
    const runs = folders.map((folder) => ingest(input.folder, ...args, "--data-dir", folder).ended);
    const ends = await Promise.all(runs);
    const won = ends.findIndex(({ code }) => code === 0);
    expect(JSON.parse(ends[won]?.out ?? "")).toEqual(whole(0));
    const lost = ends[1 - won];
    expect([lost?.code, lost?.out]).toEqual([1, ""]);
    expect(lost?.notes).toContain(`the Delta commits of shard local/default go into another catalog (`);
    expect(lost?.notes).toContain(`${folders[won]}/catalog.sqlite when it was registered`);
    expect(lost?.notes).toMatch(/give the --data-dir of that catalog, or another --shard/);
    const again = await ingest(input.folder, ...args, "--data-dir", folders[won] ?? "").ended;
    expect(JSON.parse(again.out)).toEqual(whole(input.items));
  });

  test("workers of the demo on the same shard leave the commits alone", async () => {
    const mesh = await testMesh(onTestFinished);
    await mesh.dispatcher("d1");
    const args = ["--nats-url", mesh.server.url, "--data-dir", join(mesh.folder, "worker")];
    const worker = startProcess("services/worker/main.ts", args, onTestFinished);
    await worker.line('"msg":"ready"');
    const run = await ingest(input.folder, "--nats-url", mesh.server.url, "--json", "--data-dir", dataFolder()).ended;
    expect({ code: run.code, result: JSON.parse(run.out) }).toEqual({ code: 0, result: whole(0) });
    await worker.signal("SIGTERM");
  });

  test("a commit that the catalog cannot take for a reason that nobody foresaw is held, not tried a thousand times", async () => {
    const folder = dataFolder();
    const tables = deltaFolder({ bad: [addLine("a", 1), addLine("bad", 1)], good: [addLine("a", 1)] });
    openCatalog(join(folder, "catalog.sqlite")).close();
    const db = new Database(join(folder, "catalog.sqlite"));
    db.exec(
      "CREATE TRIGGER planted BEFORE INSERT ON delta_file WHEN NEW.key LIKE '%bad%' BEGIN SELECT RAISE(ABORT, 'a planted fault'); END",
    );
    const broken = await ingest(tables, "--data-dir", folder, "--json").ended;
    expect(broken.code).toBe(1);
    expect(broken.notes).toContain('table "bad", version 1: a planted fault');
    expect(JSON.parse(broken.out)).toMatchObject({ items: 3, completed: 2, tables: { bad: { version: 0 } } });
    db.exec("DROP TRIGGER planted");
    db.close();
    const healed = await ingest(tables, "--data-dir", folder, "--json").ended;
    expect({ code: healed.code, result: JSON.parse(healed.out) }).toMatchObject({ code: 0, result: { completed: 3 } });
  });

  test("a run that gets nowhere says why the first item failed last", async () => {
    const mesh = await testMesh(onTestFinished);
    await mesh.dispatcher("d1");
    const folder = dataFolder();
    const tables = deltaFolder({ t: [addLine("a", 1)] });
    const args = ["--nats-url", mesh.server.url, "--data-dir", folder];
    const client = await LeaseClient.connect({ servers: mesh.server.url, shard: "default", principal: "thief" });
    onTestFinished(() => client.close());
    const stolen = client.lease({ waitMs: 20_000, leaseDurationMs: 60_000, resourceTypes: ["delta.table"] });
    await client.stats();
    const run = ingest(tables, ...args, "--wait-ms", "3000");
    const [lease] = (await stolen).leases;
    if (lease === undefined) throw new Error("nothing was leased");
    await client.pause();
    await client.fail(lease, { reason: "the thief broke it", requeue: true });
    const { code, notes } = await run.ended;
    expect(code).toBe(1);
    expect(notes).toMatch(/nothing moved for 3000 ms; 1 items are unfinished.*whose last error is: the thief broke it/);
  });

  test("a table with a name that plays with the terminal is told in plain characters", async () => {
    const folder = deltaFolder({ good: [addLine("a", 1)] });
    writeCommit(folder, "evil\u001b[2J\u202e\u0085x", commitFile(0), "");
    const { code, notes } = await ingest(folder, "--data-dir", dataFolder()).ended;
    expect(code).toBe(1);
    expect(notes).toContain("evil\\u001b[2J\\u202e\\u0085x");
    expect(notes).not.toMatch(/(?!\n)[\p{Cc}\p{Cf}]/u);
  });

  test("a catalog of another mesh is refused", async () => {
    const [first, second] = [await testMesh(onTestFinished), await testMesh(onTestFinished)];
    await first.dispatcher("d1");
    await second.dispatcher("d1");
    const folder = dataFolder();
    const tables = deltaFolder({ t: [addLine("a", 1)] });
    expect((await ingest(tables, "--nats-url", first.server.url, "--data-dir", folder).ended).code).toBe(0);
    const { code, notes } = await ingest(tables, "--nats-url", second.server.url, "--data-dir", folder).ended;
    expect([code, notes]).toEqual([
      1,
      expect.stringMatching(/was written from log \S+, not from \S+: use the data folder of that mesh/),
    ]);
  });
});
