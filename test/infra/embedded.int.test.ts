/** A real nats-server under our control: it starts, keeps its data, says why it cannot start, and never outlives its purpose. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { jetstream, jetstreamManager, StorageType } from "@nats-io/jetstream";
import { connect } from "@nats-io/transport-node";
import { afterAll, afterEach, beforeEach, describe, expect, onTestFinished, test, vi } from "vitest";
import { pickFreePort } from "../../infra/nats-server/free-port.ts";
import { type LaunchRequest, launchServer } from "../../infra/nats-server/launch.ts";
import { readGreeting } from "../../infra/nats-server/probe.ts";
import {
  failOnLeakedServers,
  failOnLeakedSuiteServers,
  natsAvailability,
  natsServer,
  skipWithoutNats,
} from "../support/nats.ts";

const EMBEDDED_MODULE = new URL("../../infra/nats-server/embedded.ts", import.meta.url).href;

beforeEach(skipWithoutNats);
afterEach(failOnLeakedServers);
afterAll(failOnLeakedSuiteServers);

describe("a server that was started", () => {
  test("answers, and its JetStream syncs each append", async () => {
    const httpPort = await pickFreePort("127.0.0.1");
    const server = await natsServer({ cleanup: onTestFinished, httpPort });
    expect(server.running).toBe(true);
    const greeting = await readGreeting({ host: server.host, port: server.port }, 1_000);
    expect(greeting).toMatchObject({ jetstream: true, server_name: server.serverName, version: server.version });
    const page = (await (await fetch(`${server.httpUrl}/jsz`)).json()) as { config: Record<string, unknown> };
    expect(page.config).toMatchObject({ sync_always: true, store_dir: join(server.storeDir, "jetstream") });
  });

  test("takes larger messages and configuration of the operator's own", async () => {
    const server = await natsServer({
      cleanup: onTestFinished,
      maxPayloadBytes: 2_097_152,
      extraConfig: 'authorization { user: "u", password: "p" }',
    });
    const connection = await connect({ servers: server.url, user: "u", pass: "p" });
    expect(connection.info?.max_payload).toBe(2_097_152);
    await connection.close();
    await expect(connect({ servers: server.url, reconnect: false })).rejects.toThrow(/authorization/i);
  });

  test("keeps what it acknowledged over a kill and over a restart", async () => {
    const server = await natsServer({ cleanup: onTestFinished });
    await withStream(server.url, (js) => js.publish("kept.a", "one"));
    const { port, pid } = server;
    await server.kill();
    expect(server.running).toBe(false);
    await server.restart();
    expect(server.port).toBe(port);
    expect(server.pid).not.toBe(pid);
    await withStream(server.url, (js) => js.publish("kept.b", "two"));
    await server.restart();
    const count = await withStream(server.url, async (_js, manager) => (await manager.streams.info("KEPT")).state);
    expect(count).toMatchObject({ messages: 2, last_seq: 2 });
  });

  test("does not answer while it is paused, and goes on afterwards", async () => {
    const server = await natsServer({ cleanup: onTestFinished });
    await server.pause();
    await expect(readGreeting(server, 100)).rejects.toThrow("no answer within 100 ms");
    server.resume();
    expect(await readGreeting(server, 5_000)).toMatchObject({ server_name: server.serverName });
  });

  test("stops in order also when it is paused, and stopping twice is harmless", async () => {
    const server = await natsServer({ cleanup: onTestFinished });
    await server.pause();
    await Promise.all([server.stop(), server.stop()]);
    expect(await server.exited).toEqual({ code: 0, signal: null, lastLogLine: "[INF] Server Exiting.." });
    expect(readdirSync(server.storeDir).toSorted()).toEqual(["jetstream", "nats-server.lock", "nats-server.log"]);
  });

  test("tells when it ends by itself", async () => {
    const server = await natsServer({ cleanup: onTestFinished });
    process.kill(server.pid, "SIGKILL");
    expect(await server.exited).toMatchObject({ code: null, signal: "SIGKILL" });
    expect(server.running).toBe(false);
  });
});

describe("a server that cannot start", () => {
  test("on a taken port says which one, in its own words", async () => {
    const other = await natsServer({ cleanup: onTestFinished });
    const start = natsServer({ cleanup: onTestFinished, port: other.port });
    await expect(start).rejects.toMatchObject({
      code: "nats_server_port_taken",
      definite: true,
      message: expect.stringMatching(/is taken by another process.*bind: address already in use/),
      details: { port: other.port },
    });
    expect(other.running).toBe(true);
  });

  test("for its configuration says what the server says", async () => {
    await expect(natsServer({ extraConfig: "jetstream {" })).rejects.toMatchObject({
      code: "nats_server_start_failed",
      message: expect.stringMatching(/ended with code 1 while it started; it says: .*[Pp]arse error/),
    });
  });

  test("because the binary is something else says so", async () => {
    await expect(natsServer({ binary: process.execPath })).rejects.toMatchObject({
      code: "nats_server_start_failed",
      message: expect.stringContaining("is not a nats-server: its --version says"),
    });
  });

  test("within its time is killed, and the error says what was missing", async () => {
    const folder = temporaryFolder();
    const start = natsServer({ storeDir: folder, readyTimeoutMs: 0 });
    await expect(start).rejects.toMatchObject({ code: "nats_server_start_timeout", definite: true });
    expect(readdirSync(folder).filter((name) => name.startsWith("launch-"))).toEqual([]);
  });
});

describe("a store folder", () => {
  test("in use is refused to a second server, which names the first", async () => {
    const server = await natsServer({ cleanup: onTestFinished });
    await withStream(server.url, (js) => js.publish("kept.a", "one"));
    await expect(natsServer({ storeDir: server.storeDir })).rejects.toMatchObject({
      code: "nats_server_store_in_use",
      definite: true,
      message: expect.stringContaining(`in use by nats-server ${server.serverName} (pid ${server.pid}, ${server.url})`),
    });
    expect(await readGreeting(server, 1_000)).toMatchObject({ server_name: server.serverName });
  });

  test("goes to one of several servers that start at the same moment", async () => {
    const folder = temporaryFolder();
    const starts = Array.from({ length: 4 }, () => natsServer({ cleanup: onTestFinished, storeDir: folder }));
    const outcomes = await Promise.allSettled(starts);
    expect(outcomes.filter((outcome) => outcome.status === "fulfilled")).toHaveLength(1);
    const refusals = outcomes.filter((outcome) => outcome.status === "rejected").map((outcome) => outcome.reason.code);
    expect(refusals).toEqual(Array(3).fill("nats_server_store_in_use"));
  });

  test("whose server was killed is taken over", async () => {
    const folder = temporaryFolder();
    const first = await natsServer({ cleanup: onTestFinished, storeDir: folder });
    await withStream(first.url, (js) => js.publish("kept.a", "one"));
    await first.kill();
    const second = await natsServer({ cleanup: onTestFinished, storeDir: folder });
    const state = await withStream(second.url, async (_js, manager) => (await manager.streams.info("KEPT")).state);
    expect(state.messages).toBe(1);
  });

  test("is guarded by the record of its holder where there is no kernel lock, until that one is dead", async () => {
    const request = await bareRequest();
    const first = await launchServer(request);
    onTestFinished(() => void first.child.kill("SIGKILL"));
    const port = await pickFreePort("127.0.0.1");
    const other = { ...request, settings: { ...request.settings, port }, address: { host: "127.0.0.1", port } };
    await expect(launchServer(other)).rejects.toMatchObject({ code: "nats_server_store_in_use" });
    const record = readFileSync(join(request.settings.storeDir, "nats-server.json"));
    first.child.kill("SIGKILL");
    await first.exited;
    // As it lies there when the machine that held the folder was switched off.
    writeFileSync(join(request.settings.storeDir, "nats-server.json"), record);
    const second = await launchServer(other);
    second.child.kill("SIGKILL");
    await second.exited;
  });
});

describe("the end of the process that started a server", () => {
  test("by SIGKILL ends the server, and the store can be taken over", async () => {
    const folder = temporaryFolder();
    const parent = await startedByAnotherProcess(folder, "setpriv");
    expect(isAlive(parent.serverPid)).toBe(true);
    parent.kill();
    await vi.waitFor(() => expect(isAlive(parent.serverPid)).toBe(false), { timeout: 10_000, interval: 10 });
    const server = await natsServer({ cleanup: onTestFinished, storeDir: folder });
    expect(readdirSync(folder).filter((name) => name.startsWith("launch-"))).toHaveLength(1);
    await server.kill();
  });

  test("by SIGKILL ends the server also where there is no setpriv", async () => {
    const parent = await startedByAnotherProcess(temporaryFolder(), "watcher");
    expect(isAlive(parent.serverPid)).toBe(true);
    parent.kill();
    await vi.waitFor(() => expect(isAlive(parent.serverPid)).toBe(false), { timeout: 10_000, interval: 10 });
  });

  test("does not come with a Ctrl-C for the server: it is in a session of its own", async (context) => {
    if (!existsSync("/proc/self/stat")) context.skip("there is no /proc on this machine");
    const server = await natsServer({ cleanup: onTestFinished });
    expect(processGroupOf(server.pid)).toBe(server.pid);
    expect(processGroupOf(process.pid)).not.toBe(server.pid);
  });
});

/** Runs the action with a JetStream client, on a server that has the stream KEPT. */
async function withStream<Result>(
  url: string,
  action: (js: ReturnType<typeof jetstream>, manager: Awaited<ReturnType<typeof jetstreamManager>>) => Promise<Result>,
): Promise<Result> {
  const connection = await connect({ servers: url });
  try {
    const manager = await jetstreamManager(connection);
    await manager.streams.add({ name: "KEPT", subjects: ["kept.>"], storage: StorageType.File });
    return await action(jetstream(connection), manager);
  } finally {
    await connection.close();
  }
}

/** A launch without any of the wrapping programs. */
async function bareRequest(): Promise<LaunchRequest> {
  const availability = await natsAvailability();
  if (!availability.available) throw new Error(availability.reason);
  const storeDir = temporaryFolder();
  const port = await pickFreePort("127.0.0.1");
  return {
    binary: availability.server.path,
    settings: { serverName: "bare", host: "127.0.0.1", port, storeDir, syncInterval: "always" },
    address: { host: "127.0.0.1", port },
    url: `nats://127.0.0.1:${port}`,
    logFile: join(storeDir, "nats-server.log"),
    wrappers: { setpriv: undefined, flock: undefined },
    readyTimeoutMs: 20_000,
    waitForJetStream: true,
  };
}

/** Another Node process starts a server and then waits to be killed. */
async function startedByAnotherProcess(storeDir: string, how: "setpriv" | "watcher") {
  const availability = await natsAvailability();
  if (!availability.available) throw new Error(availability.reason);
  const options = { storeDir, binary: availability.server.path };
  const request = how === "watcher" ? await bareRequest() : undefined;
  const launchModule = EMBEDDED_MODULE.replace("embedded.ts", "launch.ts");
  const start =
    request === undefined
      ? `(await import(${JSON.stringify(EMBEDDED_MODULE)})).startNatsServer(${JSON.stringify(options)})`
      : `(await import(${JSON.stringify(launchModule)})).launchServer(${JSON.stringify(request)})`;
  const script = `const server = await ${start}; console.log(server.pid); setInterval(() => {}, 60_000);`;
  const parent = spawn(process.execPath, ["--input-type=module", "-e", script], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  onTestFinished(() => void parent.kill("SIGKILL"));
  const gone = once(parent, "exit").then(([code]) => Promise.reject(new Error(`the other process ended with ${code}`)));
  // After it was killed nobody waits for this any more.
  gone.catch(() => {});
  const [line] = await Promise.race([once(createInterface({ input: parent.stdout }), "line"), gone]);
  return { serverPid: Number(line), kill: () => parent.kill("SIGKILL") };
}

/** A process that has ended and that nobody has waited for yet does not count: it holds nothing any more. */
function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch {
    return false;
  }
  return !existsSync(`/proc/${pid}/stat`) || statOf(pid)[0] !== "Z";
}

function processGroupOf(pid: number): number {
  return Number(statOf(pid)[2]);
}

/** The fields of `/proc/<pid>/stat` after the name: state, parent, process group, ... */
function statOf(pid: number): readonly string[] {
  const text = readFileSync(`/proc/${pid}/stat`, "utf8");
  return text.slice(text.lastIndexOf(")") + 2).split(" ");
}

function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "omnirelay-test-embedded-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}
