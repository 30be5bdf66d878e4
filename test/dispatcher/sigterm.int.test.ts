/** How processes end when they are told to: in the middle of their work, and with a NATS server that stands still. */
import { connect } from "node:net";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { witnessLog } from "../support/log-witness.ts";
import { type TestMesh, testMesh } from "../support/mesh.ts";
import { failOnLeakedServers, skipWithoutNats } from "../support/nats.ts";
import { type Cleanup, type RunningProcess, startProcess } from "../support/process.ts";

beforeEach(skipWithoutNats);
afterEach(failOnLeakedServers);

const ITEM = { resourceType: "t", resourceId: "r" };
const READY = '"msg":"ready"';
/** Bound of an orderly stop in these tests, and what the end of the process may come later on a busy machine. ms. */
const STOP_MS = 8_000;
const LATE_MS = 2_000;

/** Sends SIGTERM and says how it ended, and after how long. */
async function terminate(process: RunningProcess): Promise<{ readonly code: number | null; readonly ms: number }> {
  const fromMs = performance.now();
  process.child.kill("SIGTERM");
  const code = await process.ended;
  return { code, ms: performance.now() - fromMs };
}

const startOf =
  (mesh: TestMesh, cleanup: Cleanup) =>
  (name: string, ...args: readonly string[]): RunningProcess =>
    startProcess(
      `services/${name}/main.ts`,
      [
        ...["--nats-url", mesh.server.url],
        ...(name === "seeder" ? [] : ["--data-dir", join(mesh.folder, args[1] ?? name)]),
        ...["--stop-timeout-ms", String(STOP_MS), ...args],
      ],
      cleanup,
    );

describe.concurrent("told to stop", () => {
  test("a dispatcher that is told to stop while it works and writes snapshots ends in order, and keeps what it acknowledged", async ({
    onTestFinished,
  }) => {
    const mesh = await testMesh(onTestFinished);
    const always = ["--snapshot-events", "1", "--snapshot-ms", "0"];
    const first = await mesh.dispatcher("a", always, '"msg":"leading"');
    const witness = await witnessLog(mesh.server.url, "default", onTestFinished);
    const client = await mesh.client("default");
    const acknowledged = new Set<string>();
    let isEnding = false;
    const work = async (): Promise<void> => {
      while (!isEnding) {
        const { itemId } = await client.enqueue(ITEM);
        acknowledged.add(itemId);
      }
    };
    const workers = Array.from({ length: 8 }, work);
    while (first.lines.filter((line) => line.includes("snapshot_begun")).length < 3)
      await new Promise((resolve) => setTimeout(resolve, 20));
    const { code, ms } = await terminate(first);
    console.log(`the dispatcher ended after ${Math.round(ms)} ms`);
    expect(code).toBe(0);
    expect(ms).toBeLessThan(STOP_MS);
    await mesh.dispatcher("a", always, '"msg":"leading"');
    isEnding = true;
    await Promise.all(workers);
    const stats = await client.stats({ consistent: true });
    expect(stats.pending).toBe(acknowledged.size);
    expect(stats.stateHash).toBe(await witness.hashAt(stats.sequence));
  });

  test("a control plane that is told to stop does not wait for a request that never ends", async ({
    onTestFinished,
  }) => {
    const mesh = await testMesh(onTestFinished);
    const control = startOf(mesh, onTestFinished)("control-plane", "--http-port", "0");
    const { detail: url } = JSON.parse(await control.line(READY)) as { detail: string };
    const socket = connect(Number(new URL(url).port), "127.0.0.1");
    onTestFinished(() => void socket.destroy());
    socket.on("error", () => {});
    await new Promise<void>((resolve) => void socket.write("GET /healthz HTTP/1.1\r\nhost: x\r\n", () => resolve()));
    // An answered request behind it: what was sent before has arrived.
    await fetch(`${url}/healthz`);
    const { code, ms } = await terminate(control);
    console.log(`the control plane ended after ${Math.round(ms)} ms`);
    expect(code).toBe(0);
    expect(ms).toBeLessThan(STOP_MS);
  });

  test("every process ends within its bound while NATS stands still, at once at a second signal, and nothing is lost", async ({
    onTestFinished,
  }) => {
    const mesh = await testMesh(onTestFinished);
    const start = startOf(mesh, onTestFinished);
    const leader = start("dispatcher", "--peer-id", "a", "--snapshot-events", "1", "--snapshot-ms", "0");
    await leader.line('"msg":"leading"');
    const twice = start("dispatcher", "--peer-id", "b");
    const once = [
      leader,
      start("worker", "--peer-id", "w"),
      start("control-plane", "--principal", "c", "--http-port", "0"),
      start("mesh", "--peer-id", "m", "--roles", "dispatcher,control-plane,worker", "--http-port", "0"),
      start("seeder", "--principal", "s", "--rate", "200"),
    ];
    await Promise.all([twice, ...once].map((process) => process.line(READY)));
    const client = await mesh.client("default", { timeoutMs: 60_000 });
    const before = await client.enqueue(ITEM);
    const under = client.enqueue(ITEM);
    await mesh.server.pause();

    const ends = once.map(terminate);
    const fromMs = performance.now();
    twice.child.kill("SIGTERM");
    await twice.line('"msg":"stopping"');
    expect(await terminate(twice)).toMatchObject({ code: 143 });
    expect(performance.now() - fromMs).toBeLessThan(LATE_MS);
    for (const { code, ms } of await Promise.all(ends)) {
      expect(code).toBeOneOf([0, 1]);
      expect(ms).toBeLessThan(STOP_MS + LATE_MS);
    }
    console.log((await Promise.all(ends)).map(({ code, ms }) => `${code} after ${Math.round(ms)} ms`).join(", "));

    mesh.server.resume();
    await mesh.dispatcher("d", [], '"msg":"leading"');
    const after = await under;
    expect((await client.getMany([before.itemId, after.itemId])).map(({ kind }) => kind)).toEqual(["ok", "ok"]);
  });
});
