/** `omnirelay ingest delta` as a user runs it: on a data folder of its own, twice, with broken tables, in a catalog of others. */
import { join } from "node:path";
import Database from "better-sqlite3";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openCatalog } from "../../services/catalog/mod.ts";
import { LeaseClient } from "../../services/client/mod.ts";
import { addLine, commitFile, deltaFolder, temporaryFolder, writeCommit } from "../catalog/delta-folder.ts";
import { type TestMesh, testMesh } from "../support/mesh.ts";
import { failOnLeakedSuiteServers, natsAvailability } from "../support/nats.ts";
import { type Cleanup, startProcess } from "../support/process.ts";
import { type CliProcess, startCli } from "./cli-process.ts";
import { type CliResult, cli } from "./fake-terminal.ts";
import { type IngestInput, ingestInput, smallInput } from "./golden-tables.ts";

const nats = await natsAvailability();
const skipNote = nats.available ? "" : `, skipped: ${nats.reason}`;
const input = ingestInput();
const small = smallInput();
/** One for each test that needs no mesh of its own. */
const SHARDS = ["broken", "known", "large", "one-catalog", "demo", "planted", "stuck", "evil", "other-mesh"] as const;
const disposers: (() => Promise<void>)[] = [];
const cleanup: Cleanup = (dispose) => void disposers.unshift(dispose);
let mesh: TestMesh;

afterAll(failOnLeakedSuiteServers);
afterAll(async () => {
  for (const dispose of disposers) await dispose();
});
beforeAll(async () => {
  if (!nats.available) return;
  mesh = await testMesh(cleanup, { scope: "suite" });
  await mesh.dispatcher("d1", ["--shards", SHARDS.join(",")]);
});

/** A run as a process, with a NATS server and a dispatcher of its own. */
const ingest = (end: Cleanup, folder: string, ...args: readonly string[]): CliProcess =>
  startCli(["ingest", "delta", folder, ...args], end);
/** A run within this process, on the mesh that the tests share. */
const ingestInto = (
  shard: (typeof SHARDS)[number],
  folder: string,
  dataDir: string,
  ...args: readonly string[]
): Promise<CliResult> =>
  cli(
    ...["ingest", "delta", folder, "--nats-url", mesh.server.url, "--shard", shard],
    ...["--data-dir", dataDir, "--json", ...args],
  );
const whole = ({ tables, items }: IngestInput, duplicates: number) => ({ tables, items, completed: items, duplicates });

describe.skipIf(!nats.available)(`ingest delta${skipNote}`, { concurrent: true }, () => {
  test("prints the catalog and nothing else, and a second run finds everything done", async ({ onTestFinished }) => {
    const args = ["--data-dir", temporaryFolder(onTestFinished), "--json"];
    const first = await ingest(onTestFinished, input.folder, ...args).ended;
    expect({ code: first.code, result: JSON.parse(first.out) }).toEqual({ code: 0, result: whole(input, 0) });
    const second = await ingest(onTestFinished, input.folder, ...args).ended;
    expect({ code: second.code, result: JSON.parse(second.out) }).toEqual({
      code: 0,
      result: whole(input, input.items),
    });
  });

  test("a broken table is named, the others are done, and the exit code is 1", async ({ onTestFinished }) => {
    const folder = deltaFolder(
      { good: [addLine("a", 1), addLine("b", 2)], cut: [addLine("a", 1).slice(0, -9)] },
      onTestFinished,
    );
    writeCommit(folder, "hole", commitFile(1), addLine("a", 1));
    const { code, out, notes } = await ingestInto("broken", folder, temporaryFolder(onTestFinished));
    expect(code).toBe(1);
    expect(JSON.parse(out)).toMatchObject({ tables: { good: { version: 1, activeBytes: 3 } }, items: 2, completed: 2 });
    expect(Object.keys(JSON.parse(out).tables)).toEqual(["good"]);
    expect(notes).toMatch(/table "cut", .*0000\.json, line 1: the line is not valid JSON, perhaps truncated/);
    expect(notes).toMatch(/table "hole", .*0001\.json: the log does not begin at version 0/);
  });

  test("new commits of a known table are taken, and another table under a known name is refused", async ({
    onTestFinished,
  }) => {
    const dataDir = temporaryFolder(onTestFinished);
    const folder = deltaFolder({ t: [addLine("a", 1)] }, onTestFinished);
    await ingestInto("known", folder, dataDir);
    writeCommit(folder, "t", commitFile(1), addLine("b", 5));
    const grown = await ingestInto("known", folder, dataDir);
    expect(JSON.parse(grown.out)).toMatchObject({
      tables: { t: { version: 1, activeBytes: 6 } },
      items: 2,
      completed: 2,
      duplicates: 1,
    });
    const other = deltaFolder(
      { t: [addLine("other", 9), addLine("c", 1), addLine("d", 1)], u: [addLine("u", 3)] },
      onTestFinished,
    );
    const refused = await ingestInto("known", other, dataDir);
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

  test("a commit above the shard's limit is named before anything of its table is sent", async ({ onTestFinished }) => {
    const folder = deltaFolder(
      { large: [addLine("a", 1), addLine("x".repeat(70_000), 1)], small: [addLine("a", 1)] },
      onTestFinished,
    );
    const { code, out, notes } = await ingestInto("large", folder, temporaryFolder(onTestFinished));
    expect(code).toBe(1);
    expect(notes).toMatch(
      /table "large": version 1: the commit has 700\d\d bytes, more than the 65536 of an item body/,
    );
    expect(JSON.parse(out)).toMatchObject({ items: 1, completed: 1 });
  });

  test("a data folder in use is told, with what to do", async ({ onTestFinished }) => {
    const folder = temporaryFolder(onTestFinished);
    const up = startCli(["up", "--roles", "dispatcher", "--data-dir", folder], onTestFinished);
    await expect.poll(() => up.out(), { timeout: 20_000 }).toContain('"msg":"ready"');
    const { code, notes } = await ingest(onTestFinished, small.folder, "--data-dir", folder).ended;
    expect(code).toBe(1);
    expect(notes).toMatch(/give its address with --nats-url/);
    up.child.kill("SIGTERM");
    expect((await up.ended).code).toBe(0);
  });

  test("the commits of a shard go into one catalog: of two runs at once one does all, the other is told where they go", async ({
    onTestFinished,
  }) => {
    const folders = [temporaryFolder(onTestFinished), temporaryFolder(onTestFinished)];
    const ends = await Promise.all(folders.map((folder) => ingestInto("one-catalog", small.folder, folder)));
    const won = ends.findIndex(({ code }) => code === 0);
    expect(JSON.parse(ends[won]?.out ?? "")).toEqual(whole(small, 0));
    const lost = ends[1 - won];
    expect([lost?.code, lost?.out]).toEqual([1, ""]);
    expect(lost?.notes).toContain("the Delta commits of shard local/one-catalog go into another catalog (");
    expect(lost?.notes).toContain(`${folders[won]}/catalog.sqlite when it was registered`);
    expect(lost?.notes).toMatch(/give the --data-dir of that catalog, or another --shard/);
    const again = await ingestInto("one-catalog", small.folder, folders[won] ?? "");
    expect(JSON.parse(again.out)).toEqual(whole(small, small.items));
  });

  test("workers of the demo on the same shard leave the commits alone", async ({ onTestFinished }) => {
    const folder = temporaryFolder(onTestFinished);
    const args = ["--nats-url", mesh.server.url, "--shards", "demo", "--data-dir", join(folder, "worker")];
    const worker = startProcess("services/worker/main.ts", args, onTestFinished);
    await worker.line('"msg":"ready"');
    const run = await ingestInto("demo", small.folder, folder);
    expect({ code: run.code, result: JSON.parse(run.out) }).toEqual({ code: 0, result: whole(small, 0) });
    await worker.signal("SIGTERM");
  });

  test("a commit that the catalog cannot take for a reason that nobody foresaw is held, not tried a thousand times", async ({
    onTestFinished,
  }) => {
    const folder = temporaryFolder(onTestFinished);
    const tables = deltaFolder({ bad: [addLine("a", 1), addLine("bad", 1)], good: [addLine("a", 1)] }, onTestFinished);
    openCatalog(join(folder, "catalog.sqlite")).close();
    const db = new Database(join(folder, "catalog.sqlite"));
    db.exec(
      "CREATE TRIGGER planted BEFORE INSERT ON delta_file WHEN NEW.key LIKE '%bad%' BEGIN SELECT RAISE(ABORT, 'a planted fault'); END",
    );
    const broken = await ingestInto("planted", tables, folder);
    expect(broken.code).toBe(1);
    expect(broken.notes).toContain('table "bad", version 1: a planted fault');
    expect(JSON.parse(broken.out)).toMatchObject({ items: 3, completed: 2, tables: { bad: { version: 0 } } });
    db.exec("DROP TRIGGER planted");
    db.close();
    const healed = await ingestInto("planted", tables, folder);
    expect({ code: healed.code, result: JSON.parse(healed.out) }).toMatchObject({ code: 0, result: { completed: 3 } });
  });

  test("a run that gets nowhere says why the first item failed last", async ({ onTestFinished }) => {
    const folder = temporaryFolder(onTestFinished);
    const tables = deltaFolder({ t: [addLine("a", 1)] }, onTestFinished);
    const client = await LeaseClient.connect({ servers: mesh.server.url, shard: "stuck", principal: "thief" });
    onTestFinished(() => client.close());
    const stolen = client.lease({ waitMs: 20_000, leaseDurationMs: 60_000, resourceTypes: ["delta.table"] });
    await client.stats();
    const run = ingestInto("stuck", tables, folder, "--wait-ms", "1000");
    const [lease] = (await stolen).leases;
    if (lease === undefined) throw new Error("nothing was leased");
    await client.pause();
    await client.fail(lease, { reason: "the thief broke it", requeue: true });
    const { code, notes } = await run;
    expect(code).toBe(1);
    expect(notes).toMatch(/nothing moved for 1000 ms; 1 items are unfinished.*whose last error is: the thief broke it/);
  });

  test("a table with a name that plays with the terminal is told in plain characters", async ({ onTestFinished }) => {
    const folder = deltaFolder({ good: [addLine("a", 1)] }, onTestFinished);
    writeCommit(folder, "evil\u001b[2J\u202e\u0085x", commitFile(0), "");
    const { code, notes } = await ingestInto("evil", folder, temporaryFolder(onTestFinished));
    expect(code).toBe(1);
    expect(notes).toContain("evil\\u001b[2J\\u202e\\u0085x");
    expect(notes).not.toMatch(/(?!\n)[\p{Cc}\p{Cf}]/u);
  });

  test("a catalog of another mesh is refused", async ({ onTestFinished }) => {
    const other = await testMesh(onTestFinished);
    await other.dispatcher("d1");
    const folder = temporaryFolder(onTestFinished);
    const tables = deltaFolder({ t: [addLine("a", 1)] }, onTestFinished);
    expect((await ingestInto("other-mesh", tables, folder)).code).toBe(0);
    const { code, notes } = await cli(
      ...["ingest", "delta", tables, "--nats-url", other.server.url, "--data-dir", folder],
    );
    expect([code, notes]).toEqual([
      1,
      expect.stringMatching(/was written from log \S+, not from \S+: use the data folder of that mesh/),
    ]);
  });
});
