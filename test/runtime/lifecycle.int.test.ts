/** Checks how processes begin and end: signals, bounds, exit codes, and what a person and a supervisor read. */
import { fileURLToPath } from "node:url";
import { afterEach, expect, test } from "vitest";
import { killLeftProcesses, runToItsEnd, startProcess } from "../mesh/child-process.ts";

const ODD = fileURLToPath(new URL("./fixtures/odd-process.ts", import.meta.url));
const odd = (way: string, args: readonly string[] = []) => startProcess(ODD, args, { ODD: way });

afterEach(async () => expect(await killLeftProcesses()).toBe(0));

test.each(["SIGTERM", "SIGINT", "SIGHUP"] as const)("%s stops in order with code 0", async (signal) => {
  const started = odd("");
  await started.line("ready");
  started.kill(signal);
  const { code, stdout } = await started.ended;
  expect(code).toBe(0);
  const events = stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line).msg);
  expect(events).toEqual(["starting", "ready", "stopping", "stopped"]);
});

test("a signal during the start stops it", async () => {
  const started = odd("start-never");
  await started.line("starting");
  started.kill("SIGTERM");
  expect(await started.ended).toMatchObject({ code: 0 });
});

test("a stop that takes too long ends with code 1 at its bound", async () => {
  const started = odd("stop-never", ["--stop-timeout-ms", "200"]);
  await started.line("ready");
  started.kill("SIGTERM");
  await started.line("stop_timed_out");
  expect(await started.ended).toMatchObject({ code: 1 });
});

test("a second signal ends at once", async () => {
  const started = odd("stop-never", ["--stop-timeout-ms", "60000"]);
  await started.line("ready");
  started.kill("SIGTERM");
  await started.line("stopping");
  started.kill("SIGINT");
  expect(await started.ended).toMatchObject({ code: 130 });
});

test("a stop that fails ends with code 1 and says why", async () => {
  const started = odd("stop-fails");
  await started.line("ready");
  started.kill("SIGTERM");
  expect(await started.line("stop_failed")).toMatchObject({ error: { code: "odd" } });
  expect(await started.ended).toMatchObject({ code: 1 });
});

test("a start that fails says one clear line, without secrets, and ends with code 1", async () => {
  const { code, stderr, stdout } = await odd("start-fails").ended;
  expect(code).toBe(1);
  expect(stderr).toBe("omnirelay seeder: cannot start at nats://***@h; do this\n");
  expect(stdout + stderr).not.toContain("secret");
});

test.each([
  ["start-bug", "one is two"],
  ["bug", "broken invariant"],
  ["lost-promise", "lost"],
])("a bug (%s) is logged with its trace and ends with code 70", async (way, message) => {
  const started = odd(way);
  const line = await started.line("bug");
  expect(line).toMatchObject({
    level: "error",
    error: { message: expect.stringContaining(message), stack: expect.stringContaining("odd-process.ts") },
  });
  expect(await started.ended).toMatchObject({ code: 70 });
});

test("settings that cannot be used end with code 2 and name every problem", async () => {
  const { code, stderr, stdout } = await runToItsEnd(ODD, ["--items", "x", "--colour"], { OMNIRELAY_REGOIN: "a" });
  expect(code).toBe(2);
  expect(stdout).toBe("");
  expect(stderr).toContain("has 3 problems");
  for (const word of ["--items", "--colour", "OMNIRELAY_REGION?"]) expect(stderr).toContain(word);
});

test("--help and --version need nothing else to be right", async () => {
  const help = await runToItsEnd(ODD, ["--help", "--items", "x"]);
  expect(help).toMatchObject({ code: 0, stdout: expect.stringContaining("OMNIRELAY_NATS_URL") });
  const version = await runToItsEnd(ODD, ["--version"]);
  expect(version).toMatchObject({ code: 0, stdout: expect.stringMatching(/^\d+\.\d+\.\d+\n$/) });
});

test("an older Node is told what is wrong before anything else is loaded", async () => {
  const pretend = 'data:text/javascript,Object.defineProperty(process.versions,"node",{value:"20.19.0"})';
  const { code, stderr } = await runToItsEnd(ODD, [], { NODE_FLAGS: `--import ${pretend}` });
  expect(code).toBe(1);
  expect(stderr).toContain("needs Node 24 or newer");
});
