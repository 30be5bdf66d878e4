/** Checks each process on its own against one real server: ready lines, what the control plane tells, crashes, and orderly ends. */
import { mkdtempSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { type NatsServer, startNatsServer } from "../../infra/nats-server/embedded.ts";
import { killLeftProcesses, type StartedProcess, startProcess } from "./child-process.ts";

const PATIENCE = { timeout: 30_000, interval: 50 };
let folder = "";
let nats: NatsServer;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "omnirelay-processes-"));
  nats = await startNatsServer({ storeDir: join(folder, "nats"), report: () => {} });
});
afterAll(async () => {
  const left = await killLeftProcesses();
  await nats.stop();
  rmSync(folder, { recursive: true, force: true });
  expect(left).toBe(0);
});

interface Lab {
  start(name: string, ...args: string[]): StartedProcess;
  get(path: string): Promise<{ status: number; body: Record<string, unknown> }>;
  /** Starts the control plane, which `get` asks. */
  startControlPlane(): Promise<StartedProcess>;
}

/** One shard with a data folder of its own per test. */
function lab(shard: string): Lab {
  let url = "";
  const start = (name: string, ...args: string[]): StartedProcess => {
    const dataDir =
      name === "seeder" ? [] : ["--data-dir", join(folder, shard, name === "dispatcher" ? (args[1] ?? name) : "")];
    return startProcess(`services/${name}/main.ts`, ["--nats-url", nats.url, "--shards", shard, ...dataDir, ...args]);
  };
  return {
    start,
    startControlPlane: async () => {
      const started = start("control-plane", "--http-port", "0");
      url = String((await started.line("ready"))["detail"]);
      return started;
    },
    get: async (path) => {
      const response = await fetch(url + path);
      return { status: response.status, body: (await response.json()) as Record<string, unknown> };
    },
  };
}

async function endInOrder(...processes: readonly StartedProcess[]): Promise<void> {
  for (const started of processes) {
    started.kill("SIGTERM");
    expect(await started.ended).toMatchObject({ code: 0 });
  }
}

interface NamedTable {
  readonly table: string;
}

/** Pages hold each table once, in order of name. */
async function expectPages(get: Lab["get"], all: readonly NamedTable[]): Promise<void> {
  const paged: string[] = [];
  for (let cursor: unknown = ""; cursor !== null; ) {
    const after = cursor === "" ? "" : `&cursor=${encodeURIComponent(String(cursor))}`;
    const { body } = await get(`/demo/catalogs?limit=7${after}`);
    paged.push(...(body["tables"] as NamedTable[]).map(({ table }) => table));
    cursor = body["cursor"];
  }
  expect(all.length).toBeGreaterThan(20);
  expect(paged).toEqual(all.map(({ table }) => table));
  expect(paged).toEqual(paged.toSorted());
}

const versionsOf = (body: Record<string, unknown>): number =>
  (body["tables"] as { version: number }[]).reduce((sum, { version }) => sum + version, 0);

test.concurrent("the processes work together, each started alone, the pages of the catalog hold each table once, and each ends in order", async () => {
  const { start, startControlPlane, get } = lab("alone");
  const dispatcher = start("dispatcher", "--peer-id", "dispatcher--alone");
  await dispatcher.line("ready");
  const workers = ["worker--1", "worker--2"].map((peerId) => start("worker", "--peer-id", peerId));
  const control = await startControlPlane();
  for (const worker of workers) await worker.line("ready");
  const seeder = start("seeder", "--items", "150", "--tables", "20");
  await seeder.line("ready");
  expect(await seeder.ended).toMatchObject({ code: 0 });

  await vi.waitFor(async () => {
    const { body } = await get("/omnirelay/control/shards");
    expect(body["shards"]).toMatchObject([
      {
        shard: "alone",
        serving: true,
        leader: "dispatcher--alone",
        pending: 0,
        active: 0,
        completed: 150,
        deadLettered: 0,
      },
    ]);
  }, PATIENCE);
  const { body } = await get("/demo/catalogs?limit=1000");
  expect(versionsOf(body)).toBe(150);
  await expectPages(get, body["tables"] as readonly NamedTable[]);
  expect(await get("/readyz")).toMatchObject({ status: 200, body: { ready: true, reasons: [] } });
  expect(await get("/omnirelay/control/replication/checkpoint")).toMatchObject({
    status: 200,
    body: { checkpoints: [] },
  });
  await endInOrder(...workers, control, dispatcher);
});

test.concurrent("readiness names what is missing until a leader serves, and health says that the process lives", async () => {
  const { start, startControlPlane, get } = lab("late");
  const control = await startControlPlane();
  expect(await get("/readyz")).toMatchObject({
    status: 503,
    body: { ready: false, reasons: [expect.stringContaining("shard late: no leader answers")] },
  });
  expect(await get("/healthz")).toMatchObject({
    status: 200,
    body: { status: "ok", roles: [{ name: "control-plane", ready: true }] },
  });
  const dispatcher = start("dispatcher", "--peer-id", "dispatcher--late");
  await vi.waitFor(async () => expect(await get("/readyz")).toMatchObject({ status: 200 }), PATIENCE);
  await endInOrder(dispatcher, control);
});

const REFUSED_PATHS: readonly (readonly [string, number])[] = [
  ["/demo/catalogs?limit=0", 400],
  ["/demo/catalogs?limit=1001", 400],
  ["/demo/catalogs?limit=1e3", 400],
  ["/demo/catalogs?limit=5&limit=6", 400],
  ["/demo/catalogs?cursor=", 400],
  ["/demo/catalogs?colour=red", 400],
  ["/healthz?x=1", 400],
  ["/nope", 404],
  ["/%00", 404],
  ["/%zz", 400],
];

test.concurrent("what the control plane does not serve is refused as JSON, and it stays up", async () => {
  const control = startProcess("services/control-plane/main.ts", [
    ...["--nats-url", nats.url, "--http-port", "0", "--data-dir", join(folder, "empty")],
  ]);
  const url = String((await control.line("ready"))["detail"]);
  for (const [path, status] of REFUSED_PATHS) {
    const response = await fetch(url + path);
    expect([path, response.status]).toEqual([path, status]);
    expect(response.headers.get("content-type")).toContain("application/json");
    expect(await response.json()).toMatchObject({ error: { code: expect.any(String), message: expect.any(String) } });
  }
  const messageOf = async (path: string) =>
    ((await (await fetch(url + path)).json()) as { error: { message: string } }).error.message;
  expect(await messageOf("/demo/catalogs?limit=1e3")).toBe("limit must be one whole number from 1 to 1000");
  expect(await messageOf("/demo/catalogs?limit=5&limit=6")).toBe("limit must be one whole number from 1 to 1000");
  expect(await messageOf("/demo/catalogs?limit=0&colour=red")).toBe(
    "limit must be one whole number from 1 to 1000; there is no parameter colour",
  );
  const posted = await fetch(`${url}/healthz`, { method: "POST", body: "x".repeat(100_000) });
  expect(posted.status).toBeGreaterThanOrEqual(400);
  expect((await fetch(`${url}/healthz`)).status).toBe(200);
  await endInOrder(control);
});

/** What comes back for bytes that are no request. */
function answerTo(url: string, text: string): Promise<string> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve, reject) => {
    const socket = connect(Number(port), hostname, () => socket.write(text));
    let answer = "";
    socket
      .setEncoding("utf8")
      .on("data", (part: string) => {
        answer += part;
      })
      .on("close", () => resolve(answer))
      .on("error", reject);
  });
}

test.concurrent("what is no HTTP, comes too slowly or has too large a head is refused in the same form", async () => {
  const control = startProcess("services/control-plane/main.ts", [
    ...["--nats-url", nats.url, "--http-port", "0", "--data-dir", join(folder, "empty")],
  ]);
  const url = String((await control.line("ready"))["detail"]);
  const cases: [string, string, string][] = [
    ["hello\r\n\r\n", "400 Bad Request", "invalid_argument"],
    [
      `GET / HTTP/1.1\r\nhost: x\r\nx: ${"x".repeat(20_000)}\r\n\r\n`,
      "431 Request Header Fields Too Large",
      "headers_too_large",
    ],
    ["GET /healthz HTTP/1.1\r\nhost: x\r\n", "408 Request Timeout", "request_timeout"],
  ];
  await Promise.all(
    cases.map(async ([text, status, code]) => {
      const [head = "", body = ""] = (await answerTo(url, text)).split("\r\n\r\n");
      expect(head).toContain(`HTTP/1.1 ${status}`);
      expect(JSON.parse(body)).toEqual({ error: { code, message: expect.any(String) } });
    }),
  );
  await endInOrder(control);
}, 90_000);

test.concurrent("a worker killed in the middle of its work loses nothing and applies nothing twice", async () => {
  const { start, startControlPlane, get } = lab("killed");
  const dispatcher = start(
    "dispatcher",
    "--peer-id",
    "dispatcher--killed",
    "--shard-options",
    "leaseDurationMsDefault=500,exclusivity=partition",
  );
  const control = await startControlPlane();
  const victim = start("worker", "--peer-id", "worker--victim", "--concurrency", "1");
  await victim.line("ready");
  const seeder = start("seeder", "--items", "300", "--tables", "10");
  await vi.waitFor(async () => {
    const { body } = await get("/demo/catalogs?limit=1000");
    expect(versionsOf(body)).toBeGreaterThan(20);
  }, PATIENCE);
  victim.kill("SIGKILL");
  expect(await victim.ended).toMatchObject({ signal: "SIGKILL" });
  expect(await seeder.ended).toMatchObject({ code: 0 });
  const heir = start("worker", "--peer-id", "worker--heir");
  await vi.waitFor(async () => {
    const { body } = await get("/omnirelay/control/shards");
    expect(body["shards"]).toMatchObject([{ pending: 0, active: 0, completed: 300, deadLettered: 0 }]);
  }, PATIENCE);
  expect(versionsOf((await get("/demo/catalogs?limit=1000")).body)).toBe(300);
  await endInOrder(heir, control, dispatcher);
});

test.concurrent("a seeder killed and started again adds each item once", async () => {
  const { start, startControlPlane, get } = lab("reseeded");
  const dispatcher = start("dispatcher", "--peer-id", "dispatcher--reseeded");
  const control = await startControlPlane();
  const first = start("seeder", "--items", "2000", "--batch", "10", "--rate", "500");
  await vi.waitFor(async () => {
    const { body } = await get("/omnirelay/control/shards");
    expect((body["shards"] as { enqueued: number }[])[0]?.enqueued).toBeGreaterThan(50);
  }, PATIENCE);
  first.kill("SIGKILL");
  await first.ended;
  const second = start("seeder", "--items", "2000");
  const seeded = await second.line("seeded");
  expect(await second.ended).toMatchObject({ code: 0 });
  expect(seeded["duplicates"]).toBeGreaterThan(50);
  expect(Number(seeded["duplicates"]) + Number(seeded["enqueued"])).toBe(2_000);
  await vi.waitFor(async () => {
    const { body } = await get("/omnirelay/control/shards");
    expect(body["shards"]).toMatchObject([{ enqueued: 2_000, pending: 2_000 }]);
  }, PATIENCE);
  await endInOrder(control, dispatcher);
});
