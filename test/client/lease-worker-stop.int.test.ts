/** How a worker ends: what runs is waited for or given back, in bounded time, by call or by signal. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { DrainError, LeaseWorker } from "../../services/client/mod.ts";
import { suiteServer } from "../support/suite-nats.ts";
import { eventually, item, signal, startWorker, type WorldOptions, worldOf } from "./client-world.ts";

const server = suiteServer();
const world = worldOf(server);
const names = (count: number) => Array.from({ length: count }, (_, index) => item(`r${index}`));

describe("stop", () => {
  test("gives back what has not started and waits for what runs", async ({ onTestFinished }) => {
    const { client, shard } = await world(onTestFinished);
    await client.enqueueMany(names(5));
    const end = signal();
    const { told, worker } = startWorker(client, onTestFinished, {
      concurrency: 2,
      prefetch: 3,
      handler: () => end.promise,
    });
    await eventually(() => told.length).toBe(5);
    const stopped = worker.stop();
    await shard.until(() => shard.state.pending === 3);
    expect(worker.state).toBe("stopping");
    end.resolve();
    await stopped;
    expect(worker.state).toBe("stopped");
    expect(await client.stats()).toMatchObject({ pending: 3, active: 0, completed: 2 });
    expect(() => worker.start()).toThrow(/stopped/);
  });

  test("aborts after the drain time what still runs, and gives its item back uncharged", async ({ onTestFinished }) => {
    const { client, shard } = await world(onTestFinished, { shard: { maxAttempts: 1 } });
    await client.enqueue(item("a"));
    const reason = signal<unknown>();
    const { told, worker } = startWorker(client, onTestFinished, {
      drainTimeoutMs: 20,
      handler: async (_lease, { signal: fired }) => {
        await once(fired, "abort");
        reason.resolve(fired.reason);
        throw fired.reason;
      },
    });
    await eventually(() => told).toEqual(["leased a"]);
    await worker.stop();
    expect(await reason.promise).toBeInstanceOf(DrainError);
    expect(shard.state.pending).toBe(1);
    expect(shard.of("fail")).toEqual([]);
  });

  test("does not wait for a handler that ignores its signal", async ({ onTestFinished }) => {
    const { client, shard } = await world(onTestFinished);
    await client.enqueue(item("a"));
    const end = signal();
    const { told, worker } = startWorker(client, onTestFinished, {
      drainTimeoutMs: 10,
      abortGraceMs: 10,
      handler: () => end.promise,
    });
    await eventually(() => told).toEqual(["leased a"]);
    await worker.stop();
    expect(told).toEqual(["leased a", "error handler_did_not_stop"]);
    expect(shard.state.pending).toBe(1);
    end.resolve();
    await eventually(() => worker.load.running).toBe(0);
    expect(shard.of("complete")).toEqual([]);
  });

  test("is bounded when the shard does not answer", async ({ onTestFinished }) => {
    const { client, shard } = await world(onTestFinished);
    await client.enqueue(item("a"));
    const { told, worker } = startWorker(client, onTestFinished, { drainTimeoutMs: 20, handler: async () => {} });
    shard.judge = ({ verb }) => (verb === "lease" ? "serve" : "drop");
    await shard.arrived("complete", 1);
    await worker.stop();
    expect(told).toEqual(["leased a"]);
    expect(worker.state).toBe("stopped");
    shard.judge = () => "serve";
    await client.close();
    await eventually(() => worker.load.held).toBe(0);
  });

  test("gives back what the last question brings", async ({ onTestFinished }) => {
    const { client, shard } = await world(onTestFinished);
    const { told, worker } = startWorker(client, onTestFinished, {
      waitMs: 5_000,
      drainTimeoutMs: 5_000,
      handler: async () => {},
    });
    await shard.arrived("lease", 1);
    const stopped = worker.stop();
    await client.enqueue(item("a"));
    await stopped;
    expect(told).toEqual(["leased a"]);
    expect(shard.state.pending).toBe(1);
  });

  test("gives back what a repeat of the last question brings when all of the first answer has ended", async ({
    onTestFinished,
  }) => {
    const { client, shard } = await world(onTestFinished);
    await client.enqueueMany(names(4));
    const held: (() => void)[] = [];
    shard.judge = ({ verb }) => (verb === "lease" ? (serve) => void held.push(serve) : "serve");
    const { worker } = startWorker(client, onTestFinished, { concurrency: 4, handler: async () => {} });
    await shard.arrived("lease", 2);
    const stopped = worker.stop();
    await shard.arrived("lease", 4);
    for (const serve of held.splice(0, 2)) serve();
    await shard.arrived("release", 1);
    await shard.until(() => shard.state.pending === 4);
    for (const serve of held) serve();
    await stopped;
    expect(worker.load).toEqual({ running: 0, held: 0 });
    expect(await client.stats()).toMatchObject({ pending: 4, active: 0 });
  });

  test("of a worker that never started is nothing, and twice is once", async ({ onTestFinished }) => {
    const { client } = await world(onTestFinished);
    const worker = new LeaseWorker(client, { handler: async () => {} });
    expect(worker.stop()).toBe(worker.stop());
    await worker.stop();
    expect(worker.state).toBe("stopped");
  });

  test("follows SIGTERM, and leaves the second one to the system", async ({ onTestFinished }) => {
    const { client } = await world(onTestFinished);
    const before = process.listenerCount("SIGTERM");
    const { worker } = startWorker(client, onTestFinished, { handler: async () => {} });
    worker.installSignalHandlers();
    expect(process.listenerCount("SIGTERM")).toBe(before + 1);
    process.emit("SIGTERM");
    expect(process.listenerCount("SIGTERM")).toBe(before);
    await worker.stop();
    await eventually(() => client.isClosed).toBe(true);
  });
});

describe("a worker process", () => {
  test("ends by itself after SIGTERM, with its work done and the rest given back", async ({ onTestFinished }) => {
    const { client, shard } = await world(onTestFinished);
    await client.enqueueMany(names(3));
    const { child, lines } = startProcess("work", onTestFinished);
    await eventually(() => lines()).toContain("running r0");
    child.kill("SIGTERM");
    await shard.until(() => shard.state.pending === 2);
    child.stdin.write("go\n");
    expect(await once(child, "close")).toEqual([0, null]);
    expect(await client.stats()).toMatchObject({ pending: 2, active: 0, completed: 1 });
  });

  test("crashes when its own code is wrong", async ({ onTestFinished }) => {
    const { client } = await world(onTestFinished);
    await client.enqueue(item("a"));
    const { child, lines } = startProcess("throw", onTestFinished);
    const [code] = await once(child, "close");
    expect(code).not.toBe(0);
    expect(lines()).toContain("a listener is wrong");
  });

  function startProcess(mode: string, cleanup: WorldOptions["cleanup"]) {
    const file = fileURLToPath(new URL("worker-process.ts", import.meta.url));
    const child = spawn(process.execPath, [file, server.url, mode], { stdio: ["pipe", "pipe", "pipe"] });
    cleanup(async () => void child.kill("SIGKILL"));
    let text = "";
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (data) => (text += data));
    return { child, lines: () => text };
  }
});

test("options that make no sense are refused with their names", async ({ onTestFinished }) => {
  const { client } = await world(onTestFinished);
  const handler = async (): Promise<void> => {};
  expect(() => new LeaseWorker(client, { handler, concurrency: 0 })).toThrow(/concurrency/);
  expect(() => new LeaseWorker(client, { handler, leaseDurationMs: 1 })).toThrow(/leaseDurationMs/);
});
