/** Checks the mesh host as a newcomer meets it: one command, a real server, every item completed once, and clear words when it cannot. */
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { killLeftProcesses, runToItsEnd, startProcess } from "./child-process.ts";
import { startOldServer } from "./old-nats-server.ts";

const MESH = "services/mesh/main.ts";
const ANY_PORT = ["--http-port", "0"];
let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "omnirelay-mesh-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));
afterEach(async () => expect(await killLeftProcesses()).toBe(0));

test("--items --exit --json prints one line: every item completed and applied exactly once", async () => {
  const { code, stdout, stderr } = await runToItsEnd(MESH, ["--items", "500", "--exit", "--json", ...ANY_PORT]);
  expect(code).toBe(0);
  expect(stdout.trim().split("\n")).toHaveLength(1);
  expect(JSON.parse(stdout)).toMatchObject({
    ok: true,
    ...{ items: 500, enqueued: 500, duplicates: 0, completed: 500, applied: 500, deadLettered: 0 },
    elapsedMs: expect.any(Number),
    itemsPerSecond: expect.any(Number),
    shards: [
      { shard: "default", pending: 0, active: 0, deadLettered: 0, completed: 500, leader: "mesh--dispatcher", term: 1 },
    ],
    natsServer: { embedded: true, syncInterval: "always", version: expect.stringMatching(/^2\.\d+/) },
  });
  expect(stderr).toContain("500 items completed, each applied exactly once");
});

test("a second run on the same data folder finds every item there and changes nothing", async () => {
  const args = [
    "--items",
    "120",
    "--exit",
    "--json",
    "--data-dir",
    join(folder, "twice"),
    "--shards",
    "a,b",
    ...ANY_PORT,
  ];
  const first = JSON.parse((await runToItsEnd(MESH, args)).stdout);
  const second = JSON.parse((await runToItsEnd(MESH, args)).stdout);
  expect(first).toMatchObject({ ok: true, enqueued: 120, duplicates: 0, applied: 120 });
  expect(second).toMatchObject({ ok: true, enqueued: 0, duplicates: 120, completed: 120, applied: 120 });
  const totals = (run: typeof first): unknown =>
    run.shards.map((shard: Record<string, unknown>) => [shard["logId"], shard["completed"]]);
  expect(totals(second)).toEqual(totals(first));
});

test("without --exit it runs until a signal, stops in order within its bound and leaves no server", async () => {
  const started = startProcess(MESH, ["--data-dir", join(folder, "runs"), ...ANY_PORT, "--log-level", "debug"]);
  await started.line("ready");
  const { url } = (await started.line("nats_server_started")) as { url?: string };
  const startedAt = performance.now();
  started.kill("SIGTERM");
  const { code, stdout } = await started.ended;
  expect(code).toBe(0);
  expect(performance.now() - startedAt).toBeLessThan(10_000);
  const lines = stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  const stopped = lines.filter(({ msg }) => msg === "role_stopped").map(({ role }) => role);
  expect(stopped).toEqual(["seeder", "worker", "worker", "replicator", "control-plane", "dispatcher", "nats-server"]);
  const after = await runToItsEnd("services/worker/main.ts", [
    "--nats-url",
    String(url),
    "--data-dir",
    join(folder, "none"),
  ]);
  expect(after).toMatchObject({ code: 1, stderr: expect.stringContaining("no NATS server answers") });
});

test("npm start hands a signal to the mesh, and nothing of it stays", async (context) => {
  if (spawnSync("npm", ["--version"]).status !== 0) return context.skip("there is no npm here");
  const args = ["start", "--silent", "--", "--roles", "dispatcher", "--data-dir", join(folder, "npm")];
  const npm = spawn("npm", args, { cwd: join(import.meta.dirname, "../.."), stdio: ["ignore", "pipe", "inherit"] });
  let out = "";
  npm.stdout.setEncoding("utf8").on("data", (text: string) => {
    out += text;
  });
  const ended = new Promise((resolve) => npm.once("exit", resolve));
  await expect.poll(() => out, { timeout: 30_000 }).toContain('"msg":"ready"');
  const pid = Number(/"pid":(\d+)/.exec(out)?.[1]);
  npm.kill("SIGTERM");
  await ended;
  const isRunning = (): boolean => existsSync(`/proc/${pid}`);
  try {
    await expect.poll(isRunning, { timeout: 15_000 }).toBe(false);
  } finally {
    if (isRunning()) process.kill(pid, "SIGKILL");
  }
});

test("a run that is stopped before its items are done does not end with code 0", async () => {
  const started = startProcess(MESH, ["--items", "5000", "--rate", "20", "--exit", "--json"]);
  await started.line("ready");
  started.kill("SIGTERM");
  expect(await started.ended).toMatchObject({ code: 1, stdout: "" });
});

test("the mesh ends with an error when its server dies", async () => {
  const started = startProcess(MESH, ["--data-dir", join(folder, "dies"), ...ANY_PORT]);
  await started.line("ready");
  const children = execFileSync("pgrep", ["-P", String(started.pid)], { encoding: "utf8" })
    .trim()
    .split("\n")
    .map(Number);
  expect(children.length).toBeGreaterThan(0);
  for (const pid of children) process.kill(pid, "SIGKILL");
  const { code, stderr } = await started.ended;
  expect(code).toBe(1);
  expect(stderr).toContain("the embedded nats-server ended");
});

test("a taken port is told with its address and the flag that helps", async () => {
  const taken = await occupiedPort();
  try {
    const args = ["--items", "5", "--exit", "--json", "--http-port", String(taken.port)];
    const { code, stderr, stdout } = await runToItsEnd(MESH, args);
    expect(code).toBe(1);
    expect(stdout).toBe("");
    expect(stderr).toContain(`127.0.0.1:${taken.port} is taken by another process: give another --http-port`);
  } finally {
    taken.server.close();
  }
});

test("a data folder that cannot be written is told with its path", async () => {
  writeFileSync(join(folder, "file"), "");
  const { code, stderr } = await runToItsEnd(MESH, ["--data-dir", join(folder, "file", "below"), ...ANY_PORT]);
  expect(code).toBe(1);
  expect(stderr).toMatch(/the data folder .*file\/below cannot be written: ENOTDIR.*--data-dir/);
});

test("a data folder of other shards is refused and left alone", async () => {
  const dir = join(folder, "foreign");
  expect(
    await runToItsEnd(MESH, ["--items", "5", "--exit", "--data-dir", dir, "--shards", "mine", ...ANY_PORT]),
  ).toMatchObject({ code: 0 });
  const other = await runToItsEnd(MESH, ["--data-dir", dir, "--shards", "yours", ...ANY_PORT]);
  expect(other).toMatchObject({
    code: 1,
    stderr: expect.stringMatching(/belongs to local\/mine, not to local\/yours/),
  });
});

test("a server that nobody runs is told with its address", async () => {
  const taken = await occupiedPort();
  taken.server.close();
  const { code, stderr } = await runToItsEnd(MESH, [
    "--nats-url",
    `nats://me:secret@127.0.0.1:${taken.port}`,
    ...ANY_PORT,
    "--data-dir",
    join(folder, "unreached"),
  ]);
  expect(code).toBe(1);
  expect(stderr).toContain(`no NATS server answers at nats://127.0.0.1:${taken.port}`);
  expect(stderr).not.toContain("secret");
});

test("a server that is too old is refused with its version", async () => {
  const old = await startOldServer("2.10.22");
  try {
    const { code, stderr } = await runToItsEnd("services/dispatcher/main.ts", [
      "--nats-url",
      old.url,
      "--data-dir",
      join(folder, "old"),
    ]);
    expect(code).toBe(1);
    expect(stderr).toContain("nats-server 2.10.22 is below 2.12");
  } finally {
    await old.close();
  }
});

test.each([
  [["--roles", "dispatcher,broker"], '--roles[1] is "broker"'],
  [["--items", "2.5", "--exit"], '--items is "2.5"'],
  [["--http-port", "65536"], "--http-port is 65536"],
  [["--exit"], "--exit (true) and items (not given) do not go together"],
  [["--config", "nowhere.toml"], "nowhere.toml cannot be read"],
])("wrong settings %j end with code 2 before anything is started", async (args, words) => {
  const { code, stderr, stdout } = await runToItsEnd(MESH, args);
  expect(code).toBe(2);
  expect(stdout).toBe("");
  expect(stderr).toContain(words);
});

async function occupiedPort(): Promise<{ server: Server; port: number }> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  return { server, port: typeof address === "object" && address !== null ? address.port : 0 };
}
